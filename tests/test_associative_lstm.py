"""The associative LSTM: several heads against the oracle, its bounds and its arguments."""

import keras
import numpy as np
import pytest
import reference
from cases import BACKEND, BATCH, FLOAT32, TIGHT, array, inputs_of, randomize, weights_of

from fast_weights import AssociativeLSTM, AssociativeLSTMCell

# `sigmoid` of float64 is computed in float32 outside TensorFlow.
TOLERANCE = TIGHT if BACKEND == "tensorflow" else FLOAT32


@pytest.mark.parametrize(("num_copies", "num_heads"), [(1, 1), (4, 3), (2, 2)])
def test_heads_and_copies_equal_oracle(num_copies, num_heads):
    """Catches a copy with the wrong permutation, and heads that share a key."""
    settings = {"num_copies": num_copies, "num_heads": num_heads}
    options = {"return_sequences": True, "return_state": True, "dtype": "float64"}
    layer = AssociativeLSTM(10, **settings, **options)
    inputs = inputs_of()
    layer.build(inputs.shape)
    randomize(layer)
    outputs, *last = map(array, layer(inputs))
    for b in range(BATCH):
        h, c = np.zeros(10 * num_heads), np.zeros(10 * num_copies)
        for t, x in enumerate(inputs[b]):
            h, c = reference.associative_lstm_step(weights_of(layer), x, h, c, **settings)
            np.testing.assert_allclose(outputs[b, t], h, **TOLERANCE)
        np.testing.assert_allclose(last[0][b], h, **TOLERANCE)
        np.testing.assert_allclose(last[1][b], c, **TOLERANCE)


def test_gradient_is_finite_where_keys_are_zero():
    """Catches a root of zero: a padded step of zeros has keys of length 0."""
    layer = AssociativeLSTM(4, bias_initializer="zeros")
    inputs = np.zeros((2, 3, 5), "float32")
    model = keras.Sequential([keras.Input((3, 5)), layer])
    model.compile("sgd", "mse")
    model.fit(inputs, np.ones((2, 12)), verbose=0)
    assert all(np.isfinite(weight).all() for weight in layer.get_weights())


def test_forget_gate_starts_open():
    """Catches a bias of 1 for the wrong gate."""
    cell = AssociativeLSTMCell(4)
    cell.build((None, 3))
    bias = array(cell.bias)
    np.testing.assert_array_equal(bias, np.arange(len(bias)) < 2)
