"""The cells against the float64 oracle and against each other, on any backend."""

import re

import keras
import numpy as np
import pytest
import reference
from cases import (
    BACKEND,
    BATCH,
    CELLS,
    FAST,
    FAST_CELLS,
    FEATURES,
    STEPS,
    TIGHT,
    UNITS,
    array,
    as_oracle_states,
    built,
    inputs_of,
    layer_of,
    mask_of,
    oracle,
    random_states,
    randomize,
    tight,
    weights_of,
)

from fast_weights import (
    ControlCell,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
    vanishing_length,
)
from fast_weights.cells.common import layer_normalize

all_cells = pytest.mark.parametrize("name", CELLS)
fast_cells = pytest.mark.parametrize("name", FAST_CELLS)


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_sequence_equals_oracle(name, unroll):
    """A wrong formula, λ and η swapped, a transpose, a lost epsilon, a restarting inner loop.

    Several steps from random inputs: from the second on, the state is not zero.
    """
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll, return_sequences=True, return_state=True)
    outputs, *states = layer(inputs_of())
    expected, expected_states = oracle(name, cell, inputs_of())
    np.testing.assert_allclose(array(outputs), expected, **tight(name))
    for state, wanted in zip(as_oracle_states(cell, states), expected_states, strict=True):
        np.testing.assert_allclose(state, wanted, **tight(name))


@all_cells
def test_initial_state_and_chaining(name):
    """A state that is dropped, and a part of it that one half of a sequence does not hand on."""
    cell = built(name, dtype="float64")
    layer = layer_of(cell, return_state=True)
    states = random_states(cell)
    inputs = inputs_of()
    whole, *last = layer(inputs, initial_state=states)
    expected, expected_last = oracle(name, cell, inputs, as_oracle_states(cell, states))
    np.testing.assert_allclose(array(whole), expected[:, -1], **tight(name))
    for state, wanted in zip(as_oracle_states(cell, last), expected_last, strict=True):
        np.testing.assert_allclose(state, wanted, **tight(name))
    _, *middle = layer(inputs[:, :2], initial_state=states)
    chained, *_ = layer(inputs[:, 2:], initial_state=middle)
    np.testing.assert_allclose(array(chained), array(whole), **tight(name))


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_matrix_step_from_a_given_state(recurrence):
    """A read or written transposed: this A is not symmetric, as no run from zero makes it."""
    cell = built("matrix", dtype="float64", recurrence=recurrence)
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(BATCH, UNITS))
    memory = rng.normal(size=(BATCH, UNITS, UNITS))
    inputs = inputs_of()[:, 0]
    output, states = cell(inputs, [hidden, memory.reshape(BATCH, -1)])
    for i in range(BATCH):
        h, A = reference.fast_weights_step(
            weights_of(cell), inputs[i], hidden[i], memory[i], **FAST, epsilon=cell.epsilon,
            recurrence=recurrence,
        )  # fmt: skip
        np.testing.assert_allclose(array(output)[i], h, **TIGHT)
        np.testing.assert_allclose(array(states[1])[i], A.reshape(-1), **TIGHT)


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_mask_holds_the_state(name, unroll):
    """A masked step that changes h or A, decays A or ages the past vectors.

    The mask has holes, and one example starts masked.
    """
    cell = built(name, dtype="float64")
    mask = np.array([[True, False, True, False, True], [False, True, True, True, False]])
    layer = layer_of(cell, unroll=unroll, return_sequences=True, return_state=True)
    outputs, *states = layer(inputs_of(), mask=mask)
    expected, expected_states = oracle(name, cell, inputs_of(), mask=mask)
    np.testing.assert_allclose(array(outputs), expected, **tight(name))
    for state, wanted in zip(as_oracle_states(cell, states), expected_states, strict=True):
        np.testing.assert_allclose(state, wanted, **tight(name))


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_padding_changes_nothing(name, unroll):
    """Padding that leaks into the result, before or after the sequence."""
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll)
    short = inputs_of()[:, :3]
    padding = np.full((BATCH, 2, FEATURES), 7.0)
    expected = array(layer(short))
    after = layer(np.concatenate([short, padding], axis=1), mask=mask_of(3, 3))
    before = layer(np.concatenate([padding, short], axis=1), mask=mask_of(3, 3)[:, ::-1])
    np.testing.assert_allclose(array(after), expected, **tight(name))
    np.testing.assert_allclose(array(before), expected, **tight(name))


