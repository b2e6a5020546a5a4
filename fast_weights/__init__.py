"""Fast weights for Keras: "Using Fast Weights to Attend to the Recent Past".

The public names load Keras on first use, so that `import fast_weights` is quick.
To load a saved model that contains one of the layers, import the layer first:
this registers it with Keras.
"""

from fast_weights.importing import lazy_names

__version__ = "0.2.0"

_MODULES = {
    "AssociativeLSTM": "layers",
    "AssociativeLSTMCell": "cells",
    "Control": "layers",
    "ControlCell": "cells",
    "DeltaNet": "layers",
    "DeltaNetCell": "cells",
    "FastWeights": "layers",
    "FastWeightsCell": "cells",
    "GatedDeltaNet": "layers",
    "GatedDeltaNetCell": "cells",
    "LayerNormGRU": "layers",
    "LayerNormGRUCell": "cells",
    "LayerNormRNN": "layers",
    "LayerNormRNNCell": "cells",
    "LinearAttention": "layers",
    "LinearAttentionCell": "cells",
    "MemoryTrace": "tracing",
    "trace_memory": "tracing",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
