"""Speed of recovery: students as one stack against PyTorch loops over students, one-pass counts against repeated cuts.

    PYTHONPATH=workflow/scripts python benchmarks/recovery.py [--queries 60000] [--share 0.1] [--rounds 3] [--threads 1]
        [--device cpu]

Students have 784 inputs, 256 hidden units and 10 outputs; a batch is 512 queries. plain: a module and an optimizer per
student; last: one tensor with the students on its last axis, as the published code has it. Both fetch query by query and read
every loss off at every step, as that code does; they run one epoch of a share of the queries, and their times are scaled up.
Our way runs the whole epoch, and once more that share: the largest difference from its weights is printed.

Then clusters are counted at every height of a tree: in one pass, and by cutting the tree anew at each height.
"""

import argparse
import time
from collections.abc import Callable
from math import ceil
from statistics import median

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from weightspace.nets.activations import sigmoid_softplus
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import build_spec
from weightspace.recovery.cluster import count_curve, cut_heights, distances
from weightspace.recovery.fit import Fit
from weightspace.recovery.settings import StudentsConfig
from weightspace.recovery.students import descend, initial_students, start_adam
from weightspace.rng import generator_for

NUM, FEATURES, NOISE = 20, 33, 0.05
CONFIG = StudentsConfig(num=NUM, epochs=1, learning_rate=0.001, schedule="plateau")
SPEC = build_spec(["flatten", "linear 256", "activation", "linear classes"], "g", (1, 28, 28), 10)
Weights = Float[Tensor, "model weight"]


class OneByOne(Dataset):
    """Queries and answers, fetched one at a time."""

    def __init__(self, fit: Fit) -> None:
        self.x, self.y = fit.x[0], fit.y[0]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Activation(nn.Module):
    """g of Expand-and-Cluster as a layer."""

    def forward(self, z: Tensor) -> Tensor:
        return sigmoid_softplus(z)


class Plain(nn.Sequential):
    """One student as an ordinary torch module."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        first, last = SPEC.layers
        super().__init__(nn.Flatten(), nn.Linear(*first.fan_in, first.out), Activation(), nn.Linear(first.out, last.out))
        for parameter, value in zip(self.parameters(), named.values(), strict=True):
            parameter.data.copy_(value[0])

    def loss(self, x: Tensor, y: Tensor) -> Float[Tensor, ""]:
        """Mean squared error."""
        return nn.functional.mse_loss(self(x), y)

    def weights(self) -> Weights:
        """Flat, as the library has them."""
        return nn.utils.parameters_to_vector(self.parameters()).detach().unsqueeze(0)


class Last(nn.Module):
    """All students, on the last axis of each tensor (students_mnist_lenet.py:26-53 of the published code)."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        super().__init__()
        # out x in of a model becomes in x out x model, biases out x model
        self.values = nn.ParameterList(value.permute(*range(value.ndim - 1, -1, -1)).contiguous() for value in named.values())

    def loss(self, x: Tensor, y: Tensor) -> Float[Tensor, ""]:
        """Mean squared error of each student, summed."""
        weight, bias, above, shift = self.values
        hidden = sigmoid_softplus(torch.einsum("bi,ihn->bhn", x.flatten(1), weight) + bias)
        outputs = torch.einsum("bin,ihn->bhn", hidden, above) + shift
        return (outputs - y.unsqueeze(2)).square().mean((0, 1)).sum()

    def weights(self) -> Weights:
        """Flat, as the library has them."""
        values = [value.detach().permute(*range(value.ndim - 1, -1, -1)) for value in self.values]
        return flatten(SPEC, dict(zip(SPEC.shapes, values, strict=True)))


def first_weights() -> Weights:
    """What all ways start from."""
    return initial_students(SPEC, CONFIG, 1, ("benchmark",)).float()


