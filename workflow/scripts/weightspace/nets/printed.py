"""A spec as plain torch: the text of an nn.Module that computes the same, whose state dict has the spec's names."""

from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Op

TEXT = """import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    \"\"\"{about}\"\"\"

    def __init__(self):
        super().__init__()
{modules}

    def activation(self, x):
        return {activation}

    def forward(self, x):
{steps}
        return {last}
"""


def module_text(spec: NetSpec) -> str:
    """Python of a class `Network` that needs nothing but torch; weights go in with `load_state_dict(strict=True)`.

    Raises InputError for a layer that has no text of its own.
    """
    modules, steps, kept, current = [], [], [], "x"
    for op in spec.ops:
        layer = LAYERS[op.kind]
        if layer.route:  # it takes names of variables as it takes tensors
            current = layer.route(current, kept, lambda ours, theirs: f"{ours} + {theirs}")
            if "+" in current:
                steps.append(f"{(into := _free(kept))} = {current}")
                current = into
            continue
        if layer.printed is None:
            raise InputError(f"layer {op.kind!r} cannot be written in plain torch")
        printed, into = layer.printed(op), _free(kept)
        if printed.module:
            modules.append(f"self.{_name(op)} = {printed.module}")
        steps.append(f"{into} = {printed.call.format(layer=f'self.{_name(op)}', x=current)}")
        current = into
    shape = " x ".join(map(str, spec.image_shape))
    about = f"Takes normalized images of {shape}, gives {spec.num_classes} logits."
    indented = ["\n".join(f"        {line}" for line in lines) for lines in (modules, steps)]
    text = ACTIVATIONS[spec.activation].text
    return TEXT.format(about=about, modules=indented[0], activation=text, steps=indented[1], last=current)


def _name(op: Op) -> str:
    """Of a layer's module: that of its parameters, else its kind and its place, of which there may be several."""
    return op.made.parameters[0].name.rpartition(".")[0] if op.made.parameters else f"{op.kind}_{op.place}"


def _free(kept: list[str]) -> str:
    """A variable that no branch remembers."""
    return next(name for name in ("x", *(f"x{n}" for n in range(1, len(kept) + 1))) if name not in kept)
