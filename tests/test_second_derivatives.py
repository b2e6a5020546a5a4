"""Second derivatives through the custom gradients of the layers."""

import keras
import numpy as np
import pytest
from cases import (
    FLOAT32,
    HOLES,
    array,
    gradients_of,
    inputs_of,
    layer_of,
    random_states,
    skip_masked_cell,
)


def second_derivatives(layer, arguments):
    """Returns the gradient of a function of the gradients, for inputs, states and weights."""

    def loss(inputs, hidden, memory, *weights):
        variables = list(zip(layer.trainable_variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=variables):
            mask = keras.ops.convert_to_tensor(HOLES)
            outputs = layer(inputs, initial_state=[hidden, memory], mask=mask, training=True)
        return keras.ops.sum(keras.ops.sin(outputs))

    def total(gradients):
        return sum(keras.ops.sum(keras.ops.square(gradient)) for gradient in gradients)

    tensors = [keras.ops.convert_to_tensor(argument) for argument in arguments]
    return gradients_of(lambda *tensors: total(gradients_of(loss, tensors)), tensors)


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_second_derivatives(recurrence):
    """Catches a forward pass that the backend does not record: PyTorch then takes its results for
    constants, and the second derivatives are wrong. The unrolled layer has no custom gradient.
    """
    settings = {"recurrence": recurrence, "recurrent_dropout": 0.3, "seed": 1, "activation": "tanh"}
    results = []
    for unroll in (False, True):
        layer = layer_of("FastWeights-chunks", cell=settings, dtype="float32", unroll=unroll)
        arguments = [inputs_of(), *random_states(layer.cell), *map(array, layer.weights)]
        arguments = [argument.astype("float32") for argument in arguments]
        results.append(second_derivatives(layer, arguments))
    assert_equal(*results)


def test_second_derivatives_of_the_delta_rule():
    """Catches a wrong second derivative of the loop over chunks or of the inverse, such as a term
    that is treated as a constant. The cell has no custom gradient.
    """
    skip_masked_cell("GatedDeltaNetCell")
    results = []
    # With two steps in a chunk, the gradient of the inverse would not depend on the inverse.
    chunks = layer_of("GatedDeltaNet-chunks", cell={"chunk_size": 3})
    for layer in (chunks, layer_of("GatedDeltaNetCell", unroll=True)):
        arguments = [inputs_of(), *random_states(layer.cell), *map(array, layer.weights)]
        results.append(second_derivatives(layer, arguments))
    assert_equal(*results)


def assert_equal(one, other):
    for custom, automatic in zip(one, other, strict=True):
        expected = array(automatic)
        error = np.abs(array(custom) - expected).max()
        assert error < 10 * FLOAT32["rtol"] * np.abs(expected).max()
