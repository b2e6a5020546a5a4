"""Recurrent cells for `keras.layers.RNN`."""

from fast_weights.cells.associative_lstm import AssociativeLSTMCell
from fast_weights.cells.control import ControlCell
from fast_weights.cells.delta_net import DeltaNetCell
from fast_weights.cells.fast_weights import FastWeightsCell
from fast_weights.cells.gated_delta_net import GatedDeltaNetCell
from fast_weights.cells.layer_norm_gru import LayerNormGRUCell
from fast_weights.cells.layer_norm_rnn import LayerNormRNNCell
from fast_weights.cells.linear_attention import LinearAttentionCell

__all__ = [
    "AssociativeLSTMCell",
    "ControlCell",
    "DeltaNetCell",
    "FastWeightsCell",
    "GatedDeltaNetCell",
    "LayerNormGRUCell",
    "LayerNormRNNCell",
    "LinearAttentionCell",
]
