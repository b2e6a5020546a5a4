"""The public names as a type checker sees them. `__init__.py` imports them on first use."""

from fast_weights.experiment.checkpoint import (
    load_model,
    new_state,
)
from fast_weights.experiment.config import Config
from fast_weights.experiment.dataset import load_or_generate
from fast_weights.experiment.errors import (
    CorruptFileError,
    UserError,
)
from fast_weights.experiment.evaluation import (
    accuracy_by_group,
    mean_attention,
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
    "Config",
    "CorruptFileError",
    "RunDirectory",
    "UserError",
    "accuracy_by_group",
    "build_model",
    "load_model",
    "load_or_generate",
    "mean_attention",
    "new_state",
    "plot_memory",
    "predict_text",
    "resolve_config",
    "trace_sequence",
    "train",
]