@all_cells
@pytest.mark.parametrize("unroll", [False, True] if BACKEND == "tensorflow" else [False])
def test_zero_output_for_mask(name, unroll):
    """Outputs of masked steps that are not zero, or zeros that are taken for the state.

    Keras 3.15 does not look at the setting when it unrolls on JAX.
    """
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll, return_sequences=True, zero_output_for_mask=True)
    mask = np.array([[True, False, True, False, True], [False, True, True, True, False]])
    expected, _ = oracle(name, cell, inputs_of(), mask=mask)
    outputs = array(layer(inputs_of(), mask=mask))
    np.testing.assert_allclose(outputs, expected * mask[:, :, None], **tight(name))


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_go_backwards(name, unroll):
    """Steps or outputs in the wrong order."""
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll, go_backwards=True, return_sequences=True)
    expected, _ = oracle(name, cell, inputs_of()[:, ::-1])
    np.testing.assert_allclose(array(layer(inputs_of())), expected, **tight(name))


@all_cells
@pytest.mark.parametrize("unroll", [False, True] if BACKEND != "torch" else [False])
def test_go_backwards_with_a_mask(name, unroll):
    """A mask that is not reversed with the steps.

    Keras 3.15 cannot do it unrolled on PyTorch, with its own cells neither.
    """
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll, go_backwards=True, return_sequences=True)
    mask = mask_of(5, 2)
    expected, _ = oracle(name, cell, inputs_of()[:, ::-1], mask=mask[:, ::-1])
    np.testing.assert_allclose(array(layer(inputs_of(), mask=mask)), expected, **tight(name))


@all_cells
def test_alone_equals_in_a_batch(name):
    """Normalising over the batch."""
    cell = built(name)
    layer = layer_of(cell)
    inputs = inputs_of("float32")
    alone = np.concatenate([array(layer(inputs[i : i + 1])) for i in range(BATCH)])
    np.testing.assert_allclose(array(layer(inputs)), alone, rtol=1e-5, atol=1e-6)


