"""Each cell in Keras's own surroundings: models, wrappers, saving, fitting, gradients."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    BATCH,
    CELLS,
    FAST_CELLS,
    FEATURES,
    FLOAT32,
    SLOW,
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
)

from fast_weights import FastWeights

ROOT = pathlib.Path(__file__).resolve().parent.parent

all_cells = pytest.mark.parametrize("name", CELLS)


def classifier(name, length=STEPS, batch_size=None, **kwargs):
    """Sequences -> cell -> two logits, with random weights."""
    inputs = keras.Input((length, FEATURES), batch_size=batch_size)
    outputs = keras.layers.Dense(2)(keras.layers.RNN(CELLS[name](), **kwargs)(inputs))
    model = keras.Model(inputs, outputs)
    randomize(model)
    return model


@all_cells
def test_functional_state_chaining(name):
    """States whose symbolic shapes are wrong: an encoder's states start a decoder."""
    cell = built(name)
    sequences = keras.Input((None, FEATURES))
    first, *states = keras.layers.RNN(cell, return_state=True)(sequences)
    more = keras.Input((None, FEATURES))
    second = keras.layers.RNN(cell)(more, initial_state=states)
    model = keras.Model([sequences, more], [first, second, *states])
    inputs = inputs_of("float32")
    _, output, *middle = model.predict([inputs[:, :2], inputs[:, 2:]], verbose=0)
    expected, _ = oracle(name, cell, inputs)
    np.testing.assert_allclose(output, expected[:, -1], **FLOAT32)
    _, expected_middle = oracle(name, cell, inputs[:, :2])
    for state, wanted in zip(as_oracle_states(cell, middle), expected_middle, strict=True):
        np.testing.assert_allclose(state, wanted, **FLOAT32)
    assert [tuple(state.shape) for state in states] == [(None, s.shape[1]) for s in middle]


@all_cells
def test_stateful(name):
    """A state that is not kept between batches, not reset, or A that is left behind."""
    cell = built(name, dtype="float64")
    layer = layer_of(cell, stateful=True)
    inputs = inputs_of()
    expected, _ = oracle(name, cell, inputs)
    for _ in range(2):
        first = layer(inputs[:, :2])
        second = layer(inputs[:, 2:])
        np.testing.assert_allclose(array(first), expected[:, 1], **TIGHT)
        np.testing.assert_allclose(array(second), expected[:, -1], **TIGHT)
        layer.reset_state()


@all_cells
def test_dynamic_length_and_batch(name):
    """A size that is fixed when the model is built."""
    model = classifier(name, length=None)
    cell = model.layers[1].cell
    kernel, bias = model.get_weights()[-2:]
    for batch_size, length in ((2, 5), (1, 1), (2, 3)):
        inputs = inputs_of("float32")[:batch_size, :length]
        hidden, _ = oracle(name, cell, inputs)
        expected = hidden[:, -1] @ kernel + bias
        np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, **FLOAT32)


@all_cells
def test_stacked_cells(name):
    """Nested states that are mixed up."""
    lower, upper = built(name, dtype="float64"), built(name, UNITS, dtype="float64")
    stack = keras.layers.StackedRNNCells([lower, upper], dtype="float64")
    layer = layer_of(stack, return_sequences=True)
    middle, _ = oracle(name, lower, inputs_of())
    expected, _ = oracle(name, upper, middle)
    np.testing.assert_allclose(array(layer(inputs_of())), expected, **TIGHT)
    mask = mask_of(5, 2)
    middle, _ = oracle(name, lower, inputs_of(), mask=mask)
    expected, _ = oracle(name, upper, middle, mask=mask)
    np.testing.assert_allclose(array(layer(inputs_of(), mask=mask)), expected, **TIGHT)


