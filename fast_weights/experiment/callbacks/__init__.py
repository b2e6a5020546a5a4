"""Keras callbacks for `fit`. The names are imported on first use.

Each can be used alone, except that `ProgressTable` and `TensorBoard` need `Records`.
"""

from fast_weights.importing import lazy_names

_MODULES = {
    "CheckFinite": "checks",
    "Checkpoint": "checkpoint",
    "EvaluateTest": "evaluate_test",
    "ProgressTable": "progress",
    "Records": "records",
    "StopAtAccuracy": "checks",
    "TensorBoard": "tensorboard",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
