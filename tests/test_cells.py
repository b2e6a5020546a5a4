"""The cells and layers against the float64 oracle, on any backend."""

import re

import cases
import keras
import numpy as np
import pytest
import reference
from cases import BATCH, FEATURES, HOLES, UNITS, all_cases, array, inputs_of, kind_of, layer_of

from fast_weights import (
    AssociativeLSTMCell,
    ControlCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)
from fast_weights.cells.base import layer_normalize


@all_cases
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask with holes"])
@cases.unrolled
def test_sequence_equals_oracle(name, unroll, masked):
    """Catches a wrong formula, λ and η swapped, a lost epsilon, an inner loop that restarts, a
    masked step that changes h or A, decays A or ages past vectors, a state that is dropped, and a
    transposed read: A is not symmetric here.
    """
    if masked:
        cases.skip_masked_cell(name)
    layer = layer_of(name, unroll=unroll, return_sequences=True, return_state=True)
    states, mask = (None, HOLES) if masked else (cases.random_states(layer.cell), None)
    outputs, *last = layer(inputs_of(), initial_state=states, mask=mask)
    given = None if masked else cases.oracle_states(states)
    expected, expected_last = cases.oracle(name, layer, inputs_of(), given, mask)
    cases.assert_close(name, outputs, expected)
    for state, expected_state in zip(cases.oracle_states(last), expected_last, strict=True):
        cases.assert_close(name, state, expected_state)


@all_cases
def test_go_backwards(name):
    """Catches steps or outputs in the wrong order, and a mask that is not reversed."""
    unroll = name in ("LayerNormGRU", "FastWeights")
    if unroll and cases.BACKEND == "torch":
        pytest.skip("Keras 3.15 fails here on PyTorch, also with its own cells")
    cases.skip_masked_cell(name)
    layer = layer_of(name, unroll=unroll, go_backwards=True, return_sequences=True)
    expected, _ = cases.oracle(name, layer, inputs_of()[:, ::-1], mask=HOLES[:, ::-1])
    cases.assert_close(name, layer(inputs_of(), mask=HOLES), expected)


