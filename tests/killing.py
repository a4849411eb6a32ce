"""Trainings that are killed, and what they saved until then."""

from contextlib import contextmanager

from weightspace.store import TrainingState


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


class Eager(TrainingState):
    """Saves whenever asked."""

    def save_if_due(self, tensors, **metadata):
        self.next_save = 0.0
        super().save_if_due(tensors, **metadata)


def eager_until(step):
    """An eager state that dies after it saved this step."""

    class Last(Eager):
        def save_if_due(self, tensors, **metadata):
            super().save_if_due(tensors, **metadata)
            if metadata["step"] == step:
                raise KilledError

    return Last


class DyingState(Eager):
    """Dies after some saves."""

    def __init__(self, path, saves):
        super().__init__(path, "key")
        self.left = saves

    def save_if_due(self, tensors, **metadata):
        super().save_if_due(tensors, **metadata)
        self.left -= 1
        if self.left == 0:
            raise KilledError


@contextmanager
def killed(monkeypatch, module, updates):
    """A training in `module` dies at this update of its progress; that it did is asserted."""

    class Deadly:
        left = updates

        def __init__(self, *_):
            pass

        def update(self, *_):
            type(self).left -= 1
            if not self.left:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, "Progress", Deadly)
        try:
            yield
        except KilledError:
            pass
    assert Deadly.left == 0
