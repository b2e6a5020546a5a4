"""One layer for each cell, as Keras pairs `GRUCell` with `GRU`."""

from fast_weights.layers.fast_weights import FastWeights
from fast_weights.layers.linear import DeltaNet, GatedDeltaNet, LinearAttention
from fast_weights.layers.plain import AssociativeLSTM, Control, LayerNormGRU, LayerNormRNN

__all__ = [
    "AssociativeLSTM",
    "Control",
    "DeltaNet",
    "FastWeights",
    "GatedDeltaNet",
    "LayerNormGRU",
    "LayerNormRNN",
    "LinearAttention",
]
