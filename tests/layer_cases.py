"""The layers under test, built with random weights, as `cases.py` has the cells."""

import numpy as np
import pytest
from cases import BATCH, FEATURES, STEPS, UNITS, array, inputs_of, oracle, randomize, tight

from fast_weights import Control, FastWeights, LayerNormGRU, LayerNormRNN

FAST = {"inner_steps": 2, "decay_rate": 0.8, "fast_learning_rate": 0.6, "epsilon": 1e-2}
LAYERS = {
    "control": (Control, {}),
    "rnn_ln": (LayerNormRNN, {"epsilon": 1e-2}),
    "gru_original": (LayerNormGRU, {"epsilon": 1e-2}),
    "gru_standard": (LayerNormGRU, {"gates": "standard", "epsilon": 1e-2}),
    "matrix": (FastWeights, {"memory": "matrix", **FAST}),
    "attention": (FastWeights, {"memory": "attention", **FAST}),
    "matrix_paper": (FastWeights, {"memory": "auto", "recurrence": "paper", **FAST}),
}
all_layers = pytest.mark.parametrize("name", LAYERS)


def layer_of(which, **kwargs):
    """A layer with random weights, built for `STEPS` steps."""
    kind, settings = LAYERS[which]
    layer = kind(UNITS, **{"dtype": "float64", **settings, **kwargs})
    layer.build((BATCH, STEPS, FEATURES))
    randomize(layer)
    return layer


def assert_oracle(name, layer, outputs, mask=None):
    expected, _ = oracle(name, layer.cell, inputs_of(), mask=mask)
    np.testing.assert_allclose(array(outputs), expected, **tight(name))
