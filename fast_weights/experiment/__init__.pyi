"""The public names as a type checker sees them. `__init__.py` imports them on first use."""

from fast_weights.experiment.blocks import BlockModel
from fast_weights.experiment.checkpoint import load_model, save_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.dataset import load_or_generate
from fast_weights.experiment.errors import (
    CorruptFileError,
    UserError,
)
from fast_weights.experiment.evaluation import (
    evaluate,
    mean_attention,
    predict_answers,
    predict_text,
    trace_sequence,
)
from fast_weights.experiment.models import build_model
from fast_weights.experiment.plots import plot_memory
from fast_weights.experiment.run_dir import (
    RunDirectory,
    resolve_config,
)
from fast_weights.experiment.training import train

__all__ = [
    "BlockModel",
    "Config",
    "CorruptFileError",
    "RunDirectory",
    "UserError",
    "build_model",
    "evaluate",
    "load_model",
    "load_or_generate",
    "mean_attention",
    "plot_memory",
    "predict_answers",
    "predict_text",
    "resolve_config",
    "save_model",
    "trace_sequence",
    "train",
]
