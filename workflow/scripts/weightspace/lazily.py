"""Torch, imported when it is first used: settings are checked by every command, and torch takes seconds."""

from importlib import import_module


class Lazily:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


torch, F = Lazily("torch"), Lazily("torch.nn.functional")
