"""The experiment: tasks, models, training, evaluation and plots.

The names below are public. Everything else may change.
"""

import importlib.util

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
    "training": ["matplotlib", "tensorboard", "tensorflow"],
}


def __getattr__(name):
    # Imported on first use: Keras and TensorFlow take seconds to load.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    needed = _NEEDED.get(module, [])
    missing = [one for one in needed if importlib.util.find_spec(one) is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        # Training also needs TensorFlow as Keras's backend.
        backend = ", and set KERAS_BACKEND=tensorflow" if "tensorflow" in missing else ""
        raise ImportError(
            f"`{name}` needs {', '.join(missing)}, which {are} not installed. "
            f"Run: pip install {' '.join(missing)}{backend}"
        )
    if module in _USE_KERAS:
        import_module("keras")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__():
    return sorted([*globals(), *_MODULES])
