"""Speed of predictors: reconstruction steps, stacks and orders of kernels, ours against the plain way, in one run.

    PYTHONPATH=workflow/scripts python benchmarks/predictor.py [--steps 20] [--rounds 3] [--threads 1] [--device cpu] [--quick]

Reconstruction: a ResNet-20 of random weights, predictors with 140 hidden units, 4,096 kernels a step. plain, as the official
code of NeRN trains without distillation: torch modules; the table of features is stacked and the kernels' norms are computed at
each step; all kernels are predicted, those outside the batch without gradient, and put into a network; a batch of images is
fetched, and the original and this network answer it. fast and exact are our two errors. All take the same steps from the same
weights: the largest difference of weights after them is printed, of exact from plain.

Stack: steps of predictors of several ResNet-20 and ResNet-8, all as one stack against one after the other.

Order: cross-filter, one layer of random kernels. plain follows the official code's loop; its time at smaller sizes is scaled up
by the square of the size.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.kernels import Layout, from_kernels, layout_of
from weightspace.predictor.learn import descend
from weightspace.predictor.orders import greedy_sequence
from weightspace.predictor.ranger import cosine_rate
from weightspace.predictor.reconstruct import (
    Target,
    draw,
    gradient_by,
    joined,
    schedule_of,
    spec_of,
    start_descent,
    target_of,
)
from weightspace.predictor.settings import PredictorConfig
from weightspace.rng import generator_for
from weightspace.store import choose_device

CONFIG = PredictorConfig(zoo="resnet20", seeds=[0], hidden=140, order="none", steps=68_600)
STACKED = {"resnet20": 3, "resnet8": 3}  # networks
NUM_IMAGES, IMAGE_BATCH = 2_560, 256


class Block(nn.Module):
    """Two convolutions and a shortcut (option B of He et al. 2016)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        stride = 1 if channels == out else 2
        self.conv1, self.norm1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        shortcut = [nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)] if stride == 2 else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def plain_resnet20() -> nn.Sequential:
    """ResNet-20 of CIFAR as a torch module, evaluating."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(channels, out) for channels, out in zip(widths, widths[1:], strict=False)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


class Lookahead(torch.optim.RAdam):
    """Ranger from torch's rectified Adam, tensor by tensor."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, CONFIG.learning_rate, (0.5, 0.999), 1e-5, CONFIG.weight_decay, decoupled_weight_decay=True)
        self.parameters, self.slow, self.num_steps = parameters, [p.detach().clone() for p in parameters], 0

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            if p.ndim > 1:
                p.grad -= p.grad.mean(dim=1, keepdim=True)
        super().step()
        self.num_steps += 1
        if self.num_steps % 6 == 0:
            for p, slow in zip(self.parameters, self.slow, strict=True):
                slow += 0.5 * (p - slow)
                p.copy_(slow)


class Plain:
    """One predictor, trained as the official code does."""

    def __init__(self, layout: Layout, target: Target) -> None:
        self.layout, self.target, device = layout, target, target.kernels.device
        self.original, self.student = plain_resnet20().to(device), plain_resnet20().to(device)
        self.convs = [module for module in self.student.modules() if isinstance(module, nn.Conv2d)]
        layers = [nn.Linear(layer.fan_in[0], layer.out) for layer in spec_of(CONFIG, target).layers]
        self.predictor = nn.Sequential(*chain(*zip(layers, repeat(nn.ReLU()), strict=False)))[:-1].to(device)
        start = unflatten(spec_of(CONFIG, target), start_descent(CONFIG, target, names_of(target)).weights)
        for parameter, value in zip(self.predictor.parameters(), start.values(), strict=True):
            parameter.data.copy_(value[0])
        self.features = [target.table[part.rows] for part in layout.parts]
        self.weights = list(from_kernels(layout, target.kernels).values())
        self.optimizer = Lookahead(list(self.predictor.parameters()))

    def all_kernels(self, step: int) -> Tensor:
        """Kernels of the whole network, with gradient those of the batch alone."""
        table = torch.vstack(self.features)
        norms = torch.cat([weight.double().flatten(3).norm(dim=3).flatten() for weight in self.weights]).cumsum(0)
        rows = draw(CONFIG, self.target._replace(norms=norms.unsqueeze(0)), names_of(self.target), step).rows[0]
        others = torch.ones(len(table), dtype=torch.bool, device=table.device).index_fill(0, rows, False)
        predicted = torch.zeros_like(self.target.kernels[0])
        predicted[rows] = self.predictor(table[rows])
        with torch.no_grad():
            predicted[others] = torch.vstack([self.predictor(part) for part in table[others].split(CONFIG.kernel_batch)])
        return predicted

    def step(self, number: int, images: Tensor) -> None:
        """One step of reconstruction; distillation has no weight but is prepared."""
        predicted = list(from_kernels(self.layout, self.all_kernels(number).unsqueeze(0)).values())
        for conv, weight in zip(self.convs, predicted, strict=True):
            conv.weight.data = weight.detach()[0]
        with torch.no_grad():
            self.original(images), self.student(images)
        squares = [(ours - theirs).square().sum() for ours, theirs in zip(predicted, self.weights, strict=True)]
        loss = (torch.stack(squares).sum() / self.layout.num_weights).sqrt()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.param_groups[0]["lr"] = cosine_rate(CONFIG.learning_rate, CONFIG.last_learning_rate, number, CONFIG.steps)
        self.optimizer.step()

    def run(self, images: DataLoader) -> Iterator[Tensor]:
        """Flat weights of the predictor after each step."""
        for number, (batch,) in enumerate(chain.from_iterable(repeat(images)), start=1):
            self.step(number, batch.to(self.target.kernels.device))
            yield nn.utils.parameters_to_vector(self.predictor.parameters()).detach()


