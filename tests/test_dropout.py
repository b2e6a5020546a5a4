"""The arguments `use_bias`, `dropout`, `recurrent_dropout` and `seed` of the cells and layers."""

import cases
import keras
import numpy as np
import pytest
from cases import BACKEND, BATCH, FEATURES, UNITS, array, assert_close, cell_of, inputs_of, layer_of

SEED = 7
# `FastWeights` and `keras.layers.RNN` differ in the outputs of masked first steps.
MASK = np.array([[True, False, True, True, False], [True, True, False, False, True]])
NO_BIAS = {"use_bias": False}
DROPOUT = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": SEED}
# A linear memory has no product with W_h.
OF_LINEAR = {"dropout": 0.4, "seed": SEED}


def dropout_of(name):
    return OF_LINEAR if name in cases.LINEAR else DROPOUT


def masks(batches=1, dtype="float64", sizes=(FEATURES, UNITS)):
    """Returns the masks of the inputs and of h, which Keras's cells draw in this order."""
    generator = keras.random.SeedGenerator(SEED)
    for _ in range(batches):
        ones = (keras.ops.ones((BATCH, size), dtype) for size in sizes)
        rates = DROPOUT["dropout"], DROPOUT["recurrent_dropout"]
        drawn = [
            array(keras.random.dropout(one, rate, seed=generator))
            for one, rate in zip(ones, rates, strict=False)
        ]
    return drawn


def oracle(name, layer, states, batches=1):
    """Returns the oracle's output of the last step in training, with the masks of a batch."""
    outputs, weights = [], cases.weights_of(layer)
    weights["bias"] = np.zeros(weights["kernel"].shape[1])
    if name in cases.LINEAR:
        (input_masks,) = masks(batches, sizes=(FEATURES,))
        inputs = inputs_of() * input_masks[:, None]
        return cases.oracle(name, layer, inputs, list(map(array, states)))[0][:, -1]
    for b, (input_mask, mask) in enumerate(zip(*masks(batches), strict=True)):
        state = [array(one)[b] for one in states]
        if "FastWeights" in name:
            state[1] = state[1].reshape(UNITS, UNITS)
        for x in inputs_of()[b]:
            state = cases.step_of(name, weights, mask=mask)(input_mask * x, *state)
        outputs.append(state[0])
    return np.array(outputs)


@cases.all_cases
@cases.unrolled
def test_dropout_in_a_sequence(name, unroll):
    """Catches a product that dropout misses, a read or a mix of states that it reaches, a mask that
    changes between steps or lasts longer than a batch, dropout outside of training, and a bias in
    spite of `use_bias`.
    """
    layer = layer_of(name, cell={**dropout_of(name), **NO_BIAS}, unroll=unroll)
    states = cases.random_states(layer.cell)
    for batches in (1, 2):
        outputs = layer(inputs_of(), initial_state=states, training=True)
        assert_close(name, outputs, oracle(name, layer, states, batches))
    plain = layer_of(name, cell=NO_BIAS, unroll=unroll)
    without = plain(inputs_of(), initial_state=states, training=True)
    np.testing.assert_array_equal(array(layer(inputs_of(), initial_state=states)), array(without))


def gradients(layer, states):
    """Returns the gradients of inputs, states and weights through every result in training."""
    import tensorflow as tf

    tensors = [tf.constant(one) for one in (inputs_of(), *states)]
    tensors += [weight.value for weight in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        initial_state = tensors[1 : 1 + len(states)] or None
        results = layer(tensors[0], initial_state=initial_state, mask=MASK, training=True)
        loss = sum(tf.reduce_sum(tf.sin(result)) for result in results)
    return tape.gradient(loss, tensors)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="takes gradients with TensorFlow")
@pytest.mark.parametrize("recurrence", ["original", "paper"])
@pytest.mark.parametrize(("chunk_size", "has_states"), [(5, False), (2, True)])
def test_custom_gradient_with_dropout(recurrence, chunk_size, has_states):
    """Catches a product with W_h whose gradient lacks the mask: the cell's has no such code."""
    settings = {**DROPOUT, "recurrence": recurrence}
    options = {"return_sequences": True, "return_state": True}
    layer = layer_of("FastWeights", cell={**settings, "chunk_size": chunk_size}, **options)
    cell = layer_of("FastWeightsCell", cell=settings, **options)
    states = cases.random_states(layer.cell) if has_states else []
    pairs = zip(gradients(layer, states), gradients(cell, states), strict=True)
    for custom, automatic in pairs:
        assert_close("FastWeights", custom, array(automatic))


@pytest.mark.parametrize(
    "name", ["LayerNormGRU", pytest.param("FastWeights", marks=pytest.mark.slow)]
)
def test_fit_with_dropout(name):
    """Catches a mask that a compiled loop or JAX cannot draw, and one that is drawn outside of
    training: it would move the generator on.
    """
    layer, twin = (layer_of(name, cell=DROPOUT, dtype="float32") for _ in range(2))
    model = keras.Sequential([keras.Input((cases.STEPS, FEATURES)), layer])
    model.compile("sgd", "mse")
    inputs, targets = inputs_of("float32"), np.ones((BATCH, UNITS), "float32")
    model.predict(inputs, verbose=0)
    history = model.fit(inputs, targets, shuffle=False, verbose=0).history
    loss = np.mean(np.square(array(twin(inputs, training=True)) - targets))
    np.testing.assert_allclose(history["loss"][0], loss, rtol=1e-4)


@cases.all_cells
def test_stacked_cells_with_dropout(name):
    """Catches a cell that `StackedRNNCells` gives no masks."""
    sizes = (FEATURES, UNITS)
    lower, upper = (cell_of(name, "float32", features=size, **dropout_of(name)) for size in sizes)
    stack = keras.layers.RNN(keras.layers.StackedRNNCells([lower, upper], dtype="float32"))
    first, second = (array(stack(inputs_of("float32"), training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    assert np.all(np.isfinite(first))
