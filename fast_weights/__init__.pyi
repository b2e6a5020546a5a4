"""The public names as a type checker sees them. `__init__.py` imports them on first use."""

from fast_weights.cells import (
    AssociativeLSTMCell,
    ControlCell,
    DeltaNetCell,
    FastWeightsCell,
    GatedDeltaNetCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
    LinearAttentionCell,
)
from fast_weights.layers import (
    AssociativeLSTM,
    Control,
    DeltaNet,
    FastWeights,
    GatedDeltaNet,
    LayerNormGRU,
    LayerNormRNN,
    LinearAttention,
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
    "DeltaNet",
    "DeltaNetCell",
    "FastWeights",
    "FastWeightsCell",
    "GatedDeltaNet",
    "GatedDeltaNetCell",
    "LayerNormGRU",
    "LayerNormGRUCell",
    "LayerNormRNN",
    "LayerNormRNNCell",
    "LinearAttention",
    "LinearAttentionCell",
    "MemoryTrace",
    "trace_memory",
]