def ours(target: Target, error: str) -> Iterator[Tensor]:
    """Flat weights of our predictors after each step."""
    config, names = CONFIG.model_copy(update={"error": error}), names_of(target)
    begun = start_descent(config, target, names)
    steps = descend(spec_of(config, target), begun, gradient_by(config, target, names, begun), schedule_of(config, "steps"))
    return (state.weights[0] for state in steps)


def names_of(target: Target) -> list[tuple]:
    """Of the draws of each predictor."""
    return [("benchmark", "predictor", n) for n in range(len(target.kernels))]


def random_target(architecture: str, num: int, device: torch.device) -> tuple[Layout, Target]:
    """The kernels of random networks."""
    layout = layout_of(build_spec(architecture, "relu", (3, 32, 32), 10).shapes, None, False)
    generator = generator_for("benchmark", "original", architecture)
    kernels = 0.1 * torch.randn(num, layout.num_kernels, layout.size**2, generator=generator) * layout.mask
    return layout, target_of(layout, kernels.to(device), torch.arange(layout.num_kernels).expand(num, -1), CONFIG)


def seconds_per_step(run: Iterator[Tensor], steps: int) -> tuple[float, Tensor]:
    """Wall time of a step after the first one, and the weights after all."""
    next(run)
    started = time.perf_counter()
    *_, weights = islice(run, steps)
    weights = weights.cpu().clone()
    return (time.perf_counter() - started) / steps, weights


def compare_reconstruction(steps: int, rounds: int, device: torch.device) -> None:
    """Print steps per second of each way."""
    layout, target = random_target("resnet20", 1, device)
    images = torch.randn(NUM_IMAGES, 3, 32, 32, generator=generator_for("benchmark", "images"))
    loader = DataLoader(TensorDataset(images), IMAGE_BATCH, shuffle=True)
    makers = {
        "fast": lambda: ours(target, "fast"),
        "exact": lambda: ours(target, "exact"),
        "plain": lambda: Plain(layout, target).run(loader),
    }
    times, ends = {way: [] for way in makers}, {}
    for _ in range(rounds):
        for way, make in makers.items():
            spent, ends[way] = seconds_per_step(make(), steps)
            times[way].append(spent)
    print(f"{layout.num_kernels} kernels, {layout.num_weights} weights, {spec_of(CONFIG, target).num_weights} of the predictor")
    for way, values in times.items():
        low, middle, high = (1 / value for value in (max(values), median(values), min(values)))
        print(f"{way:6s} {middle:8.2f} steps per second (min {low:.2f}, max {high:.2f})")
    print(f"largest difference of weights after {steps + 1} steps {float((ends['exact'] - ends['plain']).abs().max()):.1e}")
    for way in ("exact", "fast"):
        ratios = [slow / quick for slow, quick in zip(times["plain"], times[way], strict=True)]
        print(f"{way} reconstruction ratio {median(ratios):.2f}")


def compare_stacks(steps: int, rounds: int, device: torch.device) -> None:
    """Print what a step of predictors of two sizes takes in both ways."""
    targets = [random_target(name, num, device)[1] for name, num in STACKED.items()]
    alone = [target.of([n]) for target in targets for n in range(len(target.kernels))]
    together, ratios = [], []
    for _ in range(rounds):
        together.append(seconds_per_step(ours(joined(targets), "fast"), steps)[0])
        ratios.append(sum(seconds_per_step(ours(target, "fast"), steps)[0] for target in alone) / together[-1])
    print(f"{', '.join(f'{num} {name}' for name, num in STACKED.items())}: {median(together):.3f} s a step as one stack")
    print(f"stack ratio {median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")


def plain_sequence(kernels: np.ndarray) -> list[int]:
    """Greedy order as the official code has it: lists of indices, cosines anew at each step."""
    order, possible = [0], list(range(1, len(kernels)))
    for _ in range(len(kernels) - 1):
        source, others = kernels[order[-1]], kernels[possible]
        cosines = (source / np.linalg.norm(source)) @ (others / np.linalg.norm(others, axis=-1, keepdims=True)).T
        order.append(possible[int(cosines.argmax())])
        possible.remove(order[-1])
    return order


def compare_orders(num: int, smaller: list[int]) -> None:
    """Print what the cross-filter order of a layer takes in both ways."""
    kernels = torch.randn(num, 9, generator=generator_for("benchmark", "kernels"), dtype=torch.float64).numpy()
    rates = []
    for size in smaller:
        started = time.perf_counter()
        expected = plain_sequence(kernels[:size])
        rates.append((time.perf_counter() - started) / size**2)
        same = expected == greedy_sequence(kernels[:size]).tolist()
        print(f"plain order of {size} kernels {rates[-1] * size**2:.2f} s, {'the same as' if same else 'not'} ours")
    started = time.perf_counter()
    greedy_sequence(kernels)
    spent = time.perf_counter() - started
    print(f"order of {num} kernels {spent:.1f} s, plain {rates[-1] * num**2:.0f} s by extrapolation")
    print(f"cross-filter order ratio {rates[-1] * num**2 / spent:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="few steps, a layer of 64 x 64 kernels")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps, rounds = (3, 1) if options.quick else (options.steps, options.rounds)
    compare_reconstruction(steps, rounds, choose_device(options.device))
    compare_stacks(steps, rounds, choose_device(options.device))
    compare_orders(4_096 if options.quick else 262_144, [1_024] if options.quick else [4_096, 8_192])


if __name__ == "__main__":
    main()
