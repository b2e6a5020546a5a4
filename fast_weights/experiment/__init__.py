"""The experiment: tasks, models, training, evaluation and plots.

The names below are public. Everything else may change.
"""

from fast_weights.importing import lazy_names

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
    "predict_answers": "evaluation",
    "predict_text": "evaluation",
    "resolve_config": "run_dir",
    "save_model": "checkpoint",
    "trace_sequence": "evaluation",
    "train": "training",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
