"""Speed of zoo training: our stack against a loop over models and against torch.func.vmap, in turn, in one run.

    PYTHONPATH=workflow/scripts python benchmarks/zoo.py [--networks cnn_digits cnn cnn3 resnet20] [--models 1 16 128]
        [--rounds 3] [--threads 1] [--device cpu] [--gigabytes 8]

All train the same models on the same random images, in the same order, from the same weights, by Adam, each in a process of its
own. plain: a torch module and torch.optim.Adam per model, one model after the other; its time per model is that of its first two.
vmap: torch.func.vmap of the gradient of the same module, with stacked parameters and one torch.optim.Adam; without running
statistics, which it cannot keep. It is left out where its feature maps would not fit the memory that is allowed.
limit: what the products and convolutions of a step would take at the machine's rate of large matrix products.

Times are milliseconds per model and step of 32 images, the best round: processor time on one CPU thread, else wall time. Epochs
are those of the image sets that the networks are of. Memory is what the process took more than before. The largest difference of
a learned weight from plain, after as many steps, is printed too.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from itertools import count
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vmap
from torch.utils.flop_counter import FlopCounterMode
from weightspace.images.tensors import ImageSet
from weightspace.nets.forward import unflatten
from weightspace.nets.printed import module_text
from weightspace.recipe import Recipe
from weightspace.training import Task, Trainee, batches, new_stack, task_of, train_stack

BATCH, MANY_EPOCHS = 32, 10_000
PLAIN_MODELS = 2
COLUMNS = (
    "network", "models", "stacked, ms", "plain, ms", "vmap, ms", "limit, ms", "models x epochs / s", "memory, MB", "of vmap, MB",
    "difference",
)  # fmt: skip


class Network(NamedTuple):
    """What is trained."""

    about: str
    image_shape: tuple[int, int, int]
    num_images: int  # of the image set that it is of
    steps: int  # of each round


NETWORKS = {
    "cnn_digits": Network("digits CNN, 8 x 8", (1, 8, 8), 1221, 16),
    "cnn": Network("CNN, 28 x 28", (1, 28, 28), 60_000, 4),
    "cnn3": Network("CNN3, 32 x 32 x 3", (3, 32, 32), 50_000, 2),
    "resnet20": Network("ResNet-20, 32 x 32 x 3", (3, 32, 32), 50_000, 1),
}


class Job(NamedTuple):
    """What one process measures."""

    network: str
    way: str
    models: int
    rounds: int
    threads: int
    device: str


class Measured(NamedTuple):
    """What it says."""

    milliseconds: float  # per model and step
    megabytes: float
    weights: Tensor  # learned ones of the first models, after the first round and what was run before it


def task_for(network: str, device: str) -> Task:
    """Random images, and as many of them as a round has steps."""
    shape, num = NETWORKS[network].image_shape, BATCH * NETWORKS[network].steps
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(256, (num, *shape), dtype=torch.uint8, generator=draw)
    y = torch.randint(10, (num,), generator=draw)
    images = ImageSet(x, y, x, y, x, y, (0.5,) * shape[0], (0.3,) * shape[0], [*"0123456789"], "random", "")
    return task_of(Recipe(images="random", architecture=network, batch_size=BATCH), images.to(device), [MANY_EPOCHS], [])


def module_of(task: Task) -> nn.Module:
    """The network in plain torch."""
    names: dict = {}
    exec(module_text(task.spec), names)
    return names["Network"]().to(task.images.train_x.device)


def learned(task: Task, weights: Tensor) -> dict[str, Tensor]:
    """Stacked parameters by name, without running statistics."""
    stacked = unflatten(task.spec, weights)
    return {each.name: stacked[each.name] for each in task.spec.parameters if each.learned}


def stacked(task: Task, models: list[Trainee]) -> Iterator[dict[str, Tensor]]:
    """Ours."""
    for stack in train_stack(task, models, new_stack(task, models)._replace(epoch=0)):
        yield learned(task, stack.weights)


def plain(task: Task, models: list[Trainee]) -> Iterator[dict[str, Tensor]]:
    """One model after the other."""
    networks = [module_of(task) for _ in models]
    for network, flat in zip(networks, new_stack(task, models).weights, strict=True):
        network.load_state_dict(unflatten(task.spec, flat), strict=False)
    optimizers = [torch.optim.Adam(network.parameters(), lr=models[0].learning_rate) for network in networks]
    for epoch in count(1):
        for model, network, optimizer in zip(models, networks, optimizers, strict=True):
            for x, y in batches(task, [model], epoch):
                optimizer.zero_grad()
                F.cross_entropy(network(x[0]), y[0]).backward()
                optimizer.step()
        rows = [dict(network.named_parameters()) for network in networks]
        yield {name: torch.stack([row[name].detach() for row in rows]) for name in rows[0]}


def vmapped(task: Task, models: list[Trainee]) -> Iterator[dict[str, Tensor]]:
    """All models by torch.func."""
    network = replace_all_batch_norm_modules_(module_of(task))
    parameters = {name: value.clone() for name, value in learned(task, new_stack(task, models).weights).items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=models[0].learning_rate)
    gradient = vmap(grad(lambda own, x, y: F.cross_entropy(functional_call(network, own, (x,)), y)))
    for epoch in count(1):
        for x, y in batches(task, models, epoch):
            for name, value in gradient(parameters, x, y).items():
                parameters[name].grad = value
            optimizer.step()
        yield parameters


WAYS: dict[str, Callable[[Task, list[Trainee]], Iterator[dict[str, Tensor]]]] = {
    "stacked": stacked, "plain": plain, "vmap": vmapped,
}  # fmt: skip


def measured(job: Job) -> Measured:
    """The best of the rounds, in one process."""
    torch.set_num_threads(job.threads)
    task, cuda = task_for(job.network, job.device), job.device != "cpu"
    models = [
        Trainee("kaiming_normal", ("model", n), ("model", n, "order"), ("model", n, "dropout"), 0.001, 0.0)
        for n in range(job.models)
    ]
    before, clock = _peak(cuda), clock_of(job.threads, job.device)
    rounds, times = WAYS[job.way](task, models), []
    next(rounds)
    for number in range(job.rounds):
        start = clock()
        weights = next(rounds)
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
        if number == 0:
            kept = torch.cat([value[:PLAIN_MODELS].flatten(1).cpu() for value in weights.values()], 1).clone()
    return Measured(1000 * min(times) / job.models / task.num_batches, _peak(cuda) - before, kept)


def clock_of(threads: int, device: str) -> Callable[[], float]:
    """Seconds, not counting what other programs take where that can be told."""
    return time.process_time if threads == 1 and device == "cpu" else time.perf_counter


def _peak(cuda: bool) -> float:
    if cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def limit(network: str, threads: int, device: str) -> float:
    """Milliseconds that the products and convolutions of a model's step take at the rate of large products."""
    torch.set_num_threads(threads)
    task, size = task_for(network, device), 4096 if device != "cpu" else 1024
    module, counter = module_of(task), FlopCounterMode(display=False)
    with counter:
        module(torch.zeros(BATCH, *task.spec.image_shape, device=device)).sum().backward()
    square, times, clock = torch.randn(size, size, device=device), [], clock_of(threads, device)
    for _ in range(20):
        start = clock()
        (square @ square)[0, 0].item()
        times.append(clock() - start)
    return 1000 * counter.get_total_flops() * min(times) / (2 * size**3)