@cases.all_cells
def test_half_precision_stays_near_float32(name):
    """Catches A or layer normalization in half precision: the error would grow with T."""
    length = 30
    exact = array(layer_of(name, dtype="float32")(inputs_of("float32", length)))
    for dtype, tolerance in (("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)):
        half = layer_of(name, dtype=dtype)
        output = half(inputs_of("float32", length))
        assert keras.backend.standardize_dtype(output.dtype) == half.compute_dtype
        difference = np.abs(array(keras.ops.cast(output, "float32")) - exact).max()
        assert 0 < difference < tolerance * np.abs(exact).max()
        assert all(weight.dtype == "float32" for weight in half.weights)
        if name in cases.MATRIX_CELLS:
            _, states = half.cell(inputs_of("float32")[:, 0], half.get_initial_state(BATCH))
            dtypes = [keras.backend.standardize_dtype(state.dtype) for state in states]
            assert dtypes == ["float32", "float32"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_layer_normalization_of_half_precision_uses_float32(dtype):
    """Catches squares that overflow float16 or lose all digits in bfloat16."""
    values = np.array([[300.0, 301.0, 340.0, 380.0]])
    ones, zeros = np.ones(4, "float32"), np.zeros(4, "float32")
    half = keras.ops.convert_to_tensor(values, dtype=dtype)
    rounded = array(keras.ops.cast(half, "float32")).astype(np.float64)
    outputs = layer_normalize(half, ones, zeros, 1e-5)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    expected = reference.layer_norm(rounded, ones, zeros, 1e-5)
    np.testing.assert_allclose(array(keras.ops.cast(outputs, "float32")), expected, rtol=5e-3)


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_zero_inner_steps_leave_preliminary_vector(recurrence):
    """Catches normalization or a read with S = 0, where the cell is the plain one."""
    layer = layer_of("FastWeightsCell", cell={"inner_steps": 0, "recurrence": recurrence})
    plain = layer_of("ControlCell")
    plain.set_weights(layer.get_weights()[:3])
    np.testing.assert_allclose(array(layer(inputs_of())), array(plain(inputs_of())), **cases.TIGHT)


@all_cases
def test_keras_arguments_reach_weights(name):
    """Catches an initializer, regularizer, constraint or activation that is accepted and lost."""
    settings = {"activation": "sigmoid", "use_bias": True}
    cell = kind_of(name) if name in cases.CELLS else kind_of(name).cell_class
    keys = cell.weight_names
    for i, key in enumerate(keys):
        settings[f"{key}_initializer"] = keras.initializers.Constant(0.5 + i)
        settings[f"{key}_regularizer"] = keras.regularizers.L2(0.125 + i)
        settings[f"{key}_constraint"] = keras.constraints.MaxNorm(1.0 + i)
    holder = kind_of(name)(UNITS, **{**cases.SETTINGS[name], **settings})
    twin = type(holder).from_config(holder.get_config())
    twin.build((BATCH, FEATURES) if name in cases.CELLS else (BATCH, cases.STEPS, FEATURES))
    assert holder.activation is twin.activation is keras.activations.sigmoid
    for i, (key, weight) in enumerate(zip(keys, twin.weights[:3], strict=True)):
        for one in (holder, twin):
            assert getattr(one, f"{key}_initializer").value == 0.5 + i
            assert getattr(one, f"{key}_regularizer").l2 == 0.125 + i
            assert getattr(one, f"{key}_constraint").max_value == 1.0 + i
        assert getattr(twin, f"{key}_regularizer") is weight.regularizer
        assert getattr(twin, f"{key}_constraint") is weight.constraint
        np.testing.assert_array_equal(array(weight), 0.5 + i)
    penalties = list(enumerate(twin.weights[:3]))
    # W_o has the settings of W_x.
    penalties += [(0, one) for one in twin.weights if one.name == "output_kernel"]
    penalty = sum((0.125 + i) * np.sum(array(weight) ** 2) for i, weight in penalties)
    np.testing.assert_allclose(sum(float(array(loss)) for loss in twin.losses), penalty, 1e-5)


@cases.all_cells
def test_activation_is_used(name):
    """Catches an activation that is stored and not applied."""
    calls = []

    def activation(values):
        calls.append(values)
        return values

    cell = cases.cell_of(name, activation=activation)
    cell(inputs_of()[:, 0], cases.random_states(cell))
    assert len(calls) == (3 if name in cases.FAST_CELLS else 1)


@pytest.mark.parametrize("name", ["ControlCell", "LayerNormRNNCell", "FastWeightsCell"])
def test_initial_weights(name):
    """Catches initial weights that are not the original's."""
    cell = kind_of(name)(UNITS)
    cell.build((None, 5_000))
    kernel, limit = array(cell.kernel), np.sqrt(2 / 5_000)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.03)
    np.testing.assert_array_equal(array(cell.recurrent_kernel), np.float32(0.05) * np.eye(UNITS))
    assert not np.any(array(cell.bias))
    if name != "ControlCell":
        assert np.all(array(cell.gamma) == 1)
        assert not np.any(array(cell.beta))


@pytest.mark.parametrize(("gates", "columns"), [("original", 2), ("standard", 3)])
def test_initial_weights_of_gru(gates, columns):
    """Catches gates that start closed, and columns that nothing reads."""
    cell = LayerNormGRUCell(UNITS, gates=gates)
    cell.build((None, FEATURES))
    assert cell.kernel.shape == (FEATURES, columns * UNITS)
    np.testing.assert_array_equal(array(cell.bias)[:-UNITS], 1)
    np.testing.assert_array_equal(array(cell.bias)[-UNITS:], 0)
    limit = np.sqrt(3 / (FEATURES + UNITS))
    for weight in (cell.kernel, cell.recurrent_kernel):
        assert limit / 2 < np.abs(array(weight)).max() <= limit


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FastWeights", {"inner_steps": 1, "decay_rate": 0.95, "fast_learning_rate": 0.5}),
        ("LayerNormRNN", {"epsilon": 1e-5}),
        ("LayerNormGRU", {"epsilon": 1e-5, "activation": "tanh", "gates": "original"}),
        ("AssociativeLSTM", {"num_copies": 4, "num_heads": 3, "activation": "sigmoid"}),
    ],
)
def test_defaults_are_the_originals(name, expected):
    """Catches a default that changes, and with it the results of every user.

    `test_golden.py` catches other defaults of `FastWeights`.
    """
    for kind in (kind_of(name), kind_of(f"{name}Cell")):
        assert kind(UNITS).get_config().items() >= expected.items()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ControlCell, "units", 0),
        (ControlCell, "units", 2.5),
        (ControlCell, "units", True),
        (ControlCell, "dropout", 1.5),
        (ControlCell, "recurrent_dropout", -0.1),
        (ControlCell, "seed", 0.5),
        (LayerNormRNNCell, "epsilon", -1),
        (LayerNormGRUCell, "epsilon", -1),
        (LayerNormGRUCell, "gates", "both"),
        (AssociativeLSTMCell, "units", 5),  # two numbers make a complex one
        (AssociativeLSTMCell, "num_copies", 0),
        (AssociativeLSTMCell, "num_heads", 1.5),
        (FastWeightsCell, "inner_steps", -1),
        (FastWeightsCell, "decay_rate", 1.5),
        (FastWeightsCell, "decay_rate", float("nan")),
        (FastWeightsCell, "fast_learning_rate", -1),
        (FastWeightsCell, "fast_learning_rate", float("inf")),
        (FastWeightsCell, "epsilon", -1),
        (FastWeightsCell, "recurrence", "blog"),
        (FastWeightsCell, "normalization", None),
    ],
)
def test_invalid_argument_is_refused(kind, name, value):
    """Catches an invalid argument that is accepted silently."""
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
        kind(**{"units": UNITS, name: value})


@pytest.mark.parametrize("shape", [(2, 5, 4), (2,)])
def test_cell_refuses_sequences(shape):
    """Catches a cell that is called like a layer, or a layer that is called like a cell."""
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        ControlCell(UNITS).build(shape)
