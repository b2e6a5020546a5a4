"""Checkpoints: restored to the bit, and refused if they are corrupt."""

import logging

import keras
import numpy as np
import pytest

from fast_weights.experiment import checkpoint, storage
from fast_weights.experiment.callbacks import Checkpoint
from fast_weights.experiment.checkpoint import load_model, restore_newest, variables_of
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train


def arrays(model):
    return {name: one.numpy() for name, one in variables_of(model).items()}


@pytest.fixture
def model(tiny_config):
    """A model whose weights and optimizer have random values."""
    model, rng = build_model(tiny_config), np.random.default_rng(0)
    for one in variables_of(model).values():
        one.assign(rng.uniform(1, 9, one.shape).astype(one.dtype))
    return model


@pytest.fixture
def run_dir(tmp_path, tiny_config, model):
    """A run with the checkpoint of `model`, after epoch 1."""
    run_dir = RunDirectory(tmp_path, tiny_config.model_name)
    run_dir.path.mkdir()
    run_dir.write_config(tiny_config)
    checkpoint.save(run_dir.path, model, 1, 2)
    return run_dir


def test_restored_model_is_the_saved_one(tiny_config, model, run_dir):
    """Catches a weight, a moment of Adam or a counter that is not restored."""
    restored = build_model(tiny_config)
    assert restore_newest(run_dir.path, restored) == 1
    assert len(model.optimizer.variables) == 2 + 2 * len(model.weights)
    np.testing.assert_equal(arrays(restored), arrays(model))


def test_every_weight_of_a_nested_layer_is_saved():
    """Catches weights of one name, of which only the last would be saved."""
    both = keras.layers.Bidirectional(keras.layers.SimpleRNN(2))
    model = keras.Sequential([keras.Input((5, 3)), both])
    model.compile("sgd", "mse")
    expected = {id(one) for one in (*model.variables, *model.optimizer.variables)}
    assert {id(one) for one in variables_of(model).values()} == expected