@all_cells
def test_half_precision_stays_near_float32(name):
    """A kept in half precision, or layer normalization in it: then the error grows with T."""
    length = 40
    cell = built(name)
    exact = array(layer_of(cell)(inputs_of("float32", length)))
    for dtype, tolerance in (("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)):
        half = built(name, dtype=dtype)
        output = layer_of(half)(inputs_of("float32", length))
        assert keras.backend.standardize_dtype(output.dtype) == half.dtype_policy.compute_dtype
        scale = np.abs(exact).max()
        difference = np.abs(array(keras.ops.cast(output, "float32")) - exact).max()
        assert 0 < difference < tolerance * scale
        assert all(weight.dtype == "float32" for weight in half.weights)
        if name in FAST_CELLS:
            _, [hidden, memory] = half(inputs_of("float32")[:, 0], half.get_initial_state(BATCH))
            for state in (hidden, memory):
                assert keras.backend.standardize_dtype(state.dtype) == "float32"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_layer_normalization_of_half_precision_is_in_float32(dtype):
    """A sum of squares that is infinite in float16, or has no digits left in bfloat16."""
    values = np.array([[300.0, 301.0, 340.0, 380.0]])
    ones, zeros = np.ones(4, "float32"), np.zeros(4, "float32")
    half = keras.ops.convert_to_tensor(values, dtype=dtype)
    rounded = array(keras.ops.cast(half, "float32")).astype(np.float64)
    outputs = layer_normalize(half, ones, zeros, 1e-5)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    expected = reference.layer_norm(rounded[0], ones, zeros, 1e-5)
    outputs = array(keras.ops.cast(outputs, "float32"))[0]
    np.testing.assert_allclose(outputs, expected, rtol=5e-3)


@pytest.mark.parametrize("recurrence", ["original", "paper"])
@pytest.mark.parametrize("inner_steps", [0, 1, 3])
def test_forms_are_equal_and_load_each_others_weights(inner_steps, recurrence):
    """Another order or shape of weights between the forms; a wrong age in λ^age."""
    settings = {**FAST, "inner_steps": inner_steps, "recurrence": recurrence, "dtype": "float64"}
    matrix = FastWeightsCell(UNITS, **settings)
    attention = FastWeightsAttentionCell(UNITS, STEPS, **settings)
    matrix.build((BATCH, FEATURES))
    attention.build((BATCH, FEATURES))
    randomize(matrix)
    expected = array(layer_of(matrix, return_sequences=True)(inputs_of()))
    layer = layer_of(attention, return_sequences=True)
    assert np.abs(array(layer(inputs_of())) - expected).max() > 1e-3
    attention.set_weights(matrix.get_weights())
    np.testing.assert_allclose(array(layer(inputs_of())), expected, **TIGHT)
    assert [w.name for w in matrix.weights] == [w.name for w in attention.weights]


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_no_inner_step_leaves_the_preliminary_vector(recurrence):
    """S = 0 that still normalizes or reads: what is left is the plain recurrent network."""
    cell = built("matrix", dtype="float64", inner_steps=0, recurrence=recurrence)
    plain = built("control", dtype="float64")
    plain.set_weights(cell.get_weights()[:3])
    expected = array(layer_of(plain)(inputs_of()))
    np.testing.assert_allclose(array(layer_of(cell)(inputs_of())), expected, **TIGHT)


def test_attention_form_forgets_what_is_older_than_its_memory():
    """A memory that drops the newest vector, or none: with M = 2 only two outer products count."""
    cell = FastWeightsAttentionCell(UNITS, memory_size=2, dtype="float64", **FAST)
    cell.build((BATCH, FEATURES))
    randomize(cell)
    states = cell.get_initial_state(batch_size=BATCH)
    written = []
    for t in range(STEPS):
        written.append(
            reference.control_step(weights_of(cell), inputs_of()[0, t], array(states[0])[0])
        )
        _, states = cell(inputs_of()[:, t], states)
    np.testing.assert_allclose(array(states[1])[0], np.concatenate(written[-2:]), **TIGHT)
    (older, newer), scale = written[-2:], FAST["fast_learning_rate"]
    A = scale * (np.outer(newer, newer) + FAST["decay_rate"] * np.outer(older, older))
    np.testing.assert_allclose(array(cell.fast_weights(states[1]))[0], A, **TIGHT)


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_what_a_shorter_memory_loses(recurrence):
    """A memory of `vanishing_length` that loses more than rounding, or a shorter one nothing.

    λ = 0.5 vanishes after 23 steps in float32; the sequence has twice as many.
    """
    length, settings = 46, {**FAST, "decay_rate": 0.5, "recurrence": recurrence}
    matrix = FastWeightsCell(UNITS, **settings)
    matrix.build((BATCH, FEATURES))
    randomize(matrix)
    inputs = inputs_of("float32", length)
    exact = array(layer_of(matrix, return_sequences=True)(inputs))

    def loss_of(memory_size):
        cell = FastWeightsAttentionCell(UNITS, memory_size, **settings)
        cell.build((BATCH, FEATURES))
        cell.set_weights(matrix.get_weights())
        return np.abs(array(layer_of(cell, return_sequences=True)(inputs)) - exact).max()

    assert vanishing_length(0.5) == 23
    assert loss_of(length) < 1e-5
    assert loss_of(23) < 1e-5
    assert loss_of(3) > 1e-3


@all_cells
def test_config_holds_every_setting(name):
    """A setting dropped from `get_config`: the twin is built with the defaults then."""
    cell = built(name)
    twin = type(cell).from_config(cell.get_config())
    twin.build((BATCH, FEATURES))
    twin.set_weights(cell.get_weights())
    inputs = inputs_of("float32")
    np.testing.assert_array_equal(array(layer_of(twin)(inputs)), array(layer_of(cell)(inputs)))
    assert twin.get_config() == cell.get_config()


@all_cells
def test_initializers_regularizers_constraints_and_activation(name):
    """An argument of Keras's cells that is taken and not used, or lost on the way to a config."""
    settings = {"activation": "sigmoid"}
    for i, weight in enumerate(("kernel", "recurrent", "bias")):
        settings[f"{weight}_initializer"] = keras.initializers.Constant(0.5 + i)
        settings[f"{weight}_regularizer"] = keras.regularizers.L2(0.1 + i)
        settings[f"{weight}_constraint"] = keras.constraints.MaxNorm(1.0 + i)
    cell = type(CELLS[name]()).from_config({**CELLS[name]().get_config(), **settings})
    for one in (cell, type(cell).from_config(cell.get_config())):
        one.build((BATCH, FEATURES))
        losses = []
        for i, (weight, key) in enumerate(
            [(one.kernel, "kernel"), (one.recurrent_kernel, "recurrent"), (one.bias, "bias")]
        ):
            np.testing.assert_array_equal(array(weight), np.float32(0.5 + i))
            assert weight.regularizer.l2 == np.float32(0.1 + i) or weight.regularizer.l2 == 0.1 + i
            assert weight.constraint.max_value == 1.0 + i
            losses.append((0.1 + i) * (0.5 + i) ** 2 * np.prod(weight.shape))
            assert getattr(one, f"{key}_initializer").value == 0.5 + i
        np.testing.assert_allclose(
            sum(float(array(loss)) for loss in one.losses), sum(losses), 1e-4
        )
        assert one.activation is keras.activations.sigmoid
    other = CELLS[name]()
    other.build((BATCH, FEATURES))
    randomize(cell)
    randomize(other)
    inputs = inputs_of("float32")
    assert np.abs(array(layer_of(cell)(inputs)) - array(layer_of(other)(inputs))).max() > 1e-3


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
    kernel = array(cell.kernel)
    limit = np.sqrt(2 / 5_000)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.03)
    np.testing.assert_array_equal(array(cell.recurrent_kernel), np.float32(0.05) * np.eye(UNITS))
    assert not np.any(array(cell.bias))
    if name != "control":
        assert np.all(array(cell.gamma) == 1)
        assert not np.any(array(cell.beta))


@pytest.mark.parametrize(("gates", "columns"), [("original", 2), ("standard", 3)])
def test_initial_weights_of_the_gru(gates, columns):
    """Gates that start closed; columns that nothing reads."""
    cell = LayerNormGRUCell(UNITS, gates=gates)
    cell.build((None, FEATURES))
    assert cell.kernel.shape == (FEATURES, columns * UNITS)
    np.testing.assert_array_equal(array(cell.bias)[:-UNITS], 1)
    np.testing.assert_array_equal(array(cell.bias)[-UNITS:], 0)
    limit = np.sqrt(3 / (FEATURES + UNITS))
    assert limit / 2 < np.abs(array(cell.kernel)).max() <= limit


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ControlCell(0), "`units` must be a positive integer. Received: units=0"),
        (lambda: ControlCell(2.5), "Received: units=2.5"),
        (lambda: LayerNormRNNCell(3, epsilon=-1), "Received: epsilon=-1"),
        (lambda: LayerNormGRUCell(3, gates="both"), "Received: gates='both'"),
        (lambda: FastWeightsCell(3, inner_steps=-1), "Received: inner_steps=-1"),
        (lambda: FastWeightsCell(3, inner_steps=1.0), "Received: inner_steps=1.0"),
        (
            lambda: FastWeightsCell(3, decay_rate=1.5),
            "`decay_rate` must be a number between 0 and 1. Received: decay_rate=1.5",
        ),
        (lambda: FastWeightsCell(3, decay_rate="0.9"), "Received: decay_rate='0.9'"),
        (lambda: FastWeightsCell(3, decay_rate=float("nan")), "Received: decay_rate=nan"),
        (lambda: FastWeightsCell(3, fast_learning_rate=-1), "Received: fast_learning_rate=-1"),
        (lambda: FastWeightsCell(3, recurrence="blog"), "Received: recurrence='blog'"),
        (lambda: FastWeightsAttentionCell(3, memory_size=0), "Received: memory_size=0"),
        (
            lambda: ControlCell(3).build((2, 5, 4)),
            "Received: one time step of shape (2, 5, 4)",
        ),
        (
            lambda: keras.layers.RNN(FastWeightsCell(3))(np.ones((2, 5), "float32")),
            "(batch, time, features). Received: one time step of shape (2,)",
        ),
    ],
)
def test_bad_arguments_are_named(make, text):
    """An argument that is taken silently."""
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
