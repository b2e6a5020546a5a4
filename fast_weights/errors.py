"""The one exception that a person at the keyboard should see as one line.

A leaf that every room may import: the scripts turn a `UserError` into a line
on standard error and exit status 2; anything else is a defect and keeps its
traceback.
"""


class UserError(ValueError):
    """A mistake in what was asked for or in a file: what was expected, what came, what to do."""


class MismatchError(UserError):
    """A file that is whole, but of a newer version or of other settings: no rot to go back from."""
