"""The cells against the float64 oracle, against each other, and as Keras layers."""

import re

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from fast_weights import (
    ControlCell,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)

# Pairwise distinct, so that no transpose or mixed-up axis fits.
BATCH, FEATURES, UNITS, STEPS = 2, 4, 3, 5
FAST = {"inner_steps": 2, "decay_rate": 0.8, "fast_learning_rate": 0.6}

CELLS = {
    "control": lambda **kwargs: ControlCell(UNITS, **kwargs),
    "rnn_ln": lambda **kwargs: LayerNormRNNCell(UNITS, epsilon=1e-2, **kwargs),
    "gru_original": lambda **kwargs: LayerNormGRUCell(UNITS, epsilon=1e-2, **kwargs),
    "gru_standard": lambda **kwargs: LayerNormGRUCell(
        UNITS, gates="standard", epsilon=1e-2, **kwargs
    ),
    "matrix": lambda **kwargs: FastWeightsCell(UNITS, epsilon=1e-2, **FAST, **kwargs),
    "attention": lambda **kwargs: FastWeightsAttentionCell(
        UNITS, memory_size=STEPS + 2, epsilon=1e-2, **FAST, **kwargs
    ),
}
# Large epsilon: one that is lost or misplaced shows.
STEPS_OF = {
    "control": reference.control_step,
    "rnn_ln": lambda w, x, h: reference.rnn_ln_step(w, x, h, epsilon=1e-2),
    "gru_original": lambda w, x, h: reference.gru_ln_step(w, x, h, "original", epsilon=1e-2),
    "gru_standard": lambda w, x, h: reference.gru_ln_step(w, x, h, "standard", epsilon=1e-2),
    "matrix": lambda w, x, h, A: reference.fast_weights_step(w, x, h, A, **FAST, epsilon=1e-2),
}
STEPS_OF["attention"] = STEPS_OF["matrix"]

all_cells = pytest.mark.parametrize("name", CELLS)


def built(name, **kwargs):
    """A cell with random weights: constant ones make a layer-norm cell output 0 everywhere."""
    cell = CELLS[name](**kwargs)
    cell.build((BATCH, FEATURES))
    rng = np.random.default_rng(3)
    cell.set_weights([rng.normal(0.3, 0.7, weight.shape) for weight in cell.weights])
    return cell


def weights_of(cell):
    return {weight.name: np.asarray(weight, np.float64) for weight in cell.weights}


def inputs_of(dtype="float64"):
    return np.random.default_rng(4).normal(size=(BATCH, STEPS, FEATURES)).astype(dtype)


@all_cells
def test_sequence_equals_oracle(name):
    """A wrong formula, λ and η swapped, a transpose, a lost epsilon, a restarting inner loop.

    Several steps from random inputs: from the second on, the state is not zero.
    """
    cell = built(name, dtype="float64")
    inputs = inputs_of()
    outputs = keras.layers.RNN(cell, dtype="float64")(inputs)
    weights = weights_of(cell)
    step = STEPS_OF[name]
    for example, output in zip(inputs, outputs, strict=True):
        state = [np.zeros(UNITS)]
        if name in ("matrix", "attention"):
            state.append(np.zeros((UNITS, UNITS)))
        expected = reference.run(lambda x, *s: step(weights, x, *s), example, *state)[0]
        np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-12)


