"""The loop that a layer compiles with XLA, and where it must not."""

import tempfile
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

import fast_weights

BATCH, STEPS, FEATURES, UNITS = 4, 5, 3, 6
SEQUENCES = np.random.default_rng(0).normal(size=(2 * BATCH, STEPS, FEATURES)).astype("float32")
TARGETS = np.zeros((2 * BATCH, UNITS), "float32")


@keras.saving.register_keras_serializable("test_compiling")
class Spy(fast_weights.FastWeights):
    """A layer that records whether XLA compiles its loop, as its copies do."""

    seen: ClassVar[list[bool]] = []

    def loop(self, *arguments):
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self.seen.append(graph is not None and graph.name.startswith("loop"))
        return super().loop(*arguments)


def spied_model(length=STEPS, layer=None, **settings):
    """Returns a compiled model around a spy, and what the spy has seen."""
    layer = Spy(UNITS, chunk_size=2, **(layer or {}))
    model = keras.Sequential([keras.Input((length, FEATURES)), layer])
    model.compile("sgd", "mse", **settings)
    del Spy.seen[:]  # of the symbolic call
    return model, Spy.seen


STEPS_OF_KERAS = {
    "fit": lambda model: model.fit(SEQUENCES, TARGETS, batch_size=BATCH, verbose=0),
    "evaluate": lambda model: model.evaluate(SEQUENCES, TARGETS, batch_size=BATCH, verbose=0),
    "predict": lambda model: model.predict(SEQUENCES, batch_size=BATCH, verbose=0),
}


@pytest.mark.parametrize("step", STEPS_OF_KERAS)
def test_loop_is_compiled_within_steps_of_keras(step):
    """Catches a change of Keras's internals that leaves the layer uncompiled without an error."""
    model, seen = spied_model()
    STEPS_OF_KERAS[step](model)
    assert seen
    assert all(seen)


def wrapped(model):
    sequences = keras.Input((STEPS, FEATURES))
    outputs = keras.layers.Bidirectional(model.layers[0], merge_mode="sum")(sequences)
    parts = keras.layers.Reshape((1, STEPS, FEATURES))(sequences)
    again = keras.layers.TimeDistributed(Spy(UNITS))(parts)
    return keras.Model(sequences, outputs + keras.layers.Flatten()(again))


def loaded(model):
    with tempfile.TemporaryDirectory() as directory:
        model.save(f"{directory}/model.keras")
        return keras.models.load_model(f"{directory}/model.keras", compile=False)


@pytest.mark.slow
@pytest.mark.parametrize("copy", [wrapped, keras.models.clone_model, loaded])
def test_loop_is_compiled_in_copies_of_a_layer(copy):
    """Catches a layer that is not compiled in a wrapper, or in a cloned or a loaded model."""
    model = copy(spied_model()[0])
    model.compile("sgd", "mse", steps_per_execution=2)
    del Spy.seen[:]
    STEPS_OF_KERAS["fit"](model)
    assert Spy.seen
    assert all(Spy.seen)


@pytest.mark.slow
def test_loop_is_compiled_under_a_strategy():
    """Catches a layer that is not compiled where TensorFlow distributes the steps."""
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model, seen = spied_model()
    STEPS_OF_KERAS["fit"](model)
    assert seen
    assert seen[-1]  # Keras first builds the optimizer in a graph that does not run


def fit_any_length(model):
    spec = (tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None, UNITS)))
    data = tf.data.Dataset.from_generator(lambda: [(SEQUENCES, TARGETS)], output_signature=spec)
    model.fit(data, verbose=0)


def fit_deterministically(model):
    from tensorflow.python.framework import config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "is_op_determinism_enabled", lambda: True)
        tf.random.set_seed(0)
        STEPS_OF_KERAS["fit"](model)


