"""A small scenario that reads, and ways to spoil it."""

import yaml
from weightspace.options import Options, read_scenario

PARQUET = {"source": "parquet", "train": "a.parquet", "test": "b.parquet"}
BOX = {"teacher": "box", "queries": {"design": "uniform"}, "seeds": [0]}
TRIES = {"architectures": [["flatten", "linear 4", "activation", "linear classes"]], "activations": ["relu", "tanh"]}
DELETE = object()


def scenario_content():
    """A small scenario that reads."""
    return {
        "images": {"digits": {"source": "bundled_digits"}},
        "zoos": {
            "digits": {
                "images": "digits", "architecture": "cnn_digits", "inits": ["normal"], "learning_rates": [0.1],
                "weight_decays": [0.0], "num_seeds": 4, "epochs": [0, 2],
            },
            "nets": {
                "images": "digits", "architecture": "cnn_digits", "inits": ["normal"], "learning_rates": [0.1],
                "weight_decays": [0.0], "num_seeds": 1, "epochs": [3],
            },
        },
        "autoencoders": {"plain": {"zoo": "digits", "seeds": [0], "epochs": [2], "structure_weight": 1.0, "steps": 3}},
        "teachers": {
            "made": {"kind": "synthetic", "inputs": 2, "hidden": [3]},
            "member": {"kind": "zoo", "zoo": "digits", "models": [1], "epoch": 2},
            "box": {"kind": "onnx", "path": "a.onnx"},
            "file": {"kind": "table", "path": "a.parquet"},
        },
        "recoveries": {
            "made": {"teacher": "made", "seeds": [0], "queries": {"design": "uniform"}, "baselines": ["single"]},
            "box": BOX | {"students": TRIES},
        },
        "predictors": {
            "held": {
                "zoo": "nets", "seeds": [0, 1], "hidden": 8, "steps": 3, "quantization": {"bits": 8},
                "distillation": {"when": "jointly", "teacher": "nets", "logit_weight": 0.1},
                "controls": {"noise": {"seeds": [1]}, "quantized": {"bits": [8, 4]}, "small_noise": {"kind": "noise"}},
            },
            "alone": {"zoo": "nets", "seeds": [0], "hidden": 8, "steps": 3},
            "own": {"zoo": "nets", "seeds": [0], "hidden": 8, "steps": 3},
            "shared": {"zoo": "nets", "seeds": [1], "hidden": 8, "steps": 3, "order": "none", "stack": "alone"},
        },
        "figures": {"predictor_rate": {"cells": ["held*", "own"]}},
    }  # fmt: skip


def changed(key, value):
    """The small scenario with one dotted key set, or deleted."""
    content = scenario_content()
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    return content


def read_text(folder, text, **options):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "mine.yaml").write_bytes(content)
    return read_scenario([folder], Options(scenario="mine", **options))


def read(folder, content, **options):
    return read_text(folder, yaml.safe_dump(content), **options)
