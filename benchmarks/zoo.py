"""Speed of zoo training: our stack against a plain PyTorch loop over models, in turn, in one run.

    PYTHONPATH=workflow/scripts python benchmarks/zoo.py [--models 128] [--rounds 5] [--threads 1] [--device cpu]

Both train the same models on the same images in the same order from the same weights for one epoch; the largest
difference between their weights is printed beside the times.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.nets.forward import unflatten
from weightspace.store import choose_device
from weightspace.training import Task, Trainee, batches, new_stack, train_stack
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task, members, trainee


def plain_network(task: Task) -> nn.Sequential:
    """The zoo's architecture as an ordinary torch module."""
    kinds = {
        "pool": lambda op: nn.MaxPool2d(op.sizes["size"]),
        "activation": lambda op: nn.ReLU(),
        "flatten": lambda op: nn.Flatten(),
    }
    makers = kinds | {
        "conv": lambda op: nn.Conv2d(op.weights.fan_in[0], op.weights.out, op.weights.fan_in[1]),
        "linear": lambda op: nn.Linear(op.weights.fan_in[0], op.weights.out),
    }
    return nn.Sequential(*(makers[op.kind](op) for op in task.spec.ops))


def train_plain(task: Task, models: list[Trainee]) -> torch.Tensor:
    """One epoch of each model, one after the other: module, torch.optim.Adam, cross_entropy. Returns flat weights."""
    start = new_stack(task, models).weights
    rows = []
    for model, flat in zip(models, start, strict=True):
        network = plain_network(task).to(flat.device)
        for parameter, value in zip(network.parameters(), unflatten(task.spec, flat).values(), strict=True):
            parameter.data.copy_(value)
        optimizer = torch.optim.Adam(network.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay)
        for x, y in batches(task, [model], epoch=1):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[0]), y[0]).backward()
            optimizer.step()
        rows.append(nn.utils.parameters_to_vector(network.parameters()).detach())
    return torch.stack(rows)


def train_stacked(task: Task, models: list[Trainee]) -> torch.Tensor:
    """The same epoch with all models as one tensor."""
    size = task.recipe.stack_size
    parts = [models[start : start + size] for start in range(0, len(models), size)]
    stacks = [new_stack(task, part)._replace(epoch=0) for part in parts]
    return torch.cat([list(train_stack(task, part, stack))[-1].weights for part, stack in zip(parts, stacks, strict=True)])


def seconds(
    train: Callable[[Task, list[Trainee]], torch.Tensor], task: Task, models: list[Trainee]
) -> tuple[float, torch.Tensor]:
    """Wall time of a call and what it returns."""
    started = time.perf_counter()
    weights = train(task, models).cpu()
    return time.perf_counter() - started, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = build_image_set(ImagesConfig(source="bundled_digits"), ".").to(choose_device(options.device))
    config = ZooConfig(
        images="digits", architecture="cnn_digits", inits=["kaiming_uniform"], learning_rates=[0.001, 0.002], weight_decays=[0.0],
        num_seeds=options.models // 2, epochs=[1],
    )  # fmt: skip
    task, models = make_task(config, images), [trainee(config, member, "benchmark") for member in members(config)]
    times = {"stacked": [], "plain": []}
    for _ in range(options.rounds):
        spent, stacked = seconds(train_stacked, task, models)
        times["stacked"].append(spent)
        spent, plain = seconds(train_plain, task, models)
        times["plain"].append(spent)
    size = f"{len(models)} models of {task.spec.num_weights} weights, {len(images.train_x)} images"
    print(f"{size}, {options.threads} threads, {options.device}")
    for way, values in times.items():
        per_epoch = [1000 * value / len(models) for value in values]
        print(f"{way:8s} {median(per_epoch):8.2f} ms per model and epoch (min {min(per_epoch):.2f}, max {max(per_epoch):.2f})")
    print(f"largest difference of weights {float((stacked - plain).abs().max()):.1e}")
    ratios = [plain / stacked for plain, stacked in zip(times["plain"], times["stacked"], strict=True)]
    print(f"stacked zoo training ratio {median(ratios):.2f}")


if __name__ == "__main__":
    main()
