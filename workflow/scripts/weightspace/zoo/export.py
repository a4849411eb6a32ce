"""Models of a zoo as plain state dicts beside an nn.Module that takes them, in the layout of the Hugging Face hub.

python -m weightspace.zoo.export results/digits/zoo/digits exported --models 0 3 --epochs 50
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
from safetensors.torch import save_file

from weightspace.checkpoints import Zoo, read_zoo
from weightspace.errors import InputError
from weightspace.nets.forward import unflatten
from weightspace.nets.printed import module_text
from weightspace.nets.spec import NetSpec, by_spec
from weightspace.table import read_table, write_table

FRONT_MATTER = """---
library_name: pytorch
pipeline_tag: image-classification
tags:
- model-zoo
- weight-space-learning
---
"""
LOADING = """## Loading

```python
import torch
from {module} import Network
from safetensors.torch import load_file

network = Network()
network.load_state_dict(load_file("{file}"), strict=True)
network.eval()
logits = network(torch.zeros(1, {shape}))
```
"""


def export_zoo(zoo: Zoo, models: pd.DataFrame, folder: str | Path, name: str) -> list[str]:
    """Write checkpoints, one file for each row of `models`, with network.py, config.json, models.parquet and a card.

    Of several specs there are network_1.py, config_1.json and so on, and models.parquet has a column `network` that names them.
    A single checkpoint is `model.safetensors`. Returns the files' paths below the folder, which is written whole or not at all.
    Raises InputError naming the folder if it exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists already; nothing is written over")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files, kinds = [], by_spec(map(zoo.spec_of, models["model"]))
    for model, epoch in zip(models["model"], models["epoch"], strict=True):
        file = f"models/{model:04d}/epoch-{epoch:04d}.safetensors" if len(models) > 1 else "model.safetensors"
        state = unflatten(zoo.spec_of(model), zoo.checkpoints([(model, epoch)])[0])
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, partial / file, {"format": "pt"})
        files.append(file)
    models, several = models.assign(file=files), len(kinds) > 1
    for number, (spec, places) in enumerate(kinds, start=1):
        end = f"_{number}" if several else ""
        (partial / f"network{end}.py").write_text(module_text(spec))
        (partial / f"config{end}.json").write_text(json.dumps(spec.description, indent=2) + "\n")
        if several:
            models.loc[models.index[places], "network"] = f"network{end}"
    write_table(partial / "models.parquet", pa.Table.from_pandas(models, preserve_index=False))
    (partial / "README.md").write_text(card([spec for spec, _ in kinds], models, files, name))
    partial.rename(folder)
    return files


def card(specs: list[NetSpec], models: pd.DataFrame, files: list[str], name: str) -> str:
    """README.md of a folder on the hub: front matter, what the models are, and how one is loaded."""
    num, epochs = models["model"].nunique(), sorted(models["epoch"].unique())
    said = f"{num} model{'s' * (num != 1)} at epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}"
    shape, weights = " x ".join(map(str, specs[0].image_shape)), " or ".join(f"{spec.num_learned:,}" for spec in specs)
    modules = [f"network_{number}" for number in range(1, len(specs) + 1)] if len(specs) > 1 else ["network"]
    lines = [
        f"{FRONT_MATTER}\n# {name}\n",
        f"{said}, of {weights} learned weights each, for images of {shape} and {specs[0].num_classes} classes.\n",
    ]
    for module, spec in zip(modules, specs, strict=True):
        of = f" of `{module}`" if len(specs) > 1 else ""
        lines.append(f"Layers{of}: {', '.join(spec.architecture)}; activation {spec.activation}.\n")
    last = models[models["epoch"] == epochs[-1]]
    if "test_accuracy" in last and last["test_accuracy"].notna().any():
        low, middle, high = last["test_accuracy"].quantile([0.05, 0.5, 0.95])
        lines.append(
            f"Test accuracy at epoch {epochs[-1]}: median {middle:.3f}, from {low:.3f} to {high:.3f} for 90 % of the models.\n"
        )
    modules_named = " Its column `network` names the module of each." if len(specs) > 1 else ""
    lines.append(
        "`models.parquet` says of each file what is known: split, seeds, losses and accuracies, as far as they were measured."
        f"{modules_named}\n"
    )
    return "\n".join([*lines, LOADING.format(file=files[0], module=modules[0], shape=", ".join(map(str, specs[0].image_shape)))])


def chosen(models: pd.DataFrame, numbers: list[int] | None, epochs: list[int] | None) -> pd.DataFrame:
    """Rows of some models and epochs, of all where none are named; raises InputError for one whose weights are not there."""
    for column, wanted in (("model", numbers), ("epoch", epochs)):
        if wanted is not None:
            if missing := sorted(set(wanted) - set(models[column])):
                raise InputError(f"there are no weights of {column} {missing[0]}")
            models = models[models[column].isin(wanted)]
    return models


def main(arguments: list[str] | None = None) -> None:
    """The command: a zoo's folder of results in, a folder of plain state dicts out."""
    parser = argparse.ArgumentParser("weightspace.zoo.export", description="Models of a zoo as plain state dicts.")
    parser.add_argument("zoo", type=Path, help="folder of a zoo's results, such as results/digits/zoo/digits")
    parser.add_argument("folder", type=Path, help="new folder to write")
    parser.add_argument("--models", type=int, nargs="+", help="numbers of models, as in models.parquet; all if left out")
    parser.add_argument("--epochs", type=int, nargs="+", help="epochs; all whose weights are stored if left out")
    asked = parser.parse_args(arguments)
    try:
        zoo, models = read_zoo(asked.zoo / "weights.safetensors"), read_table(asked.zoo / "models.parquet").to_pandas()
        models = chosen(models[models["epoch"].isin(zoo.epochs)], asked.models, asked.epochs)  # more epochs may be measured
        files = export_zoo(zoo, models, asked.folder, asked.zoo.name)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{asked.folder}: {len(files)} state dicts, first {files[0]}, with what loads them, models.parquet and README.md")


if __name__ == "__main__":
    main()