class OwnWeight(keras.Model):
    """A model with a weight that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2, name="layer")
        self.own = self.add_weight(shape=(2,), name="own")

    def call(self, inputs):
        return self.layer(inputs) * self.own


def test_weight_of_no_layer_is_saved():
    """Catches a weight of a subclass that keeps its initial value without a word."""
    model = OwnWeight()
    model.compile("sgd", "mse")
    model(np.ones((1, 3)))
    assert any(one is model.own for one in variables_of(model).values())


def test_dropout_resumes_with_the_same_masks(tmp_path):
    """Catches the state of a seed generator that is not restored."""

    def fit(directory, seed, epochs):
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(8, name="hidden"),
                keras.layers.Dropout(0.5, seed=seed, name="dropout"),
                keras.layers.Dense(1, name="output"),
            ]
        )
        model.compile("sgd", "mse", run_eagerly=True)
        begun = restore_newest(directory, model)
        inputs, targets = np.arange(24.0).reshape(8, 3), np.ones((8, 1))
        options = {"initial_epoch": begun, "epochs": epochs, "shuffle": False, "verbose": 0}
        model.fit(inputs, targets, callbacks=[Checkpoint(directory)], **options)
        return model.get_weights()

    keras.utils.set_random_seed(0)
    expected = fit(tmp_path / "whole", 1, 2)
    keras.utils.set_random_seed(0)
    fit(tmp_path / "resumed", 1, 1)
    np.testing.assert_equal(fit(tmp_path / "resumed", 2, 2), expected)


def test_loaded_model_is_the_saved_one(tiny_config, model, run_dir, caplog):
    """Catches weights that keep their initial values, and a run that is not complete."""
    caplog.set_level(logging.INFO)
    loaded, config = load_model(run_dir)
    assert config == tiny_config
    np.testing.assert_equal(loaded.get_weights(), model.get_weights())
    (note,) = caplog.records
    assert {1, 2} <= set(note.args)  # epochs, of those planned


def test_corrupt_checkpoint_falls_back(tiny_config, model, run_dir, caplog):
    """Catches a run that is lost to its last file, and one that goes back silently."""
    expected = arrays(model)
    model.get_layer("rnn").cell.kernel.assign_add(np.ones((37, 5)))
    checkpoint.save(run_dir.path, model, 2, 2)
    newest = run_dir.checkpoint_path(2)
    newest.write_bytes(newest.read_bytes()[:-100])
    restored = build_model(tiny_config)
    assert restore_newest(run_dir.path, restored) == 1
    np.testing.assert_equal(arrays(restored), expected)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert str(newest) in warning.getMessage()


def test_corrupt_checkpoints_are_replaced(model, run_dir):
    """Catches corrupt files with higher numbers that crowd out the good checkpoints."""
    for epoch in (90, 91):
        run_dir.checkpoint_path(epoch).write_bytes(b"corrupt")
    checkpoint.save(run_dir.path, model, 2, 2)
    assert run_dir.checkpoint_epochs() == [2, 1]


def test_two_corrupt_checkpoints_are_refused(model, run_dir):
    """Catches a run that starts over on top of checkpoints that could be repaired."""
    for epoch in (1, 2):
        run_dir.checkpoint_path(epoch).write_bytes(b"corrupt")
    for call in (lambda: restore_newest(run_dir.path, model), lambda: load_model(run_dir)):
        with pytest.raises(UserError) as caught:
            call()
        assert str(run_dir) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: None,
        lambda array: array[:, :4],
        lambda array: array.astype("float64"),
        lambda array: np.full_like(array, np.nan),
    ],
    ids=["missing", "shape", "type", "value"],
)
@pytest.mark.parametrize("name", ["rnn.kernel", "optimizer.3"])
def test_checkpoint_of_another_model_is_refused(model, run_dir, name, change):
    """Catches a missing array, another shape or type, and values that are not finite."""
    path = run_dir.checkpoint_path(1)
    content = storage.read_arrays(path)
    changed = change(content.pop(name))
    storage.write_arrays(path, content if changed is None else {**content, name: changed})
    before = arrays(model)
    with pytest.raises(UserError):
        restore_newest(run_dir.path, model)
    np.testing.assert_equal(arrays(model), before)


def test_model_of_fit_is_saved(tmp_path, tiny_config, model):
    """Catches weights that `load_model` does not find, and a run that is overwritten."""
    run_dir = RunDirectory(tmp_path, tiny_config.model_name)
    checkpoint.save_model(run_dir, model, tiny_config)
    loaded, config = load_model(run_dir)
    assert config == tiny_config
    np.testing.assert_equal(loaded.get_weights(), model.get_weights())
    with pytest.raises(UserError):
        checkpoint.save_model(run_dir, model, tiny_config)


def test_other_shapes_keep_their_values(tiny, model, run_dir):
    """Catches weights that are not copied, and a run without suitable weights that is used."""
    other = build_model(tiny(task="multi-query-recall", vocabulary_size=8))
    logits = other.get_layer("logits").get_weights()[0]
    checkpoint.initialize(other, run_dir.path)
    expected, found = (one.get_layer("rnn").cell.recurrent_kernel for one in (model, other))
    np.testing.assert_equal(found.numpy(), expected.numpy())
    np.testing.assert_equal(other.get_layer("logits").get_weights()[0], logits)
    unlike = build_model(
        tiny(model_name="LSTM", units=3, task="multi-query-recall", vocabulary_size=8)
    )
    for path in (run_dir.path, run_dir.path / "missing"):
        with pytest.raises(UserError):
            checkpoint.initialize(unlike, path)


@pytest.mark.parametrize("changes", [{"learning_rate": 2e-2}, {"units": 6}, {"decay_rate": 0.5}])
def test_edited_settings_are_refused(tiny, model, run_dir, changes):
    """Catches edited settings that a run does not use, and an error that does not name them."""
    checkpoint.save(run_dir.path, model, 1, 2, tiny())
    assert load_model(run_dir)[1] == tiny()
    run_dir.write_config(tiny(**changes, num_epochs=9))
    ((name, value),) = changes.items()
    with pytest.raises(UserError, match=f"{name}={value}") as caught:
        load_model(run_dir)
    assert "restart" not in str(caught.value)
    assert "num_epochs" not in str(caught.value)


@pytest.mark.parametrize("set", [keras.config.set_floatx, keras.config.set_dtype_policy])
def test_other_types_are_refused(tiny_config, run_dir, set):
    """Catches a model whose types depend on a setting that its configuration does not hold."""
    try:
        set("float16")
        for call in (lambda: train(tiny_config, run_dir), lambda: load_model(run_dir)):
            with pytest.raises(UserError, match="float16"):
                call()
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_unreadable_checkpoint_is_not_called_corrupt(model, run_dir):
    """Catches a missing permission that makes a run fall back to an older checkpoint."""
    run_dir.checkpoint_path(2).mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        restore_newest(run_dir.path, model)
    assert caught.value.filename == str(run_dir.checkpoint_path(2))
