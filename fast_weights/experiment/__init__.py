"""The experiment: tasks, models, training, evaluation and plots.

The names below are public. Everything else may change.
"""

import os

from fast_weights.experiment.errors import IN_CHECKOUT
from fast_weights.experiment.versions import not_installed, outside_bounds
from fast_weights.importing import import_module

_MODULES = {
    "Config": "config",
    "CorruptFileError": "errors",
    "RunDirectory": "run_dir",
    "UserError": "errors",
    "accuracy_by_group": "evaluation",
    "build_model": "models",
    "load_model": "checkpoint",
    "load_or_generate": "dataset",
    "mean_attention": "evaluation",
    "new_state": "checkpoint",
    "plot_memory": "plots",
    "predict_text": "evaluation",
    "resolve_config": "run_dir",
    "trace_sequence": "evaluation",
    "train": "training",
}

__all__ = sorted(_MODULES)


# Modules that use Keras, and the packages that a module needs besides Keras and NumPy.
_USE_KERAS = {"checkpoint", "evaluation", "models", "training"}
_NEEDED = {
    "plots": ["matplotlib"],
    "training": ["filelock", "matplotlib", "tensorboard", "tensorflow"],
}


def __getattr__(name):
    # Imported on first use: Keras and TensorFlow take seconds to load.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    problem = not_installed(_NEEDED.get(module, []))
    if module == "training":
        problem = problem or outside_bounds()
    if problem:
        raise ImportError(f"`{name}` cannot be loaded: {problem}. Run: {_install_command(module)}")
    if module in _USE_KERAS:
        import_module("keras")
    return getattr(import_module(f"{__name__}.{module}"), name)


def _install_command(module):
    """Returns the command that installs the packages of a module, and what to set after it."""
    if module != "training":
        return f"pip install {' '.join(_NEEDED[module])}"
    what = "-r requirements.txt" if IN_CHECKOUT else '"fast-weights[experiment]"'
    # With another backend, `train` would need a second round.
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    setting = "" if backend == "tensorflow" else ", and set KERAS_BACKEND=tensorflow"
    return f"pip install {what}{setting}"


def __dir__():
    return sorted([*globals(), *_MODULES])
