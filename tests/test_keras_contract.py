"""The cells and layers inside Keras: models, wrappers, files, `fit` and gradients."""

import cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import BATCH, FEATURES, SETTINGS, STEPS, UNITS, array, inputs_of, kind_of, layer_of
from keras.src.testing import TestCase as KerasTestCase

some_cells = cases.costly(cases.CELLS, always=["AssociativeLSTMCell", "FastWeightsCell-paper"])


def classifier(name, **arguments):
    """Returns a model with random weights: sequences, the layer of the case, two logits."""
    layer = layer_of(name, dtype="float32", **arguments)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, keras.layers.Dense(2)])
    return cases.randomize(model)


@cases.costly(SETTINGS, always=["FastWeights-chunks", "LayerNormGRU", "FastWeightsCell"])
def test_layer_test_of_keras(name):
    """Catches a broken config, build, symbolic or eager call, training step or mixed precision."""
    if name in cases.LAYERS:
        kind, arguments = kind_of(name), {"units": UNITS, **SETTINGS[name]}
    else:
        kind, arguments = keras.layers.RNN, {"cell": kind_of(name)(UNITS, **SETTINGS[name])}
    unroll = name in ("Control", "AssociativeLSTM", "FastWeights")
    KerasTestCase().run_layer_test(
        kind,
        {"return_sequences": True, "unroll": unroll, **arguments},
        input_shape=(BATCH, STEPS, FEATURES),
        expected_output_shape=(BATCH, STEPS, UNITS),
        expected_num_non_trainable_variables=0,
        expected_num_losses=0,
        supports_masking=True,
    )


