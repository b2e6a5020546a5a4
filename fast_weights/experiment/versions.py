"""The packages that the scripts and `train` need, and the versions of TensorFlow and Keras.

Python 3.7 and later must be able to run this module.
"""

import importlib.util

PACKAGES = ("absl", "filelock", "keras", "matplotlib", "numpy", "tensorboard", "tensorflow")
# The lowest tested release and the first untested one, as in requirements.txt.
BOUNDS = {"tensorflow": ("2.18", "2.22"), "keras": ("3.8", "3.16")}


def not_installed(names):
    """Returns a phrase on the packages that are not installed, or an empty string."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed"


def outside_bounds():
    """Returns a phrase on the packages whose version is out of bounds, or an empty string.

    A build with a name of its own, such as tensorflow-cpu, is not checked.
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
    return "; ".join(phrases)


def _release(version):
    """Returns `"2.18.1"` as `(2, 18)`."""
    return tuple(map(int, version.split(".")[:2]))
