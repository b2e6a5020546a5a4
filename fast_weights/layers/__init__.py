"""One layer for each cell, as Keras pairs `GRUCell` with `GRU`."""

from fast_weights.layers.fast_weights import FastWeights
from fast_weights.layers.plain import Control, LayerNormGRU, LayerNormRNN

__all__ = ["Control", "FastWeights", "LayerNormGRU", "LayerNormRNN"]