def measured_where_it_fits(job: Job, gigabytes: float) -> Measured | None:
    """None where the feature maps of all models at once, with what torch makes of them, would not."""
    num = task_for(job.network, "cpu").spec.num_mapped * BATCH * job.models
    return measured(job) if 3 * 4 * num < gigabytes * 2**30 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--models", nargs="+", type=int, default=[1, 16, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gigabytes", type=float, default=8.0)
    given = parser.parse_args()
    ratios = []
    print(f"{given.threads} threads, {given.device}, {given.rounds} rounds, torch {torch.__version__}\n")
    print(f"| {' | '.join(COLUMNS)} |\n| --- |" + " --: |" * (len(COLUMNS) - 1))

    def run(function: Callable, *about: object) -> object:
        with multiprocessing.get_context("fork").Pool(1) as pool:  # a new process, whose memory is its own
            return pool.apply(function, about)

    for name in given.networks:
        network, least = NETWORKS[name], run(limit, name, given.threads, given.device)
        job = Job(name, "plain", PLAIN_MODELS, given.rounds, given.threads, given.device)
        loop = run(measured, job)
        for models in given.models:
            ours = run(measured, job._replace(way="stacked", models=models))
            other = run(measured_where_it_fits, job._replace(way="vmap", models=models), given.gigabytes)
            difference = float((ours.weights - loop.weights[: len(ours.weights)]).abs().max())
            epochs = 1000 / ours.milliseconds / ceil(network.num_images / BATCH)
            beside = (f"{other.milliseconds:.3g}", f"{other.megabytes:.0f}") if other else ("", "")
            times = f"{ours.milliseconds:.3g} | {loop.milliseconds:.3g} | {beside[0]} | {least:.2g}"
            memory = f"{ours.megabytes:.0f} | {beside[1]}"
            print(f"| {network.about} | {models} | {times} | {epochs:.3g} | {memory} | {difference:.0e} |", flush=True)
            for way, theirs in (("plain", loop), ("vmap", other)):
                if theirs:
                    ratio = theirs.milliseconds / ours.milliseconds
                    ratios.append(f"{network.about}, {models} models, stacked over {way} ratio {ratio:.2f}")
    print("", *ratios, sep="\n")


if __name__ == "__main__":
    main()
