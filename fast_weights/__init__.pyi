"""The public names as a type checker sees them. `__init__.py` imports them on first use."""

from fast_weights.cells import (
    AssociativeLSTMCell,
    ControlCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)
from fast_weights.layers import (
    AssociativeLSTM,
    Control,
    FastWeights,
    LayerNormGRU,
    LayerNormRNN,
)
from fast_weights.tracing import (
    MemoryTrace,
    trace_memory,
)

__version__: str
__all__ = [
    "AssociativeLSTM",
    "AssociativeLSTMCell",
    "Control",
    "ControlCell",
    "FastWeights",
    "FastWeightsCell",
    "LayerNormGRU",
    "LayerNormGRUCell",
    "LayerNormRNN",
    "LayerNormRNNCell",
    "MemoryTrace",
    "trace_memory",
]
