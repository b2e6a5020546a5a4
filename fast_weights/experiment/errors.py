"""The errors that a script prints as one line instead of a traceback."""


class UserError(ValueError):
    """A mistake in a flag, a setting or a file: what failed, why, and what to do about it."""


class CorruptFileError(UserError):
    """A file that does not hold what this project wrote to it."""
