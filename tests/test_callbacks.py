"""The callbacks alone. `test_docs.py` runs them with a model of a user's own."""

import contextlib
import io
import os
import types

import keras
import numpy as np
import pytest

from fast_weights.experiment import callbacks
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord


def test_training_ends_at_an_accuracy():
    """Catches an epoch after the one that reaches the accuracy, and an end before it."""
    model, stop, ended = (
        types.SimpleNamespace(stop_training=False),
        callbacks.StopAtAccuracy(0.7),
        [],
    )
    stop.set_model(model)
    for logs in ({"val_accuracy": 0.6}, {}, {"val_accuracy": 0.7}):
        stop.on_epoch_end(0, logs)
        ended.append(model.stop_training)
    assert ended == [False, False, True]


def test_records_need_validation_data(tmp_path):
    """Catches a record that looks complete, and an error without the reason."""
    records = callbacks.Records(tmp_path / "results.jsonl")
    records.on_epoch_begin(0)
    with pytest.raises(UserError, match="val_loss, val_accuracy"):
        records.on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})


def test_weight_that_is_not_finite_ends_the_training():
    """Catches a weight that no result shows, such as one of a symbol that did not occur."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    check = callbacks.CheckFinite()
    check.set_model(model)
    check.on_epoch_end(0, {"loss": 1.0, "accuracy_1": np.nan})  # a group without answers
    model.weights[0].assign([[1.0], [np.inf]])
    with pytest.raises(UserError):
        check.on_epoch_end(0, {"loss": 1.0})


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


def test_table_cannot_end_a_training(caplog):
    """Catches a training that ends when the program that reads its table ends."""
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w") as stream:
        table(stream, seconds=(1, 2, 3, 4, 5))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("variables", [{"COLUMNS": "40"}, {"TERM": "dumb"}])
def test_terminal_that_cannot_show_the_bar(monkeypatch, variables):
    """Catches a line for each step in a narrow terminal, and escape sequences in a dumb one."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = table(Terminal(), seconds=(1, 2, 3, 4, 5))
    assert "[##" not in text
    if "TERM" in variables:
        assert "\x1b" not in text


def test_terminal_without_a_known_number_of_steps():
    """Catches a bar that divides by it: a data set from a generator has no length."""
    stream = Terminal()
    progress = callbacks.ProgressTable(types.SimpleNamespace(all=[]), stream)
    progress.set_params({"epochs": 1, "steps": None})
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0)
    assert stream.getvalue() == ""


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