class TwoTapes(keras.Sequential):
    """A model with a `train_step` of its own, as for a penalty on gradients."""

    def train_step(self, data):
        with tf.GradientTape() as outer, tf.GradientTape() as inner:
            loss = self.compute_loss(y=data[1], y_pred=self(data[0], training=True))
        weights = [one.value for one in self.trainable_variables]
        self.optimizer.apply(inner.gradient(loss, weights), self.trainable_variables)
        return {"loss": sum(tf.reduce_sum(one) for one in outer.gradient(loss, weights))}


class CallsAnother(TwoTapes):
    def call(self, inputs, training=False):
        return self.layers[0](inputs, training=training)


def fit_with_two_tapes(model):
    for kind, parts in ((TwoTapes, model.layers), (CallsAnother, [keras.Sequential(model.layers)])):
        other = kind(parts)
        other.compile("sgd", "mse")
        STEPS_OF_KERAS["fit"](other)


def call_and_export(model):
    STEPS_OF_KERAS["fit"](model)
    del Spy.seen[:]
    model(SEQUENCES)

    @tf.function
    def my_step_on_batch(inputs):
        return model(inputs)

    my_step_on_batch(tf.constant(SEQUENCES))
    tf.function(model)(tf.constant(SEQUENCES))
    with tempfile.TemporaryDirectory() as directory:
        model.export(directory, verbose=False)


@pytest.mark.parametrize(
    ("use", "settings"),
    [
        # Of the whole model.
        pytest.param(STEPS_OF_KERAS["fit"], {"jit_compile": True}, marks=pytest.mark.slow),
        (STEPS_OF_KERAS["predict"], {"run_eagerly": True}),  # to debug it
        (STEPS_OF_KERAS["fit"], {"layer": {"jit_compile": False}}),
        (fit_any_length, {"length": None}),  # XLA would compile again for each length
        (fit_deterministically, {}),  # Keras itself turns XLA off
        # They cannot differentiate a compiled function.
        pytest.param(fit_with_two_tapes, {}, marks=pytest.mark.slow),
        (STEPS_OF_KERAS["fit"], {"layer": {"unroll": True, "activation": abs}}),  # may lack in XLA
        # A saved program must not need XLA.
        pytest.param(call_and_export, {}, marks=pytest.mark.slow),
    ],
)
def test_loop_is_left_alone(use, settings):
    """Catches a loop that is compiled twice, or where it must not be, and a useless switch."""
    model, seen = spied_model(**settings)
    use(model)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize(
    ("settings", "masked"),
    [
        ({}, True),
        pytest.param({"unroll": True}, True, marks=pytest.mark.slow),
        pytest.param({"stateful": True}, True, marks=pytest.mark.slow),
        # The backend differentiates these, and its gradient cannot leave a compiled program.
        pytest.param({"normalization": "none"}, False, marks=pytest.mark.slow),
        pytest.param({"activation": "gelu"}, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_compiled_loop_gives_the_same_results(settings, masked):
    """Catches a mask, a state or a gradient that is lost on the way into the compiled program."""
    results = []
    for jit_compile in ("auto", False):
        keras.utils.set_random_seed(0)
        arguments = {"return_sequences": True, "return_state": True, "jit_compile": jit_compile}
        layer = fast_weights.FastWeights(UNITS, chunk_size=2, **arguments, **settings)
        size = BATCH if settings.get("stateful") else None
        sequences = keras.Input((STEPS, FEATURES), batch_size=size)
        mask = keras.Input((STEPS,), dtype="bool")
        outputs, *states = layer(sequences, mask=mask if masked else None)
        last = keras.layers.Concatenate()([keras.layers.Flatten()(outputs), *states])
        model = keras.Model([sequences, mask], keras.layers.Dense(2)(last))
        model.compile("sgd", "mse")
        steps = np.arange(STEPS) % 3 != np.arange(2 * BATCH)[:, None] % 3
        fit = model.fit([SEQUENCES, steps], TARGETS[:, :2], BATCH, shuffle=False, verbose=0)
        results.append([fit.history["loss"], *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
