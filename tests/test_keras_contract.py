"""The cells and layers inside Keras: models, wrappers, files, `fit` and gradients."""

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
    LAYERS,
    PADDED,
    SETTINGS,
    STEPS,
    UNITS,
    all_cases,
    all_cells,
    all_layers,
    array,
    assert_close,
    cell_of,
    costly,
    inputs_of,
    kind_of,
    layer_of,
    oracle,
    oracle_states,
    random_states,
    randomize,
    unrolled,
)
from keras.src.testing import TestCase as KerasTestCase


def classifier(name, **arguments):
    """Returns a model with random weights: sequences, the layer of the case, two logits."""
    layer = layer_of(name, dtype="float32", **arguments)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, keras.layers.Dense(2)])
    return randomize(model)


@costly(SETTINGS, always=[*LAYERS, "FastWeightsCell"])
@unrolled
def test_layer_test_of_keras(name, unroll):
    """Catches a broken config, build, symbolic or eager call, training step or mixed precision."""
    if name in LAYERS:
        kind, arguments = kind_of(name), {"units": UNITS, **SETTINGS[name]}
    else:
        kind, arguments = keras.layers.RNN, {"cell": kind_of(name)(UNITS, **SETTINGS[name])}
    KerasTestCase().run_layer_test(
        kind,
        {"return_sequences": True, "unroll": unroll, **arguments},
        input_shape=(BATCH, STEPS, FEATURES),
        expected_output_shape=(BATCH, STEPS, UNITS),
        expected_num_non_trainable_variables=0,
        expected_num_losses=0,
        supports_masking=True,
    )


@all_cases
def test_saved_model_computes_the_same(name, tmp_path):
    """Catches a setting that `get_config` drops, and a weight that a file does not keep."""
    model = classifier(name, go_backwards=True, unroll=True, zero_output_for_mask=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = inputs_of("float32")
    np.testing.assert_array_equal(array(loaded(inputs)), array(model(inputs)))
    assert loaded.layers[0].cell.get_config() == model.layers[0].cell.get_config()
    assert type(loaded.layers[0].cell) is type(model.layers[0].cell)
    # A file of weights alone.
    randomize(loaded, seed=8)
    assert np.abs(array(loaded(inputs)) - array(model(inputs))).max() > 1e-3
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(array(loaded(inputs)), array(model(inputs)))


@all_cells
def test_functional_state_chaining(name):
    """Catches states with wrong symbolic shapes: the states of an encoder start a decoder."""
    cell = cell_of(name, dtype="float32")
    sequences, more = keras.Input((None, FEATURES)), keras.Input((None, FEATURES))
    first, *states = keras.layers.RNN(cell, return_state=True)(sequences)
    second = keras.layers.RNN(cell)(more, initial_state=states)
    model = keras.Model([sequences, more], [first, second, *states])
    inputs = inputs_of("float32")
    _, output, *middle = model([inputs[:, :2], inputs[:, 2:]])
    expected, _ = oracle(name, cell, inputs)
    np.testing.assert_allclose(array(output), expected[:, -1], **FLOAT32)
    _, expected_middle = oracle(name, cell, inputs[:, :2])
    for state, expected_state in zip(oracle_states(middle), expected_middle, strict=True):
        np.testing.assert_allclose(state, expected_state, **FLOAT32)
    assert [tuple(state.shape) for state in states] == [(None, s.shape[1]) for s in middle]


@all_cases
def test_dynamic_length_and_batch(name):
    """Catches a batch size or a length that is fixed when the model is built or traced."""
    inputs = keras.Input((None, FEATURES))
    layer = layer_of(name, dtype="float32")
    model = keras.Model(inputs, layer(inputs))
    program = tf.function(model, input_signature=[tf.TensorSpec((None, None, FEATURES))])
    for batch, length in ((2, 5), (1, 3)):
        sequences = inputs_of("float32")[:batch, :length]
        expected, _ = oracle(name, layer, sequences)
        np.testing.assert_allclose(array(program(sequences)), expected[:, -1], **FLOAT32)


@all_cells
@pytest.mark.parametrize("mask", [None, PADDED], ids=["no mask", "padding"])
def test_stacked_cells(name, mask):
    """Catches nested states that are mixed up."""
    lower, upper = cell_of(name), cell_of(name, features=UNITS)
    stack = keras.layers.StackedRNNCells([lower, upper], dtype="float64")
    layer = keras.layers.RNN(stack, return_sequences=True, dtype="float64")
    middle, _ = oracle(name, lower, inputs_of(), mask=mask)
    expected, _ = oracle(name, upper, middle, mask=mask)
    assert_close(name, layer(inputs_of(), mask=mask), expected)


@costly(CELLS, always=["FastWeightsCell"])
def test_stacked_cells_in_half_precision(name):
    """Catches states that change their dtype in the loop: the stack decides their dtype."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        cells = [kind_of(name)(UNITS, **SETTINGS[name]) for _ in range(2)]
        if name in FAST_CELLS:
            stack = keras.layers.StackedRNNCells(cells, dtype="float32")
            outputs = keras.layers.RNN(stack)(inputs_of("float32"))
            assert outputs.dtype == "float16"
            assert np.all(np.isfinite(array(outputs)))
        # Keras makes a stack of a list itself, under the global policy.
        model = keras.Sequential([keras.layers.RNN(cells), keras.layers.Dense(2, dtype="float32")])
        model.compile("adam", "mse")
        history = model.fit(inputs_of("float32"), np.ones((BATCH, 2)), verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"][0])


@all_cells
def test_bidirectional(name):
    """Catches a setting that `get_config` drops: Keras makes the backward layer from it."""
    layer = keras.layers.Bidirectional(layer_of(name), dtype="float64")
    layer.build((BATCH, STEPS, FEATURES))
    randomize(layer)
    there, _ = oracle(name, layer.forward_layer, inputs_of())
    back, _ = oracle(name, layer.backward_layer, inputs_of()[:, ::-1])
    expected = np.concatenate([there[:, -1], back[:, -1]], axis=-1)
    assert_close(name, layer(inputs_of()), expected)


@all_cases
def test_time_distributed(name):
    """Catches a layer that mistakes the extra axis for time."""
    inner = layer_of(name)
    layer = keras.layers.TimeDistributed(inner, dtype="float64")
    inputs = np.stack([inputs_of(seed=seed) for seed in range(3)], axis=1)
    outputs = array(layer(inputs))
    for i in range(3):
        expected, _ = oracle(name, inner, inputs[:, i])
        assert_close(name, outputs[:, i], expected[:, -1])


@costly(SETTINGS, always=["LayerNormGRUCell", "FastWeightsCell"])
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
    np.testing.assert_allclose(logits, array(model(inputs)), **FLOAT32)
    for weight, old in zip(model.weights, before, strict=True):
        assert np.abs(array(weight) - old).max() > 1e-4, f"{weight.path} did not change"


@all_cells
@pytest.mark.parametrize("unroll", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_equal_finite_differences(name, unroll):
    """Catches a disconnected weight, input or state, and an operation with a wrong gradient."""
    layer = layer_of(name, unroll=unroll)
    cell, states = layer.cell, random_states(layer.cell)

    @tf.function
    def loss(sequences, *values):
        weights = list(zip(cell.trainable_variables, values[: len(cell.weights)], strict=True))
        with keras.StatelessScope(state_mapping=weights):
            outputs = layer(sequences, initial_state=list(values[len(cell.weights) :]))
            return tf.reduce_sum(tf.sin(outputs))

    values = [tf.convert_to_tensor(variable) for variable in cell.trainable_variables]
    arguments = [tf.constant(inputs_of()), *values, *map(tf.constant, states)]
    names = ["inputs", *(weight.name for weight in cell.weights), "hidden", "memory"]
    analytic, numeric = tf.test.compute_gradient(loss, arguments, delta=1e-6)
    for part, a, n in zip(names, analytic, numeric, strict=False):
        np.testing.assert_allclose(a, n, rtol=1e-5, atol=1e-6, err_msg=part)
        assert np.abs(a).max() > 1e-6, f"{part} is disconnected"


@keras.saving.register_keras_serializable(package="tests")
class Outer(keras.layers.Layer):
    """A layer that holds one of the layers, as users write them."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.saving.deserialize_keras_object(inner)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, sequences):
        return self.inner(sequences)

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}


