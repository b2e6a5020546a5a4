"""Uses an installed package as its users do. Run it outside a clone, on any backend of Keras.

The packages of the extra `experiment` are optional. If some are missing, this script checks the
error messages instead.
"""

import importlib.util
import logging
import os
import pathlib
import tempfile

import keras
import numpy as np

import fast_weights
from fast_weights import FastWeights, experiment, trace_memory

ROOT = pathlib.Path(fast_weights.__file__).parents[1]
BACKEND = keras.config.backend()
EXTRA = ("filelock", "matplotlib", "tensorboard", "tensorflow")


def message_of(call, *arguments):
    """Returns the message of the `ImportError` or the `ValueError` that a call raises."""
    try:
        call(*arguments)
    except (ImportError, ValueError) as error:
        message = str(error)
    assert "train.py" not in message
    return message


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


def check_bundled_weights():
    """Checks the bundled network's answer, and the note that no model has been trained."""
    notes = []
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())
    logger = logging.getLogger("fast_weights")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    model, config = experiment.load_model(experiment.RunDirectory("checkpoints", "RNN-LN-FW"))
    assert experiment.predict_text(model, config.make_task(), "g5o8k1??g") == "5"
    (note,) = notes
    assert "train(" in note
    assert "train.py" not in note
    missing = experiment.RunDirectory("checkpoints", "RNN-LN-FW", seed=3)
    assert "train(" in message_of(experiment.load_model, missing)
    return experiment.trace_sequence(model, config.make_task(), "g5o8k1??g")


def check_extra(trace):
    """Trains and plots, or checks that the errors name the missing packages."""
    missing = [name for name in EXTRA if not importlib.util.find_spec(name)]
    if "matplotlib" in missing:
        message = message_of(lambda: experiment.plot_memory)
        assert "pip install matplotlib" in message, message
    else:
        experiment.plot_memory(trace, "memory.png")
    if missing:
        message = message_of(lambda: experiment.train)
        assert ", ".join(missing) in message, message
        assert 'pip install "fast-weights[experiment]"' in message, message
        return
    config = experiment.Config(num_epochs=1, units=5, num_training=256, num_validation=128)
    run_dir = experiment.RunDirectory("checkpoints", "RNN-LN-FW")
    if BACKEND == "tensorflow":
        assert len(experiment.train(config, run_dir)) == 1
    else:
        assert "KERAS_BACKEND=tensorflow" in message_of(experiment.train, config, run_dir)


if __name__ == "__main__":
    assert not (ROOT / "train.py").exists(), f"{ROOT} is a clone"
    os.chdir(tempfile.mkdtemp())
    check_layer()
    check_extra(check_bundled_weights())
    print(f"The package in {ROOT} works with {BACKEND}.")
