"""The errors that a script prints as one line instead of a traceback."""

import pathlib

# Whether the scripts are present. An installed package has only the Python functions.
IN_CHECKOUT = (pathlib.Path(__file__).parents[2] / "train.py").is_file()


class UserError(ValueError):
    """A mistake in a flag, a setting or a file: what failed, why, and what to do about it."""


class CorruptFileError(UserError):
    """A file whose content is not what this project wrote to it."""


def option(name: str, value=None) -> str:
    """Returns an option as a user writes it: a flag, or in an installed package an argument.

    Args:
        name: of the flag and of the argument.
        value: of the option. `True` is a flag without a value. Default `None`: only the name.
    """
    if IN_CHECKOUT:
        return f"--{name}" if value is None or value is True else f"--{name}={value}"
    return name if value is None else f"{name}={value!r}"
