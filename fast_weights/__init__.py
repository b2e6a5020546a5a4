"""Fast weights for Keras: "Using Fast Weights to Attend to the Recent Past".

The public names load Keras on first use, so that `import fast_weights` is quick.
To load a saved model that contains one of the layers, import the layer first:
this registers it with Keras.
"""

from fast_weights.importing import import_module

__version__ = "0.2.0"

_MODULES = {
    "AssociativeLSTM": "layers",
    "AssociativeLSTMCell": "cells",
    "Control": "layers",
    "ControlCell": "cells",
    "FastWeights": "layers",
    "FastWeightsCell": "cells",
    "LayerNormGRU": "layers",
    "LayerNormGRUCell": "cells",
    "LayerNormRNN": "layers",
    "LayerNormRNNCell": "cells",
    "MemoryTrace": "tracing",
    "trace_memory": "tracing",
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    # Lazy: Keras takes seconds to load, and `train.py --help` must not wait for it.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_MODULES])
