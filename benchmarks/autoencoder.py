"""Speed of an autoencoder's training step: ours against the plain way, in turn, in one run, in processor time.

    PYTHONPATH=workflow/scripts python benchmarks/autoencoder.py [--rounds 5] [--threads 1]

The plain way permutes by stored maps, makes tokens layer by layer and network by network, rebuilds both views, and asks each
original and each rebuilt network by itself, as the published code does. Both ways train the same transformer. The arithmetic
limit is what the step's matrix products would take at the rate of one large product. Windows of a ResNet-18 are compared with
whole networks that are cut afterwards.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from weightspace.autoencoder.batches import draw_starts, draw_view, view_sequences
from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.losses import contrast_loss, total_loss
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.problem import AutoencoderData, autoencoder_data
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.train import batch_losses, new_autoencoder
from weightspace.behavior import softmax_mse
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.tokens import Codec, identity_scale, token_layout

SIDE = 1024  # of the matrices whose product is timed


class Plain(nn.Module):
    """The digits' architecture as an ordinary module."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        kinds = {
            "pool": lambda op: nn.MaxPool2d(op.sizes["size"]),
            "activation": lambda op: nn.ReLU(),
            "flatten": lambda op: nn.Flatten(),
        }
        makers = kinds | {
            "conv": lambda op: nn.Conv2d(op.weights.fan_in[0], op.weights.out, op.weights.fan_in[1]),
            "linear": lambda op: nn.Linear(op.weights.fan_in[0], op.weights.out),
        }
        self.layers = nn.Sequential(*(makers[op.kind](op) for op in spec.ops))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def plain_tokens(spec: NetSpec, weights: Tensor, size: int) -> Tensor:
    """Tokens of one network, layer by layer."""
    named, tokens = unflatten(spec, weights), []
    for layer in spec.layers:
        rows = torch.cat([named[f"{layer.name}.weight"].flatten(1), named[f"{layer.name}.bias"].unsqueeze(1)], dim=1)
        tokens.append(F.pad(rows, (0, size - rows.shape[1])))
    return torch.cat(tokens)


def plain_step(data: AutoencoderData, model: Autoencoder, step: int) -> Tensor:
    """The loss of a step, the plain way."""
    generator = torch.Generator().manual_seed(step)
    batch = torch.randint(len(data.weights), (data.config.batch_size,), generator=generator).tolist()
    layout, spec = data.codec.layout, data.codec.spec
    views = []
    for slot in torch.randperm(data.stored.slots.shape[1], generator=generator)[:2]:
        networks = [data.weights[n].gather(0, data.stored.maps[data.stored.slots[n, slot]]) for n in batch]
        views.append(torch.stack([plain_tokens(spec, data.codec.scale.apply(each), layout.index.shape[1]) for each in networks]))
    tokens = torch.cat(views)
    codes = model.encode(tokens, layout.positions)
    decoded = model.decode(codes, layout.positions)
    loss = data.config.structure_weight * (decoded * layout.mask - tokens).square().mean()
    loss = loss + data.config.contrast_weight * contrast_loss(*model.head(codes).chunk(2), data.config.temperature)
    if data.config.behavior_weight:
        queries = data.queries[torch.randperm(len(data.queries), generator=generator)[: data.config.num_queries]]
        network = Plain(spec)
        names = [name for name, _ in network.named_parameters()]
        distances = []
        for n, rebuilt in zip(batch * 2, data.codec.to_weights(decoded), strict=True):
            ours, theirs = (
                torch.func.functional_call(network, dict(zip(names, unflatten(spec, each).values(), strict=True)), queries)
                for each in (rebuilt, data.weights[n])
            )
            distances.append(softmax_mse(ours, theirs.detach()))
        loss = loss + data.config.behavior_weight * torch.stack(distances).mean()
    return loss


def our_step(data: AutoencoderData, model: Autoencoder, step: int) -> Tensor:
    """The loss of a step as it is trained on."""
    return total_loss(batch_losses(data, model, step, 0), data.config)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def learning(data: AutoencoderData, how: Callable[[AutoencoderData, Autoencoder, int], Tensor]) -> Callable[[int], None]:
    """A step with its backward pass."""
    model = new_autoencoder([data], 0)

    def step(n: int) -> None:
        model.zero_grad()
        how(data, model, n).backward()

    return step


