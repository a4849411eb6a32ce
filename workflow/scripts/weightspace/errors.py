"""The one error that is the user's to mend."""


class InputError(Exception):
    """An input cannot be used; the message is one sentence that names the key or file and what is wrong."""
