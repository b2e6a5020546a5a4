"""The experiment: tasks, models, training, evaluation and plots.

The names below are public. Everything else may change.
"""

from fast_weights.importing import import_module

_MODULES = {
    "BlockModel": "blocks",
    "Config": "config",
    "CorruptFileError": "errors",
    "RunDirectory": "run_dir",
    "UserError": "errors",
    "build_model": "models",
    "evaluate": "evaluation",
    "load_model": "checkpoint",
    "load_or_generate": "dataset",
    "mean_attention": "evaluation",
    "plot_memory": "plots",
    "predict_text": "evaluation",
    "resolve_config": "run_dir",
    "trace_sequence": "evaluation",
    "train": "training",
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    # Imported on first use: Keras and TensorFlow take seconds to load.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_MODULES])
