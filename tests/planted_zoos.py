"""Zoos on disk with planted weights."""

from weightspace.checkpoints import ZooWriter
from weightspace.nets.forward import unflatten


def stored_zoo(folder, spec, epochs, weights, sizes=None, bar=0.5, averaged=False):
    """A zoo of weights [model, epoch, weight], in parts of so many models each; averaged ones stand behind the epochs."""
    writer, start = ZooWriter(folder, spec, epochs, bar, averaged), 0
    for size in sizes or [len(weights)]:
        writer.write(list(range(start, start + size)), unflatten(spec, weights[start : start + size]))
        start += size
    assert start == len(weights)
    return writer.finish()