@all_layers
def test_layer_inside_a_layer(name, tmp_path):
    """Catches a layer that cannot be built twice: Keras does that when it loads a model."""
    inner = kind_of(name)(UNITS, **SETTINGS[name])
    twin = keras.layers.deserialize(keras.layers.serialize(inner))
    twin.build((BATCH, STEPS, FEATURES))
    twin.build((BATCH, STEPS, FEATURES))
    config = keras.saving.serialize_keras_object(inner)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), Outer(config)])
    randomize(model)
    expected = array(model(inputs_of("float32")))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded(inputs_of("float32"))), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(array(clone(inputs_of("float32"))), expected)


@all_layers
def test_quantized_model(name):
    """Catches a model that cannot be quantized because of the layer, which Keras skips."""
    model = classifier(name)
    recurrent = [array(weight) for weight in model.layers[0].weights]
    model.quantize("int8")
    for weight, old in zip(model.layers[0].weights, recurrent, strict=True):
        np.testing.assert_array_equal(array(weight), old)
    assert np.all(np.isfinite(array(model(inputs_of("float32")))))


@all_layers
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


@all_layers
def test_initial_states(name):
    """Catches states that fit only calls with, or only calls without them."""
    layer = kind_of(name)(UNITS, dtype="float64", return_state=True, **SETTINGS[name])
    layer(inputs_of(), initial_state=layer.get_initial_state(BATCH))
    randomize(layer)
    expected, *states = layer(inputs_of())
    given = layer(inputs_of(), initial_state=layer.get_initial_state(BATCH))
    assert_close(name, given[0], array(expected))
    # One layer in one model, with states and without.
    sequences = keras.Input((None, FEATURES), dtype="float64")
    _, *middle = layer(sequences)
    model = keras.Model(sequences, layer(sequences, initial_state=middle)[0])
    again, *_ = layer(inputs_of(), initial_state=states)
    np.testing.assert_allclose(model.predict(inputs_of(), verbose=0), array(again), **FLOAT32)
    both = keras.layers.Bidirectional(layer, dtype="float64")
    _, *ends = both(inputs_of())
    outputs, *_ = both(inputs_of(), initial_state=ends)
    there, *_ = both.forward_layer(inputs_of(), initial_state=ends[: len(states)])
    back, *_ = both.backward_layer(inputs_of(), initial_state=ends[len(states) :])
    assert_close(name, outputs, np.concatenate([array(there), array(back)], axis=-1))


@all_layers
def test_any_length(name):
    """Catches a length of 0 or 1, or one that is no multiple of the chunk size."""
    layer = layer_of(name, return_sequences=True, return_state=True)
    states = random_states(layer.cell)
    for length in (0, 1, 4):
        outputs, *last = layer(inputs_of()[:, :length], initial_state=states)
        expected, _ = oracle(name, layer, inputs_of()[:, :length], oracle_states(states))
        assert_close(name, outputs, expected.reshape(BATCH, length, UNITS))
        assert_close(name, last[0], states[0] if length == 0 else expected[:, -1])
