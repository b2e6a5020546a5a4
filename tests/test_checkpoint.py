"""Checkpoints: restored to the bit, and refused if they are corrupt."""

import logging
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from fast_weights.experiment import storage
from fast_weights.experiment.checkpoint import load_model, new_state
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError
from fast_weights.experiment.program import train_step
from fast_weights.experiment.run_dir import RunDirectory

TOKENS = (
    Config(num_pairs=2).make_task().generate(8, np.random.default_rng(0)).tokens.astype("int32")
)


def arrays(state):
    """Returns the values of the weights and the optimizer."""
    variables = [*state.model.weights, *state.optimizer.variables]
    return [variable.numpy() for variable in variables]


def assert_equal(one, other):
    for array, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.fixture
def state(tiny_config):
    """A state after one update, so that no moment of the optimizer is zero."""
    state = new_state(tiny_config)
    targets = tf.constant(np.arange(8, dtype="int32"))
    train_step(state.model, state.optimizer, tf.constant(TOKENS), targets, 5.0)
    state.epoch = 1
    return state


@pytest.fixture
def run_dir(tmp_path, state):
    """A run with the checkpoint of `state`, after epoch 1."""
    run_dir = RunDirectory(tmp_path, state.config.model_name)
    run_dir.path.mkdir()
    run_dir.write_config(state.config)
    state.save(run_dir)
    return run_dir


def test_restored_state_is_the_saved_one(state, run_dir):
    """Catches a weight, a moment of Adam or a counter that is not restored."""
    restored = new_state(state.config)
    differs = [np.any(a != b) for a, b in zip(arrays(restored), arrays(state), strict=True)]
    assert sum(differs) == len(differs) - 1  # the learning rate
    restored.restore(run_dir)
    assert restored.epoch == 1
    assert_equal(arrays(restored), arrays(state))


def test_loaded_model_is_the_saved_one(state, run_dir, caplog):
    """Catches weights that keep their initial values, and a run that is not complete."""
    caplog.set_level(logging.INFO)
    model, config = load_model(run_dir)
    assert config == state.config
    np.testing.assert_array_equal(model(TOKENS), state.model(TOKENS))
    assert "1 of its 2 epochs" in caplog.text


def test_two_checkpoints_are_kept(state, run_dir):
    """Catches a disk that fills up, and the deletion of the newest checkpoint."""
    for epoch in (9, 10, 11):
        state.epoch = epoch
        state.save(run_dir)
    assert run_dir.checkpoint_epochs() == [11, 10]


def test_corrupt_checkpoint_falls_back(state, run_dir, caplog):
    """Catches a run that is lost to its last file, and one that goes back silently."""
    expected = arrays(state)
    state.model.get_layer("rnn").cell.kernel.assign_add(tf.ones((37, 5)))
    state.epoch = 2
    state.save(run_dir)
    newest = run_dir.checkpoint_path(2)
    newest.write_bytes(newest.read_bytes()[:-100])
    restored = new_state(state.config)
    restored.restore(run_dir)
    assert restored.epoch == 1
    assert_equal(arrays(restored), expected)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert str(newest) in warning.getMessage()
    model, _ = load_model(run_dir)
    np.testing.assert_array_equal(model.get_layer("rnn").cell.kernel, expected[0])


def test_training_replaces_a_corrupt_checkpoint(state, run_dir):
    """Catches corrupt files with higher numbers that crowd out the good checkpoints."""
    for epoch in (90, 91):
        run_dir.checkpoint_path(epoch).write_bytes(b"corrupt")
    state.epoch = 2
    state.save(run_dir)
    assert run_dir.checkpoint_epochs() == [2, 1]


def test_two_corrupt_checkpoints_are_refused(state, run_dir):
    """Catches a run that starts over on top of checkpoints that could be repaired."""
    for epoch in (1, 2):
        run_dir.checkpoint_path(epoch).write_bytes(b"corrupt")
    for call in (new_state(state.config).restore, load_model):
        with pytest.raises(UserError, match=f"{run_dir}.*--restart"):
            call(run_dir)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: None,
        lambda array: array[:, :4],
        lambda array: array.astype("float64"),
        lambda array: np.full_like(array, np.nan),
    ],
)
def test_checkpoint_of_another_model_is_refused(state, run_dir, change):
    """Catches a missing weight, another shape or type, and weights that are not finite."""
    path = run_dir.checkpoint_path(1)
    content = storage.read_arrays(path)
    content["rnn.kernel"] = change(content["rnn.kernel"])
    if content["rnn.kernel"] is None:
        del content["rnn.kernel"]
    storage.write_arrays(path, content)
    with pytest.raises(UserError):
        new_state(state.config).restore(run_dir)


def test_unreadable_checkpoint_is_not_called_corrupt(state, run_dir):
    """Catches a missing permission that makes a run fall back to an older checkpoint."""
    run_dir.checkpoint_path(2).mkdir()
    with pytest.raises(UserError, match=re.escape(str(run_dir.checkpoint_path(2)))) as caught:
        new_state(state.config).restore(run_dir)
    assert not isinstance(caught.value, CorruptFileError)


def test_initial_weights_are_those_of_the_seed(tiny):
    """Catches weights that depend on what was drawn before, or that ignore the seed."""
    expected = arrays(new_state(tiny(seed=1)))
    keras.random.normal((3,))
    assert_equal(arrays(new_state(tiny(seed=1))), expected)
    kernels = [new_state(tiny(seed=seed)).model.weights[0].numpy() for seed in (1, 2)]
    assert np.any(kernels[0] != kernels[1])
