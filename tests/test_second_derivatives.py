"""Second derivatives of `FastWeights`, through its custom gradient."""

import keras
import numpy as np
import pytest
from cases import BACKEND, FLOAT32, HOLES, array, inputs_of, layer_of, random_states


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

    everything = tuple(range(len(arguments)))
    tensors = [keras.ops.convert_to_tensor(argument) for argument in arguments]
    if BACKEND == "jax":
        import jax

        first = jax.grad(loss, everything)
        return jax.grad(lambda *tensors: total(first(*tensors)), everything)(*tensors)
    if BACKEND == "torch":
        import torch

        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        first = torch.autograd.grad(loss(*tensors), tensors, create_graph=True)
        return torch.autograd.grad(total(first), tensors)
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch(tensors)
        with tf.GradientTape() as inner:
            inner.watch(tensors)
            value = loss(*tensors)
        squares = total(inner.gradient(value, tensors))
    return outer.gradient(squares, tensors)


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
    for custom, automatic in zip(*results, strict=True):
        expected = array(automatic)
        error = np.abs(array(custom) - expected).max()
        assert error < 10 * FLOAT32["rtol"] * np.abs(expected).max()
