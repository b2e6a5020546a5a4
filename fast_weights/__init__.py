"""Fast weights for Keras: "Using Fast Weights to Attend to the Recent Past"."""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "Config": "fast_weights.config",
    "ControlCell": "fast_weights.cells",
    "FastWeightsAttentionCell": "fast_weights.cells",
    "FastWeightsCell": "fast_weights.cells",
    "LayerNormGRUCell": "fast_weights.cells",
    "LayerNormRNNCell": "fast_weights.cells",
    "UserError": "fast_weights.errors",
    "build_model": "fast_weights.models",
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    # Imported when asked for: Keras takes seconds to load, and a script's
    # --help or complaint about a flag should not wait for it.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_MODULES])