@cases.all_cases
def test_saved_model_computes_the_same(name, tmp_path):
    """Catches a setting that `get_config` drops, and a weight or mask that a file does not keep."""
    cell = {"use_bias": False, "dropout": 0.4, "recurrent_dropout": 0.3, "seed": 7}
    if name in cases.LINEAR:
        del cell["recurrent_dropout"]
    options = {"go_backwards": True, "unroll": True, "zero_output_for_mask": True}
    model = classifier(name, cell=cell, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = inputs_of("float32")
    for training in (True, False):
        outputs = loaded(inputs, training=training)
        np.testing.assert_array_equal(array(outputs), array(model(inputs, training=training)))
    assert loaded.layers[0].cell.get_config() == model.layers[0].cell.get_config()
    assert type(loaded.layers[0].cell) is type(model.layers[0].cell)


@cases.costly(SETTINGS, always=["AssociativeLSTMCell", "LayerNormGRU", "FastWeights-chunks"])
def test_functional_model(name):
    """Catches states with wrong symbolic shapes, a batch size or a length that is fixed when the
    model is built or traced, and a layer that takes only calls with, or without, states.
    """
    layer = layer_of(name, dtype="float32", return_state=True)
    sequences, more = keras.Input((None, FEATURES)), keras.Input((None, FEATURES))
    first, *states = layer(sequences)
    second = layer(more, initial_state=states)[0]
    model = keras.Model([sequences, more], [first, second, *states])
    program = tf.function(model, input_signature=[[tf.TensorSpec((None, None, FEATURES))] * 2])
    for batch, length, border in ((2, 5, 2), (1, 3, 1)):
        inputs = inputs_of("float32")[:batch, :length]
        _, output, *middle = program([inputs[:, :border], inputs[:, border:]])
        expected, _ = cases.oracle(name, layer, inputs)
        np.testing.assert_allclose(array(output), expected[:, -1], **cases.FLOAT32)
        assert [tuple(one.shape) for one in states] == [(None, one.shape[1]) for one in middle]


@some_cells
def test_stacked_cells(name):
    """Catches nested states that are mixed up."""
    lower, upper = cases.cell_of(name), cases.cell_of(name, features=UNITS)
    stack = keras.layers.StackedRNNCells([lower, upper], dtype="float64")
    layer = keras.layers.RNN(stack, return_sequences=True, dtype="float64")
    middle, _ = cases.oracle(name, lower, inputs_of(), mask=cases.PADDED)
    expected, _ = cases.oracle(name, upper, middle, mask=cases.PADDED)
    cases.assert_close(name, layer(inputs_of(), mask=cases.PADDED), expected)


@pytest.mark.slow
def test_stacked_cells_in_half_precision():
    """Catches states that change their dtype in the loop: the stack decides their dtype."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        cells = [kind_of("FastWeights")(UNITS).cell for _ in range(2)]
        stack = keras.layers.StackedRNNCells(cells, dtype="float32")
        outputs = keras.layers.RNN(stack)(inputs_of("float32"))
        assert outputs.dtype == "float16"
        assert np.all(np.isfinite(array(outputs)))
        # Keras makes a stack of a list itself, under the global policy.
        model = keras.Sequential([keras.layers.RNN(cells), keras.layers.Dense(2, dtype="float32")])
        model.compile("sgd", "mse")
        loss = model.train_on_batch(inputs_of("float32"), np.ones((BATCH, 2)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(loss)


@cases.costly(SETTINGS, always=[])
@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
def test_fit_evaluate_predict(name, jit_compile):
    """Catches a step that XLA cannot compile, and a weight that `fit` does not train."""
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
    assert history[-1] < history[0]
    np.testing.assert_allclose(history[0], first, rtol=1e-4)
    logits = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(logits, array(model(inputs)), **cases.FLOAT32)
    for weight, old in zip(model.weights, before, strict=True):
        assert np.abs(array(weight) - old).max() > 1e-4, f"{weight.path} did not change"


@some_cells
def test_gradients_equal_finite_differences(name):
    """Catches a disconnected weight, input or state, and an operation with a wrong gradient."""
    layer = layer_of(name, unroll=True)
    cell, states = layer.cell, cases.random_states(layer.cell)

    @tf.function
    def loss(sequences, *values):
        weights = list(zip(cell.trainable_variables, values[: len(cell.weights)], strict=True))
        with keras.StatelessScope(state_mapping=weights):
            outputs = layer(sequences, initial_state=list(values[len(cell.weights) :]))
            return tf.reduce_sum(tf.sin(outputs))

    values = [tf.convert_to_tensor(variable) for variable in cell.trainable_variables]
    arguments = [tf.constant(inputs_of(length=3)), *values, *map(tf.constant, states)]
    names = ["inputs", *(weight.name for weight in cell.weights), "hidden", "memory"]
    analytic, numeric = tf.test.compute_gradient(loss, arguments, delta=1e-6)
    for part, a, n in zip(names, analytic, numeric, strict=False):
        np.testing.assert_allclose(a, n, rtol=1e-5, atol=1e-6, err_msg=part)
        assert np.abs(a).max() > 1e-6, f"{part} is disconnected"


@cases.some_layers
def test_layer_inside_a_layer(name, tmp_path):
    """Catches a layer that cannot be built twice: Keras does that when it loads a model."""
    outer = keras.layers.Bidirectional(kind_of(name)(UNITS, **SETTINGS[name]))
    model = cases.randomize(keras.Sequential([keras.Input((STEPS, FEATURES)), outer]))
    model.save(tmp_path / "model.keras")
    loaded = cases.randomize(keras.models.load_model(tmp_path / "model.keras"), seed=8)
    loaded.layers[0].forward_layer.build((BATCH, STEPS, FEATURES))
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    inputs = inputs_of("float32")
    np.testing.assert_array_equal(array(loaded(inputs)), array(model(inputs)))


def test_quantized_model():
    """Catches a model that cannot be quantized because of the layer, which Keras skips."""
    model = classifier("FastWeights-chunks")
    recurrent = [array(weight) for weight in model.layers[0].weights]
    model.quantize("int8")
    for weight, old in zip(model.layers[0].weights, recurrent, strict=True):
        np.testing.assert_array_equal(array(weight), old)
    assert np.all(np.isfinite(array(model(inputs_of("float32")))))


@cases.some_layers
def test_arguments_that_gru_takes(name):
    """Catches `input_shape` and `autocast` that reach the cell, or that the layer refuses."""
    with pytest.warns(UserWarning, match="input_shape"):
        layer = kind_of(name)(UNITS, input_shape=(STEPS, FEATURES), **SETTINGS[name])
    assert keras.Sequential([layer]).output_shape == (None, UNITS)
    assert kind_of(name)(UNITS, input_dim=FEATURES, **SETTINGS[name]).units == UNITS
    half = layer_of(name, dtype="mixed_bfloat16", autocast=False)
    exact = layer_of(name, dtype="float32")
    difference = np.abs(array(half(inputs_of("float32"))) - array(exact(inputs_of("float32"))))
    assert 0 < difference.max() < 0.2
