"""Imports modules that need Keras: the public names of a package on their first use."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# The backends of Keras that the layers run on, by the names of their packages.
BACKENDS = ("tensorflow", "jax", "torch")


def lazy_names(package: str, modules: dict[str, str]) -> tuple[Callable[[str], Any], Callable]:
    """Returns `__getattr__` and `__dir__` of a package that imports its names on first use.

    Keras takes seconds to load, and `import fast_weights` and `train.py --help` must not wait.

    Args:
        package: the name of the package.
        modules: the module of each public name.
    """

    def get(name):
        if name in modules:
            return getattr(import_module(f"{package}.{modules[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted([*vars(sys.modules[package]), *modules])


def import_module(name: str) -> ModuleType:
    """Imports a module that imports Keras, which imports its backend.

    Raises:
        ImportError: if the backend is not installed. Installing Keras installs no backend.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name
        # If Keras is loaded, so is its backend, and the experiment needs the missing package.
        if missing not in BACKENDS or "keras" in sys.modules:
            raise
    others = [one for one in BACKENDS if one != missing]
    installed = [one for one in others if importlib.util.find_spec(one)]
    # If KERAS_BACKEND is not set, Keras imports TensorFlow, even if only JAX is installed.
    if installed:
        advice = f"To use {installed[0]}, which is installed, set KERAS_BACKEND={installed[0]}"
    else:
        advice = f"To use {' or '.join(others)}, install it and set KERAS_BACKEND to its name"
    raise ImportError(
        f"Keras's backend is {missing}, which is not installed. Run: pip install {missing}. "
        f"{advice}"
    )
