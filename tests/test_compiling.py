"""The loop that a layer compiles with XLA, and where it must not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import fast_weights

BATCH, STEPS, FEATURES, UNITS = 4, 5, 3, 6
SEQUENCES = np.random.default_rng(0).normal(size=(2 * BATCH, STEPS, FEATURES)).astype("float32")
TARGETS = np.zeros((2 * BATCH, UNITS), "float32")


class Spy(fast_weights.FastWeights):
    """A layer that records whether XLA compiles its loop."""

    def loop(self, *arguments):
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self.seen.append(graph is not None and graph.name.startswith("loop"))
        return super().loop(*arguments)


def spied_model(length=STEPS, layer=None, **settings):
    """Returns a compiled model around a spy, and what the spy has seen."""
    layer = Spy(UNITS, chunk_size=2, **(layer or {}))
    layer.seen = []
    model = keras.Sequential([keras.Input((length, FEATURES)), layer])
    model.compile("sgd", "mse", **settings)
    del layer.seen[:]  # of the symbolic call
    return model, layer.seen


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


@pytest.mark.parametrize(
    "settings",
    [
        {"jit_compile": True},
        {"run_eagerly": True},
        {"layer": {"jit_compile": False}},
    ],
    ids=str,
)
@pytest.mark.parametrize("step", STEPS_OF_KERAS)
def test_loop_is_left_alone(step, settings):
    """Catches a loop compiled twice, one that cannot be debugged, a switch without effect."""
    model, seen = spied_model(**settings)
    STEPS_OF_KERAS[step](model)
    assert seen
    assert not any(seen)


def test_unknown_length_is_left_alone():
    """Catches a compilation for each length of the sequences."""
    model, seen = spied_model(length=None)
    batches = [(SEQUENCES[:, :length], TARGETS) for length in (3, 4, 5)]
    spec = (tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None, UNITS)))
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    model.fit(data, verbose=0)
    assert seen
    assert not any(seen)


def test_deterministic_operations_are_left_alone(monkeypatch):
    """Catches XLA where Keras itself turns it off."""
    from tensorflow.python.framework import config

    model, seen = spied_model()
    monkeypatch.setattr(config, "is_op_determinism_enabled", lambda: True)
    tf.random.set_seed(0)
    STEPS_OF_KERAS["fit"](model)
    assert seen
    assert not any(seen)


def test_calls_and_exports_are_left_alone(tmp_path):
    """Catches a saved program that needs XLA."""
    model, seen = spied_model()
    model(SEQUENCES)
    tf.function(model)(tf.constant(SEQUENCES))
    model.export(tmp_path, verbose=False)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"unroll": True},
        # The backend differentiates these, and its gradient cannot leave a compiled program.
        {"normalization": "none"},
        {"activation": "gelu"},
    ],
    ids=str,
)
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_loop_gives_the_same_results(settings, masked):
    """Catches a mask, a state or a gradient that is lost on the way into the compiled program."""
    results = []
    for jit_compile in ("auto", False):
        keras.utils.set_random_seed(0)
        layer = fast_weights.FastWeights(
            UNITS,
            chunk_size=2,
            return_sequences=True,
            return_state=True,
            jit_compile=jit_compile,
            **settings,
        )
        sequences = keras.Input((STEPS, FEATURES))
        mask = keras.Input((STEPS,), dtype="bool")
        outputs, *states = layer(sequences, mask=mask if masked else None)
        last = keras.layers.Concatenate()([keras.layers.Flatten()(outputs), *states])
        model = keras.Model([sequences, mask], keras.layers.Dense(2)(last))
        model.compile("sgd", "mse")
        steps = np.arange(STEPS) % 3 != np.arange(2 * BATCH)[:, None] % 3
        data = [SEQUENCES, steps]
        model.fit(data, TARGETS[:, :2], batch_size=3, shuffle=False, verbose=0)
        results.append([model.predict(data, verbose=0), *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
