"""Speed of generation: networks from codes, measured and fine-tuned as a stack, against one after the other in plain torch.

    PYTHONPATH=workflow/scripts python benchmarks/generation.py [--networks 200] [--plain 4]

Both ways decode codes with the same autoencoder, measure val and test accuracy before and after an epoch on the digits, and train
in between. Plain takes a few networks, and its time is scaled to all. In processor time, on one thread.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from autoencoder import Plain, problem
from torch import Tensor
from weightspace.autoencoder.train import new_autoencoder
from weightspace.generation.finetune import fine_tune
from weightspace.generation.samplers import draw_codes
from weightspace.generation.settings import FineTuneConfig, GenerationSettings
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import unflatten

CONFIG = GenerationSettings(autoencoder="random", fine_tune=FineTuneConfig(epochs=[0, 1]))


def tuned_as_a_stack(decode: Callable[[Tensor], Tensor], codes: Tensor, images: ImageSet, spec: object) -> None:
    """All networks together."""
    fine_tune(spec, decode(codes), images, CONFIG.fine_tune, 0)


def tuned_plainly(decode: Callable[[Tensor], Tensor], codes: Tensor, images: ImageSet, spec: object) -> None:
    """One network after the other."""
    for code in codes:
        network = Plain(spec)
        parameters = unflatten(spec, decode(code.unsqueeze(0))[0]).values()
        network.load_state_dict(dict(zip(network.state_dict(), parameters, strict=True)))
        optimizer = torch.optim.Adam(network.parameters(), lr=CONFIG.fine_tune.learning_rate)
        accuracy(network, images)
        order = torch.randperm(len(images.train_x))
        for batch in order.split(CONFIG.fine_tune.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(network(normalize(images.train_x[batch], images)), images.train_y[batch]).backward()
            optimizer.step()
        accuracy(network, images)


@torch.no_grad()
def accuracy(network: Plain, images: ImageSet) -> list[float]:
    """On val and on test images."""
    splits = ((images.val_x, images.val_y), (images.test_x, images.test_y))
    return [float((network(normalize(x, images)).argmax(1) == y).float().mean()) for x, y in splits]


def main() -> None:
    """Print both times, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--plain", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data, images = problem(0.0, "original_permuted"), build_image_set(ImagesConfig(source="bundled_digits"), ".")
    model, spec, positions = new_autoencoder([data], 0), data.codec.spec, data.codec.layout.positions

    @torch.no_grad()
    def decode(codes: Tensor) -> Tensor:
        return data.codec.to_weights(model.decode(codes, positions))

    with torch.no_grad():
        anchors = model.encode(data.codec.to_tokens(data.weights), positions)
    codes = draw_codes(anchors, torch.Generator().manual_seed(0), asked.networks, CONFIG).codes
    spent = {}
    for name, run, num in (("stack", tuned_as_a_stack, asked.networks), ("plain", tuned_plainly, asked.plain)):
        run(decode, codes[:2], images, spec)  # what is only done once is left out
        started = time.process_time()
        run(decode, codes[:num], images, spec)
        spent[name] = (time.process_time() - started) * asked.networks / num
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
    print(f"{asked.networks} networks, one epoch: {times}, {spent['plain'] / spent['stack']:.1f} times as fast")


if __name__ == "__main__":
    main()