def now(device: torch.device) -> float:
    """Seconds on a clock, when the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def train_stacked(fit: Fit, device: torch.device) -> tuple[float, Weights]:
    """Seconds of one epoch of all students as one tensor, students first, and what it leaves."""
    fit, state = Fit(*(tensor.to(device) for tensor in fit)), start_adam(CONFIG, first_weights().to(device))
    started = now(device)
    (state,) = descend(SPEC, CONFIG, state, fit, ("benchmark",))
    return now(device) - started, state.weights.cpu()


def train_loop(modules: list[Plain] | list[Last], fit: Fit, device: torch.device) -> tuple[float, Weights]:
    """The same epoch with these modules; batches go to the device one by one."""
    modules = [module.to(device) for module in modules]
    optimizers = [torch.optim.Adam(module.parameters(), lr=CONFIG.learning_rate) for module in modules]
    order = torch.randperm(fit.y.shape[1], generator=generator_for("batches", "benchmark", 0)).tolist()
    started = now(device)
    for x, y in DataLoader(OneByOne(fit), CONFIG.batch_size, sampler=order):
        x, y = x.to(device), y.to(device)
        for module, optimizer in zip(modules, optimizers, strict=True):
            optimizer.zero_grad()
            loss = module.loss(x, y)
            loss.backward()
            optimizer.step()
            loss.item()
    return now(device) - started, torch.cat([module.weights() for module in modules]).cpu()


LOOPS: dict[str, Callable[[], list]] = {
    "plain": lambda: [Plain(unflatten(SPEC, row)) for row in first_weights().split(1)],
    "last": lambda: [Last(unflatten(SPEC, first_weights()))],
}


def compare_training(queries: int, share: float, rounds: int, device: torch.device) -> None:
    """Print what an epoch of all students takes in each way."""
    generator = generator_for("benchmark", "queries")
    x, y = (torch.randn(1, queries, *shape, generator=generator) for shape in (SPEC.image_shape, (SPEC.num_classes,)))
    fit = Fit(x, y, torch.zeros(NUM, dtype=torch.long))
    steps = ceil(queries / CONFIG.batch_size)
    batches = max(1, round(share * steps))
    part = fit.first(batches * CONFIG.batch_size)
    expected = train_stacked(part, device)[1]
    times = {way: [] for way in ("stacked", *LOOPS)}
    for _ in range(rounds):
        times["stacked"].append(train_stacked(fit, device)[0])
        for way, modules in LOOPS.items():
            spent, weights = train_loop(modules(), part, device)
            times[way].append(spent * steps / batches)
            largest = float((weights - expected).abs().max())
            print(f"{way}: {batches} of {steps} batches, largest difference of weights {largest:.1e}")
    print(f"{NUM} students of {SPEC.num_weights} weights, {queries} queries")
    for way, values in times.items():
        print(f"{way:8s} {median(values):8.2f} s per epoch (min {min(values):.2f}, max {max(values):.2f})")
    for way in LOOPS:
        ratios = [slow / fast for slow, fast in zip(times[way], times["stacked"], strict=True)]
        print(f"stacked students against {way} ratio {median(ratios):.2f}")


def planted_tree(num: int) -> np.ndarray:
    """scipy's linkage of neurons of which half lie around common centers, NUM around each, and half anywhere."""
    generator = generator_for("benchmark", "neurons")
    centers = torch.randn(num // 2 // NUM, FEATURES, generator=generator, dtype=torch.float64)
    near = centers.repeat(NUM, 1)
    near = near + NOISE * torch.randn(near.shape, generator=generator, dtype=torch.float64)
    anywhere = torch.randn(num - len(near), FEATURES, generator=generator, dtype=torch.float64)
    return linkage(distances(torch.cat([near, anywhere]), either_sign=False), "average")


def one_pass(merges: np.ndarray, least: int) -> tuple[np.ndarray, float]:
    """Clusters of at least `least` neurons after each merge, and the cut."""
    counts, _ = count_curve(merges, [1 << n for n in range(len(merges) + 1)], least)
    return counts, cut_heights(merges, counts)[-1]


def repeated_cuts(merges: np.ndarray, least: int) -> tuple[np.ndarray, float]:
    """The same by cutting the tree anew at each height, as the published code does."""
    heights = merges[:, 2]
    sizes = (np.unique(fcluster(merges, height, "distance"), return_counts=True)[1] for height in heights)
    counts = np.array([(size >= least).sum() for size in sizes])
    end = counts.argmax()
    while end + 1 < len(counts) and counts[end + 1] == counts.max():
        end += 1
    return counts, float(heights[end])


def compare_cuts(num: int) -> None:
    """Print what the counts at all heights of a tree take in both ways; raises ValueError if they differ."""
    merges, spent, found = planted_tree(num), [], []
    for way in (one_pass, repeated_cuts):
        started = time.perf_counter()
        found.append(way(merges, NUM // 2))
        spent.append(time.perf_counter() - started)
    (counts, cut), (expected, expected_cut) = found
    if not np.array_equal(counts, expected) or cut != expected_cut:
        raise ValueError("one pass and repeated cuts disagree")
    print(
        f"{num} neurons, {counts.max()} clusters at height {cut:.3f} in both: {1000 * spent[0]:.1f} ms, {1000 * spent[1]:.0f} ms"
    )
    print(f"one-pass cut ratio {spent[1] / spent[0]:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=60_000)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neurons", type=int, default=4_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compare_training(options.queries, options.share, options.rounds, torch.device(options.device))
    compare_cuts(options.neurons)


if __name__ == "__main__":
    main()