def test_matrix_step_from_a_given_state():
    """A read or written transposed: this A is not symmetric, as no run from zero makes it."""
    cell = built("matrix", dtype="float64")
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(BATCH, UNITS))
    memory = rng.normal(size=(BATCH, UNITS, UNITS))
    inputs = inputs_of()[:, 0]
    output, states = cell(inputs, [hidden, memory.reshape(BATCH, -1)])
    for i in range(BATCH):
        h, A = STEPS_OF["matrix"](weights_of(cell), inputs[i], hidden[i], memory[i])
        np.testing.assert_allclose(output[i], h, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(states[1][i], A.reshape(-1), rtol=1e-12, atol=1e-12)


def test_attention_form_forgets_what_is_older_than_its_memory():
    """A memory that drops the newest vector, or none: with M = 2 only two outer products count."""
    cell = FastWeightsAttentionCell(UNITS, memory_size=2, dtype="float64", **FAST)
    cell.build((BATCH, FEATURES))
    full = built("matrix", dtype="float64")
    cell.set_weights(full.get_weights())
    states = cell.get_initial_state(batch_size=BATCH)
    written = []
    weights = weights_of(cell)
    inputs = inputs_of()
    for t in range(STEPS):
        h = np.asarray(states[0])[0]
        written.append(reference.control_step(weights, inputs[0, t], h))
        _, states = cell(inputs[:, t], states)
    kept = np.asarray(states[1])[0].reshape(UNITS, 2)
    np.testing.assert_allclose(kept, np.stack(written[-2:], axis=1), rtol=1e-12)


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_alone_equals_in_a_batch(name, unroll):
    """Normalising over the batch; an unrolled step that differs from the looped one."""
    cell = built(name)
    inputs = inputs_of("float32")
    together = keras.layers.RNN(cell, unroll=unroll)(inputs)
    looped = keras.layers.RNN(cell)
    alone = np.concatenate([looped(inputs[i : i + 1]) for i in range(BATCH)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_forms_are_equal_and_load_each_others_weights(inner_steps):
    """Another order or shape of weights between the forms; a wrong age in λ^age."""
    settings = {**FAST, "inner_steps": inner_steps}
    matrix = FastWeightsCell(UNITS, dtype="float64", **settings)
    attention = FastWeightsAttentionCell(UNITS, STEPS, dtype="float64", **settings)
    matrix.build((BATCH, FEATURES))
    attention.build((BATCH, FEATURES))
    rng = np.random.default_rng(6)
    matrix.set_weights([rng.normal(0.3, 0.7, weight.shape) for weight in matrix.weights])
    inputs = inputs_of()
    run = keras.layers.RNN
    expected = run(matrix, return_sequences=True, dtype="float64")(inputs)
    before = run(attention, return_sequences=True, dtype="float64")(inputs)
    assert np.abs(np.asarray(before) - expected).max() > 1e-3
    attention.set_weights(matrix.get_weights())
    after = run(attention, return_sequences=True, dtype="float64")(inputs)
    np.testing.assert_allclose(after, expected, rtol=1e-10, atol=1e-12)
    assert [w.name for w in matrix.weights] == [w.name for w in attention.weights]


@all_cells
def test_gradients_equal_finite_differences(name):
    """A disconnected weight, or an op with a wrong gradient."""
    cell = built(name, dtype="float64")
    layer = keras.layers.RNN(cell, unroll=True, dtype="float64")
    inputs = tf.constant(inputs_of())
    layer(inputs)

    @tf.function
    def loss(*values):
        with keras.StatelessScope(
            state_mapping=list(zip(cell.trainable_variables, values, strict=True))
        ):
            return tf.reduce_sum(tf.sin(layer(inputs)))

    values = [tf.convert_to_tensor(variable) for variable in cell.trainable_variables]
    analytic, numeric = tf.test.compute_gradient(loss, values, delta=1e-6)
    for weight, a, n in zip(cell.weights, analytic, numeric, strict=True):
        np.testing.assert_allclose(a, n, rtol=1e-5, atol=1e-6, err_msg=weight.name)
        assert np.abs(a).max() > 1e-6, f"{weight.name} is disconnected"


@all_cells
def test_config_holds_every_setting(name):
    """A setting dropped from `get_config`: the twin is built with the defaults then."""
    cell = built(name)
    twin = type(cell).from_config(cell.get_config())
    twin.build((BATCH, FEATURES))
    twin.set_weights(cell.get_weights())
    inputs = inputs_of("float32")
    expected = keras.layers.RNN(cell)(inputs)
    np.testing.assert_array_equal(keras.layers.RNN(twin)(inputs), expected)
    assert twin.get_config() == cell.get_config()


@all_cells
def test_names_of_weights(name):
    """A renamed weight: what is saved by one release must load in the next."""
    cell = built(name)
    expected = ["kernel", "recurrent_kernel", "bias"]
    if name.startswith("gru"):
        expected += ["reset_gamma", "reset_beta", "update_gamma", "update_beta"]
    elif name != "control":
        expected += ["gamma", "beta"]
    assert [weight.name for weight in cell.weights] == expected
    assert all(getattr(cell, weight.name) is weight for weight in cell.weights)


@pytest.mark.parametrize("name", ["control", "rnn_ln", "matrix", "attention"])
def test_initial_weights_are_the_originals(name):
    """Another initial range."""
    cell = CELLS[name]()
    cell.build((None, 5_000))
    kernel = np.asarray(cell.kernel)
    limit = np.sqrt(2 / 5_000)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.03)
    np.testing.assert_array_equal(cell.recurrent_kernel, np.float32(0.05) * np.eye(UNITS))
    assert not np.any(cell.bias)
    if name != "control":
        assert np.all(np.asarray(cell.gamma) == 1)
        assert not np.any(cell.beta)


@pytest.mark.parametrize(("gates", "columns"), [("original", 2), ("standard", 3)])
def test_initial_weights_of_the_gru(gates, columns):
    """Gates that start closed; columns that nothing reads."""
    cell = LayerNormGRUCell(UNITS, gates=gates)
    cell.build((None, FEATURES))
    assert cell.kernel.shape == (FEATURES, columns * UNITS)
    np.testing.assert_array_equal(cell.bias[:-UNITS], 1)
    np.testing.assert_array_equal(cell.bias[-UNITS:], 0)
    limit = np.sqrt(3 / (FEATURES + UNITS))
    assert np.abs(cell.kernel).max() <= limit
    assert np.abs(cell.kernel).max() > limit / 2


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ControlCell(0), "`units` must be a positive integer. Received: units=0"),
        (lambda: ControlCell(2.5), "Received: units=2.5"),
        (lambda: LayerNormRNNCell(3, epsilon=-1), "Received: epsilon=-1"),
        (lambda: LayerNormGRUCell(3, gates="both"), "Received: gates='both'"),
        (lambda: FastWeightsCell(3, inner_steps=0), "Received: inner_steps=0"),
        (lambda: FastWeightsCell(3, decay_rate=1.5), "Received: decay_rate=1.5"),
        (lambda: FastWeightsCell(3, fast_learning_rate=-1), "Received: fast_learning_rate=-1"),
        (lambda: FastWeightsCell(3, decay_rate=float("nan")), "Received: decay_rate=nan"),
        (lambda: FastWeightsAttentionCell(3, memory_size=0), "Received: memory_size=0"),
    ],
)
def test_bad_arguments_are_named(make, text):
    """An argument that is taken silently."""
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
