"""Stops a script that cannot run here, before it imports anything else.

The scripts import this module first, for its effect. Python 3.7 and later must be able to run it.
"""

import importlib.util
import sys

PACKAGES = ("absl", "filelock", "keras", "matplotlib", "numpy", "tensorboard", "tensorflow")
# The lowest tested release and the first untested one, as in requirements.txt.
BOUNDS = {"tensorflow": ("2.18", "2.22"), "keras": ("3.8", "3.16")}


def _release(version):
    """Returns `"2.18.1"` as `(2, 18)`."""
    return tuple(map(int, version.split(".")[:2]))


def _outside_bounds():
    """Returns a phrase for each installed package whose version is out of bounds.

    A package with another name, such as tensorflow-cpu, is not checked.
    """
    from importlib import metadata  # Python 3.7 lacks it

    phrases = []
    for name, (low, high) in BOUNDS.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if not _release(low) <= _release(found) < _release(high):
            phrases.append(f"{name}>={low},<{high} is needed, but {name} {found} is installed")
    return phrases


if sys.version_info < (3, 10):  # noqa: UP036
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"error: Python 3.10 or later is needed. Received: Python {version}, {sys.executable}")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(
        f"error: {missing[0]} is not installed for {sys.executable}. Activate the virtual "
        "environment (source .venv/bin/activate) or run: pip install -r requirements.txt"
    )
outside = _outside_bounds()
if outside:
    sys.exit(
        f"error: {'; '.join(outside)} for {sys.executable}. Activate the virtual environment "
        "(source .venv/bin/activate) or run: pip install -r requirements.txt"
    )
