"""Keras callbacks for `fit`, each of use alone. The names are imported on first use."""

import importlib

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


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