def problem(behavior: float, views: str) -> AutoencoderData:
    """An autoencoder of 300 random networks, asked about digits."""
    images = build_image_set(ImagesConfig(source="bundled_digits"), ".")
    spec = build_spec("cnn_digits", "relu", (1, 8, 8), 10)
    weights = torch.randn(300, spec.num_weights, generator=torch.Generator().manual_seed(0)) / 5
    config = AutoencoderSettings(
        zoo="random", steps=100, contrast_weight=0.05, structure_weight=1.0, behavior_weight=behavior, views=views
    )
    return autoencoder_data(config, spec, Checkpoints(weights, pd.DataFrame({"model": range(300), "epoch": 0})), images)


def windows_against_whole(rounds: int) -> tuple[list[float], list[float]]:
    """Times to see a permuted view of 4 ResNet-18 in windows of 256 tokens, and whole."""
    spec = build_spec("resnet18_cifar", "relu", (3, 32, 32), 100)
    config = AutoencoderSettings(zoo="random", steps=1, structure_weight=1.0, window=256, batch_size=4)
    codec, weights = Codec(spec, token_layout(spec, 288), identity_scale(spec)), torch.randn(4, spec.num_weights)
    data = AutoencoderData(config, codec, weights, weights[:0], weights[:0])
    batch, generator, times = torch.arange(4), torch.Generator().manual_seed(0), ([], [])
    for _ in range(rounds):
        view, starts = draw_view(data, 4, "permuted", generator), draw_starts(data, generator)
        for spent, start in zip(times, (starts, None), strict=True):
            spent.append(seconds(lambda start=start, view=view: view_sequences(data, batch, view, start)))
    return times


def products_at_rate(step: Callable[[int], None]) -> tuple[float, float]:
    """Seconds that the matrix products of a step would take at the rate of one large product, and that rate, in FLOP/s."""
    with FlopCounterMode(display=False) as counter:
        step(0)
    one, other = torch.randn(2, SIDE, SIDE)
    rate = 2 * SIDE**3 / min(seconds(lambda: one @ other) for _ in range(5))
    return counter.get_total_flops() / rate, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines, ours = [], {}
    for name, behavior in (("structural", 0.0), ("behavioral", 1.0)):
        steps = [
            learning(problem(behavior, views), how) for views, how in (("original_permuted", our_step), ("stored", plain_step))
        ]
        times: list[list[float]] = [[], []]
        for n in range(options.rounds + 1):  # the first one warms up
            for spent, step in zip(times, steps, strict=True):
                spent.append(seconds(lambda step=step, n=n: step(n)))
        mine, plain = (median(spent[1:]) for spent in times)
        ours[name] = (mine, steps[0])
        print(f"{name:11s} step: ours {1000 * mine:7.1f} ms, plain {1000 * plain:7.1f} ms")
        lines.append(f"{name} step ratio {median(p / m for m, p in zip(times[0][1:], times[1][1:], strict=True)):.2f}")
    limit, rate = products_at_rate(ours["structural"][1])
    data = problem(0.0, "original_permuted")
    tokens = 2 * data.config.batch_size * len(data.codec.layout.index)
    each = tokens / ours["structural"][0]
    print(f"structural step: {each:,.0f} tokens/s; its products {1000 * limit:.1f} ms at {rate / 1e9:.0f} GFLOP/s")
    lines.append(f"structural step against its products ratio {limit / ours['structural'][0]:.2f}")
    lines.append(f"behavioral step against the structural one ratio {ours['structural'][0] / ours['behavioral'][0]:.2f}")
    windowed, whole = windows_against_whole(options.rounds)
    print(f"a view of 4 ResNet-18: windows {1000 * median(windowed):.0f} ms, whole {1000 * median(whole):.0f} ms")
    lines.append(f"windows ratio {median(b / a for a, b in zip(windowed, whole, strict=True)):.1f}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