@pytest.mark.parametrize(
    "name", ["attention", *(pytest.param(one, marks=SLOW) for one in CELLS if one != "attention")]
)
def test_stacked_cells_under_a_half_precision_policy(name):
    """States that change their dtype in the loop; the stack decides how states are kept."""
    cells = [CELLS[name](dtype="mixed_float16"), CELLS[name](dtype="mixed_float16")]
    stack = keras.layers.StackedRNNCells(
        cells, dtype="float32" if name in FAST_CELLS else "mixed_float16"
    )
    outputs = keras.layers.RNN(stack, dtype="mixed_float16")(inputs_of("float32"))
    assert outputs.dtype == "float16"
    assert np.all(np.isfinite(array(outputs)))
    # The list that Keras makes a stack of itself, under the global policy, in a compiled fit.
    keras.config.set_dtype_policy("mixed_float16")
    try:
        listed = keras.layers.RNN([CELLS[name](), CELLS[name]()])
        model = keras.Sequential([listed, keras.layers.Dense(2, dtype="float32")])
        model.compile("adam", "mse")
        history = model.fit(inputs_of("float32"), np.ones((BATCH, 2)), verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"][0])


@all_cells
def test_bidirectional(name):
    """A setting that `get_config` loses: the backward layer is rebuilt from it."""
    layer = keras.layers.Bidirectional(layer_of(CELLS[name](dtype="float64")), dtype="float64")
    layer.build((BATCH, STEPS, FEATURES))
    randomize(layer)
    forward, backward = layer.forward_layer.cell, layer.backward_layer.cell
    there, _ = oracle(name, forward, inputs_of())
    back, _ = oracle(name, backward, inputs_of()[:, ::-1])
    expected = np.concatenate([there[:, -1], back[:, -1]], axis=-1)
    np.testing.assert_allclose(array(layer(inputs_of())), expected, **TIGHT)


@all_cells
def test_time_distributed(name):
    """A layer that takes the extra axis for time."""
    cell = built(name, dtype="float64")
    layer = keras.layers.TimeDistributed(layer_of(cell), dtype="float64")
    inputs = np.stack([inputs_of(seed=seed) for seed in range(6)], axis=1)
    outputs = array(layer(inputs))
    for i in range(6):
        expected, _ = oracle(name, cell, inputs[:, i])
        np.testing.assert_allclose(outputs[:, i], expected[:, -1], **TIGHT)


@all_cells
def test_masking_layer(name):
    """A mask that does not reach the cell through a model, or is not handed on."""
    inputs = keras.Input((None, FEATURES))
    masked = keras.layers.Masking(mask_value=0.0)(inputs)
    cell = built(name)
    hidden = keras.layers.RNN(cell, return_sequences=True)(masked)
    model = keras.Model(inputs, keras.layers.RNN(keras.layers.SimpleRNNCell(2))(hidden))
    padded = inputs_of("float32") * mask_of(5, 2)[:, :, None]
    short = model.predict(padded[1:, :2], verbose=0)
    np.testing.assert_allclose(model.predict(padded, verbose=0)[1:], short, **FLOAT32)


@all_cells
def test_keras_file(name, tmp_path):
    """A weight or a setting that a `.keras` file does not keep."""
    model = classifier(name)
    before = model.predict(inputs_of("float32"), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(inputs_of("float32"), verbose=0), before)
    assert loaded.layers[1].cell.get_config() == model.layers[1].cell.get_config()


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param("import keras, fast_weights", marks=SLOW),
        pytest.param("from fast_weights import Control", marks=SLOW),
        "import fast_weights, importlib.util; importlib.util.find_spec('keras')",
        pytest.param("import fast_weights, keras", marks=SLOW),
        pytest.param("import fast_weights, importlib; importlib.reload(fast_weights)", marks=SLOW),
        pytest.param("import fast_weights; from keras import models", marks=SLOW),
    ],
)
def test_keras_file_in_a_new_process(imports, tmp_path):
    """A layer that Keras does not know until something else of the package was used."""
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), FastWeights(UNITS)])
    model.save(tmp_path / "model.keras")
    program = f"{imports}; import keras, sys; keras.models.load_model(sys.argv[1]).summary()"
    command = [sys.executable, "-c", program, str(tmp_path / "model.keras")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "FastWeights" in done.stdout, done.stderr


@all_cells
def test_weights_file(name, tmp_path):
    """Weights that are not loaded: two models differ, then agree."""
    model, other = classifier(name), classifier(name)
    randomize(other, seed=8)
    inputs = inputs_of("float32")
    expected = model.predict(inputs, verbose=0)
    assert np.abs(other.predict(inputs, verbose=0) - expected).max() > 1e-3
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(inputs, verbose=0), expected)


FIT_ALWAYS = {("matrix", False), ("attention", True), ("gru_original", True)}


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [
        one if one in FIT_ALWAYS else pytest.param(*one, marks=SLOW)
        for one in itertools.product(CELLS, [False, True])
    ],
)
def test_fit_evaluate_predict(name, jit_compile):
    """A step that XLA cannot compile, or a weight that `fit` does not move."""
    model = classifier(name)
    before = model.get_weights()
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    inputs, targets = inputs_of("float32"), np.array([0, 1])
    first = model.evaluate(inputs, targets, verbose=0)
    history = model.fit(inputs, targets, epochs=5, verbose=0).history["loss"]
    assert model.evaluate(inputs, targets, verbose=0) < first
    np.testing.assert_allclose(history[0], first, rtol=1e-4)
    logits = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(logits, array(model(inputs)), **FLOAT32)
    for weight, old in zip(model.weights, before, strict=True):
        assert np.abs(array(weight) - old).max() > 1e-4, f"{weight.path} was not moved"


@all_cells
@pytest.mark.parametrize("unroll", [False, True])
def test_gradients_equal_finite_differences(name, unroll):
    """A disconnected weight, or an op with a wrong gradient; initial states included."""
    cell = built(name, dtype="float64")
    layer = layer_of(cell, unroll=unroll)
    inputs, states = inputs_of(), random_states(cell)
    layer.build(inputs.shape)

    @tf.function
    def loss(sequences, *values):
        weights = list(zip(cell.trainable_variables, values[: len(cell.weights)], strict=True))
        with keras.StatelessScope(state_mapping=weights):
            outputs = layer(sequences, initial_state=list(values[len(cell.weights) :]))
            return tf.reduce_sum(tf.sin(outputs))

    values = [tf.convert_to_tensor(variable) for variable in cell.trainable_variables]
    names = ["inputs", *(weight.name for weight in cell.weights), "hidden", "memory"]
    arguments = [tf.constant(inputs), *values, *map(tf.constant, states)]
    analytic, numeric = tf.test.compute_gradient(loss, arguments, delta=1e-6)
    for part, a, n in zip(names, analytic, numeric, strict=False):
        np.testing.assert_allclose(a, n, rtol=1e-5, atol=1e-6, err_msg=part)
        assert np.abs(a).max() > 1e-6, f"{part} is disconnected"
