"""Uses an installed package as its users do. Run it outside a clone, on any backend of Keras.

It trains and plots only if the packages of the extra `experiment` are installed.
"""

import importlib.util
import os
import pathlib
import tempfile

import keras
import numpy as np

import fast_weights
from fast_weights import FastWeights, experiment, trace_memory

ROOT = pathlib.Path(fast_weights.__file__).parents[1]
EXTRA = ("filelock", "matplotlib", "tensorboard", "tensorflow")


def check_layer():
    """Fits, saves, loads and traces a model with a `FastWeights` layer."""
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(512, 6, 5)).astype("float32")
    targets = (sequences[:, 0, 0] > 0).astype("float32")
    model = keras.Sequential([FastWeights(7, name="rnn"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    losses = model.fit(sequences, targets, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save("model.keras")
    loaded = keras.models.load_model("model.keras")
    expected = model.predict(sequences, verbose=0)
    np.testing.assert_allclose(loaded.predict(sequences, verbose=0), expected, atol=1e-6)
    trace = trace_memory(loaded.get_layer("rnn"), sequences[:2])
    outputs = keras.ops.convert_to_numpy(loaded.layers[1](trace.hidden[:, -1]))
    np.testing.assert_allclose(outputs, expected[:2], atol=1e-5)


def check_experiment():
    """Checks the answer of the bundled network, and trains and plots."""
    run_dir = experiment.RunDirectory("checkpoints", "RNN-LN-FW")
    model, config = experiment.load_model(run_dir)
    assert experiment.predict_text(model, config.make_task(), "g5o8k1??g") == "5"
    trace = experiment.trace_sequence(model, config.make_task(), "g5o8k1??g")
    if all(map(importlib.util.find_spec, EXTRA)) and keras.config.backend() == "tensorflow":
        experiment.plot_memory(trace, "memory.png")
        config = experiment.Config(num_epochs=1, units=5, num_training=256, num_validation=128)
        assert len(experiment.train(config, run_dir)) == 1


if __name__ == "__main__":
    assert not (ROOT / "train.py").exists(), f"{ROOT} is a clone"
    os.chdir(tempfile.mkdtemp())
    check_layer()
    check_experiment()
    print(f"The package in {ROOT} works with {keras.config.backend()}.")
