"""Recurrent cells for `keras.layers.RNN`."""

from fast_weights.cells.associative_lstm import AssociativeLSTMCell
from fast_weights.cells.control import ControlCell
from fast_weights.cells.fast_weights import FastWeightsCell
from fast_weights.cells.layer_norm_gru import LayerNormGRUCell
from fast_weights.cells.layer_norm_rnn import LayerNormRNNCell

__all__ = [
    "AssociativeLSTMCell",
    "ControlCell",
    "FastWeightsCell",
    "LayerNormGRUCell",
    "LayerNormRNNCell",
]
