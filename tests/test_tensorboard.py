"""What TensorBoard receives, and what its server shows after a resume."""

import dataclasses
import os
import re
import sys
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from event_files import curves, events
from processes import without_xla
from tensorboard.plugins.hparams import plugin_data_pb2

from fast_weights.experiment import callbacks, dataset, evaluation, results
from fast_weights.experiment.callbacks import tensorboard
from fast_weights.experiment.callbacks.tensorboard import _trial_name
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

ACCURACIES = (0.5, 0.995, 0.98, *[0.999] * 10)


class EndAfterFour(keras.callbacks.Callback):
    """Ends a training after four epochs."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 3


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny):
    """A run that was killed before the checkpoint of epoch 4 and in the middle of an event.

    Then it was resumed and completed its 5 epochs.
    """
    directory = tmp_path_factory.mktemp("runs")
    config, run_dir = tiny(num_epochs=5), RunDirectory(directory, "RNN-LN-FW")
    with without_xla():
        train(config, run_dir, directory, summary_every=2, callbacks=[EndAfterFour()])
        run_dir.checkpoint_path(4).unlink()
        for path in run_dir.path.rglob("*.tfevents.*"):
            with open(path, "r+b") as file:
                incomplete = file.read(20)
                file.seek(0, os.SEEK_END)
                file.write(incomplete)
        train(config, run_dir, directory, summary_every=2)
    return run_dir


def test_new_files_sort_after_the_others(tmp_path, monkeypatch):
    """Catches steps that TensorBoard drops because the clock was set back."""
    times = {"0000000007.c": 7, "0000000099.b": 99, "0000000100.a": 100, "0000000250.b": 250}
    for name in times:
        (tmp_path / f"events.out.tfevents.{name}").write_text(name)
    monkeypatch.setattr(time, "time", lambda: 100.5)
    tensorboard._put_in_the_past(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert [path.read_text() for path in paths] == list(times)
    assert all(path.name < "events.out.tfevents.0000000100" for path in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on other systems")
def test_directory_needs_no_utf8(tmp_path, tiny):
    """Catches a traceback for a name that is not UTF-8, after the settings have been written."""
    run_dir = RunDirectory(tmp_path / os.fsdecode(b"caf\xe9"), "CONTROL")
    with without_xla():
        train(tiny(model_name="CONTROL", num_epochs=1), run_dir, tmp_path)
    assert len(list(run_dir.path.glob("**/*.tfevents.*"))) == 4


@pytest.fixture(scope="module")
def found(run_dir):
    """The curves of that run. They have one value for a step that was written twice."""
    written = [step for step, _ in events(run_dir)["validation", "loss"]]
    assert written == [1, 2, 3, 4, 4, 5]
    return curves(run_dir)


@pytest.fixture(scope="module")
def learned(run_dir, tiny):
    """A run of the callback alone, with `ACCURACIES` and without a sequence of pair 2."""
    config = tiny(model_name="CONTROL", seed=1, num_epochs=13)
    other = RunDirectory(run_dir.checkpoint_dir, "CONTROL", seed=1)
    records, validation = types.SimpleNamespace(all=[]), dataset.generate(config).validation
    board = callbacks.TensorBoard(other.path, config, validation, records, summary_every=2)
    board.set_model(build_model(config))
    board.set_params({"epochs": 13})
    for epoch, accuracy in enumerate(ACCURACIES):
        board.on_epoch_begin(epoch)
        records.all.append(EpochRecord(epoch + 1, 1.0, 0.5, 1.0, accuracy, None, 0.1))
        board.on_epoch_end(epoch, {"val_accuracy_1": accuracy / 2, "val_accuracy_2": np.nan})
    board.on_train_end()
    return other


def test_steps_count_completed_epochs(found):
    """Catches a missing summary, and a snapshot that is missing at the start or at the end."""
    weights = ["rnn/kernel", "rnn/recurrent_kernel", "rnn/bias", "rnn/gamma", "rnn/beta"]
    weights += ["logits/kernel", "logits/bias"]
    probe = ["probe", "probe/hidden_state", "probe/fast_weights", "probe/attention"]
    snapshot = [*probe, "hidden_state", *(f"slow_weights/{name}" for name in weights)]
    accuracies = ["accuracy", "accuracy_by_pair/pair_1", "accuracy_by_pair/pair_2"]
    training = ["loss", "accuracy", "gradient_norm", "sequences_per_second"]
    steps = {
        **{(".", tag): [0] for tag in ("configuration", "graph")},
        **{(".", tag): [0, 2, 4, 5] for tag in snapshot},
        **{("training", tag): [1, 2, 3, 4, 5] for tag in training},
        **{("validation", tag): [1, 2, 3, 4, 5] for tag in ("loss", *accuracies)},
        ("trial", "_hparams_/session_start_info"): [0],
        ("trial", "best_accuracy"): [1, 2, 3, 4, 5],
    }
    assert {key: sorted(curve) for key, curve in found.items()} == steps


def test_images_are_written_at_doubling_intervals(learned):
    """Catches images that TensorBoard picks at random, and those of fast weights without any."""
    curve = curves(learned)
    assert list(curve[".", "probe/hidden_state"]) == [0, 2, 4, 8, 13]
    assert list(curve[".", "hidden_state"]) == [0, 2, 4, 6, 8, 10, 12, 13]
    assert (".", "probe/fast_weights") not in curve


def test_scalars_are_those_of_the_records(run_dir, found):
    """Catches a curve with the numbers of another, or of another epoch."""
    records = results.read(run_dir.results_path)
    columns = {
        ("training", "loss"): "train_loss",
        ("training", "accuracy"): "train_accuracy",
        ("training", "gradient_norm"): "gradient_norm",
        ("validation", "loss"): "val_loss",
        ("validation", "accuracy"): "val_accuracy",
    }
    for key, name in columns.items():
        expected = {one.epoch: pytest.approx(getattr(one, name)) for one in records}
        assert found[key] == expected, key
    _, speed = events(run_dir)["training", "sequences_per_second"][-1]
    assert speed == pytest.approx(140 / max(records[-1].seconds, 1e-3), rel=1e-6)


def test_accuracies_are_the_best_and_by_group(learned):
    """Catches an epoch of 99% that is written again, another group, and NaN in a curve."""
    found = events(learned)
    assert found["validation", "epochs_to_99_percent"] == [(2, 2.0)]
    best = np.maximum.accumulate(ACCURACIES)
    np.testing.assert_allclose([one for _, one in found["trial", "best_accuracy"]], best, 1e-6)
    by_pair = [one for _, one in found["validation", "accuracy_by_pair/pair_1"]]
    np.testing.assert_allclose(by_pair, np.array(ACCURACIES) / 2, 1e-6)
    assert ("validation", "accuracy_by_pair/pair_2") not in found


def test_images_show_the_probe(found):
    """Catches an image that is empty, that a card scales, or that training does not change."""
    for name in ("fast_weights", "attention", "hidden_state"):
        curve = found[".", f"probe/{name}"]
        image = tf.io.decode_png(curve[0][2]).numpy()
        assert image.shape == (215, 350, 3)  # the size that TensorBoard shows unscaled
        assert len(np.unique(image)) > 20
        assert curve[0] != curve[5]


def test_text_and_histograms_describe_the_model(run_dir, found):
    """Catches settings, answers or weights of another model or epoch."""
    model, config = load_model(run_dir)
    table = found[".", "configuration"][0].decode()
    assert Config.from_json(table.strip("`")) == config
    task = config.make_task()
    trace = evaluation.trace_sequence(model, task, task.default_sample)
    answers = found[".", "probe"][5].decode()
    assert trace.text in answers
    assert f"| {trace.prediction} | {trace.probabilities.max():.2%} |" in answers
    kernel = np.asarray(found[".", "slow_weights/rnn/kernel"][5])
    assert kernel[:, 2].sum() == 37 * 5
    hidden = np.asarray(found[".", "hidden_state"][5])
    assert hidden[:, 2].sum() == 40 * 7 * 5


def test_hyperparameters_are_the_settings(run_dir):
    """Catches a missing setting, a run that is extended and so becomes another trial, and columns
    in another order: TensorBoard sorts them.
    """
    content = events(run_dir)["trial", "_hparams_/session_start_info"][0][1]
    info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    found = {
        name.strip(): getattr(value, value.WhichOneof("kind"))
        for name, value in info.hparams.items()
    }
    settings = {**dataclasses.asdict(run_dir.read_config()), "num_epochs": None}
    assert found == {name: value for name, value in settings.items() if value is not None}
    first = [name.strip() for name in sorted(info.hparams)[:5]]
    assert first == ["model_name", "seed", "learning_rate", "units", "num_pairs"]


def test_trial_is_named_after_its_settings():
    """Catches a name without the changed settings, and an extended run with another name."""
    config = Config(learning_rate=0.01, inner_steps=2, num_epochs=3)
    assert _trial_name(config) == "inner_steps=2, learning_rate=0.01, RNN-LN-FW, seed 0"
    assert _trial_name(Config("GRU-LN", seed=4)) == "GRU-LN, seed 4"


def test_graph_has_a_scope_for_each_layer_and_step(run_dir):
    """Catches a single closed box on the Graphs page, and layers and steps without one."""
    graph = tf.compat.v1.GraphDef.FromString(events(run_dir)[".", "graph"][0][1])
    names = [node.name for node in graph.node]
    scopes = {re.sub(r"_\d+$", "", name.split("/")[0]) for name in names}
    assert {"tokens", "rnn", "logits"} <= scopes
    assert len(scopes) < 9
    parts = {name.split("/")[2] for name in names if "/step_2/" in name}
    assert {"write", "read", "normalize"} <= parts
