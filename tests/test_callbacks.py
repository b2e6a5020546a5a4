"""The callbacks, each with a plain Keras model of a user's own or without any model."""

import io
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import records

from fast_weights.experiment import callbacks
from fast_weights.experiment.checkpoint import restore_newest, variables_of
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(30, 4)).astype("float32"), RNG.integers(0, 3, 30)


def fit(*chosen, epochs, initial_epoch=0, directory=None, learning_rate=0.1):
    """Trains a new model, from the newest checkpoint in a directory if there is one."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    if directory is not None:
        initial_epoch = restore_newest(directory, model)
    options = {"initial_epoch": initial_epoch, "epochs": epochs, "shuffle": False, "verbose": 0}
    history = model.fit(*DATA, 10, validation_data=DATA, callbacks=list(chosen), **options)
    return model, history.history


def test_checkpoint_and_records_resume_a_training(tmp_path):
    """Catches a moment of Adam that is lost, and a record that is lost or repeated."""

    def run(name, epochs):
        (tmp_path / name).mkdir(exist_ok=True)
        found = callbacks.Records(tmp_path / name / "results.jsonl")
        saving = callbacks.Checkpoint(tmp_path / name, max_to_keep=3)
        return *fit(found, saving, epochs=epochs, directory=tmp_path / name), found

    run("resumed", 2)
    (tmp_path / "resumed/ckpt-2.npz").unlink()  # as if killed after the second record
    resumed, _, _ = run("resumed", 4)
    whole, history, found = run("whole", 4)
    for name, one in variables_of(whole).items():
        np.testing.assert_array_equal(variables_of(resumed)[name], one, err_msg=name)
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {"ckpt-2.npz", "ckpt-3.npz", "ckpt-4.npz", "results.jsonl"}
    runs = [types.SimpleNamespace(results_path=tmp_path / n / "results.jsonl") for n in
            ("resumed", "whole")]  # fmt: skip
    assert records(runs[0]) == records(runs[1])
    assert [one.val_loss for one in found.all] == history["val_loss"]
    assert [one.train_accuracy for one in found.all] == history["accuracy"]
    assert {one.gradient_norm for one in found.all} == {None}
    stream = io.StringIO()
    fit(found, callbacks.ProgressTable(found, stream), epochs=5, initial_epoch=4)
    assert [line.split()[0] for line in stream.getvalue().splitlines()][-1] == "5/5"


def test_training_ends_at_an_accuracy():
    """Catches an epoch after the one that reaches the accuracy, and an end before it."""
    _, history = fit(epochs=9)
    accuracies = history["val_accuracy"]
    expected = next(i for i, one in enumerate(accuracies) if one > accuracies[0])
    _, history = fit(callbacks.StopAtAccuracy(accuracies[expected]), epochs=9)
    assert history["val_accuracy"] == accuracies[: expected + 1]


def test_weight_that_is_not_finite_ends_the_training():
    """Catches a weight that no result shows, such as one of a symbol that did not occur."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    check = callbacks.CheckFinite()
    check.set_model(model)
    check.on_epoch_end(0, {"loss": 1.0, "accuracy_1": np.nan})  # a group without answers
    model.weights[0].assign([[1.0], [np.inf]])
    with pytest.raises(UserError):
        check.on_epoch_end(0, {"loss": 1.0})


def test_second_split_is_evaluated_for_later_callbacks():
    """Catches results of another split, and an evaluation that changes those of training."""
    part, found = [one[:9] for one in DATA], []
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: found.append(logs))
    data = tf.data.Dataset.from_tensors(tuple(part))
    model, history = fit(callbacks.EvaluateTest(data), seen, epochs=1)
    expected = model.evaluate(*part, verbose=0)
    assert [found[0]["test_loss"], found[0]["test_accuracy"]] == pytest.approx(expected)
    assert history["loss"] == [found[0]["loss"]] == fit(epochs=1)[1]["loss"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def table(stream, seconds):
    """Returns what the table of epochs that take these seconds prints."""
    records = types.SimpleNamespace(all=[])
    progress = callbacks.ProgressTable(records, stream)
    progress.set_params({"epochs": len(seconds), "steps": 4})
    accuracies = (0.25, 0.5, 0.125, 0.75, 0.5)
    for epoch, (accuracy, time) in enumerate(zip(accuracies, seconds, strict=True)):
        progress.on_epoch_begin(epoch)
        for batch in range(4):
            progress.on_train_batch_end(batch)
        records.all.append(EpochRecord(epoch + 1, 1.5, 0.375, 1.25, accuracy, 3.75, time))
        progress.on_epoch_end(epoch)
    return stream.getvalue()


def test_table_has_the_best_accuracy_and_the_time_left():
    """Catches the last accuracy in place of the best, and a time that includes the compilation."""
    text = table(io.StringIO(), seconds=(50, 2, 4, 30, 4))
    rows = [line.split() for line in text.splitlines() if "/5" in line]
    assert rows[0][:6] == ["1/5", "1.5000", "37.50%", "1.2500", "25.00%", "25.00%"]
    assert rows[0][6:] == ["3.750", "50.00", "?"]
    assert [row[5] for row in rows] == ["25.00%", "50.00%", "50.00%", "75.00%", "75.00%"]
    assert [" ".join(row[8:]) for row in rows] == ["?", "6 s", "6 s", "4 s", "0 s"]
    assert "\r" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_terminal_shows_the_current_epoch():
    """Catches a bar that stays on the screen, one of another epoch, and one in a file."""
    text = table(Terminal(), seconds=(1, 2, 3, 4, 5))
    bars = [part for part in text.split("\r") if "[" in part.removeprefix("\x1b[K")]
    assert len(bars) == 5 * 4
    assert [bar.split("]")[1].split()[0] for bar in bars[:4]] == ["20%", "40%", "60%", "80%"]
    assert "3/5" in bars[8]
    assert "50.00%" in bars[8]  # the best so far
    for line in text.splitlines():  # each row begins by clearing the bar
        assert "/5" not in line or line.split("\r")[-1].startswith("\x1b[K")
