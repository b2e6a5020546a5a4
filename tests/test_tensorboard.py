"""What TensorBoard receives, and what its server shows after a resume."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
import types
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from event_files import curves, events
from processes import without_xla
from tensorboard.plugins.hparams import plugin_data_pb2

from fast_weights.experiment import callbacks, dataset, evaluation, results
from fast_weights.experiment.callbacks.tensorboard import _trial_name
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import TENSORBOARD_RUNS, RunDirectory
from fast_weights.experiment.training import train

SNAPSHOT = {
    "probe",
    "hidden_state",
    "probe/hidden_state",
    *(f"slow_weights/rnn/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    "slow_weights/logits/kernel",
    "slow_weights/logits/bias",
}
FAST_SNAPSHOT = SNAPSHOT | {
    "probe/fast_weights",
    "probe/attention",
    "slow_weights/rnn/gamma",
    "slow_weights/rnn/beta",
}
AT_START = {"configuration", "graph"}
TRIAL = {"_hparams_/session_start_info", "best_accuracy"}
TASK = Config(num_pairs=2).make_task()
VALIDATION_LOSS = "plugin/scalars/scalars?run=RNN-LN-FW%2Fvalidation&tag=loss"


class Killed(Exception):
    """Stands in for the end of a process."""


class EndAfterFour(keras.callbacks.Callback):
    """Ends a training after four epochs."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory, tiny):
    """The runs of three models.

    RNN-LN-FW was killed before the checkpoint of epoch 4 and in the middle of an event. Then it
    was resumed and completed its 5 epochs.
    """
    directory = tmp_path_factory.mktemp("runs")
    run_dir = RunDirectory(directory, "RNN-LN-FW")
    with without_xla():
        train(tiny(num_epochs=5), run_dir, directory, summary_every=2, callbacks=[EndAfterFour()])
        run_dir.checkpoint_path(4).unlink()
        for path in run_dir.path.rglob("*.tfevents.*"):
            with open(path, "r+b") as file:
                incomplete = file.read(20)
                file.seek(0, os.SEEK_END)
                file.write(incomplete)
        train(tiny(num_epochs=5), run_dir, directory, summary_every=2)
        control = tiny(num_epochs=1, model_name="CONTROL", seed=1)
        train(control, RunDirectory(directory, "CONTROL", seed=1), directory)
    # To train a model to 99% takes longer than a test may.
    write_epochs(directory / "GRU-LN", tiny(model_name="GRU-LN", num_epochs=13))
    return directory


def write_epochs(path, config):
    """Writes the events of epochs with these validation accuracies, and no sequence of pair 2."""
    records = types.SimpleNamespace(all=[])
    validation = dataset.generate(config).validation
    board = callbacks.TensorBoard(path, config, validation, records, summary_every=2)
    board.set_model(build_model(config))
    board.set_params({"epochs": config.num_epochs})
    for epoch, accuracy in enumerate((0.5, 0.995, 0.98, *[0.999] * 10)):
        board.on_epoch_begin(epoch)
        records.all.append(EpochRecord(epoch + 1, 1.0, 0.5, 1.0, accuracy, None, 0.1))
        board.on_epoch_end(epoch, {"val_accuracy_1": accuracy, "val_accuracy_2": np.nan})
    board.on_train_end()


@pytest.fixture(scope="module")
def run_dir(directory):
    return RunDirectory(directory, "RNN-LN-FW")


@pytest.mark.parametrize(
    ("model_name", "seed", "snapshot"),
    [("RNN-LN-FW", 0, FAST_SNAPSHOT), ("CONTROL", 1, SNAPSHOT)],
)
def test_tags(directory, model_name, seed, snapshot):
    """Catches a missing summary, and one of something that the model does not have."""
    found = events(RunDirectory(directory, model_name, seed))
    tags = {run: {tag for one, tag in found if one == run} for run in (".", *TENSORBOARD_RUNS)}
    assert tags["."] == snapshot | AT_START
    assert tags["trial"] == TRIAL
    assert tags["training"] == {"loss", "accuracy", "gradient_norm", "sequences_per_second"}
    by_pair = {"accuracy_by_pair/pair_1", "accuracy_by_pair/pair_2"}
    assert tags["validation"] == {"loss", "accuracy"} | by_pair


def test_steps_count_completed_epochs(run_dir):
    """Catches a snapshot that is missing before training, at the end or in between.

    Of a step that is written twice, `curves` checks that both values are equal.
    """
    written = [step for step, _ in events(run_dir)["validation", "loss"]]
    assert written == [1, 2, 3, 4, 4, 5]
    for (run, tag), curve in curves(run_dir).items():
        if tag in AT_START or tag == "_hparams_/session_start_info":
            assert list(curve) == [0], tag
        elif run == ".":
            assert sorted(curve) == [0, 2, 4, 5], tag
        else:
            assert sorted(curve) == [1, 2, 3, 4, 5], (run, tag)


def test_images_are_written_at_doubling_intervals(directory):
    """Catches so many images that TensorBoard picks some at random."""
    found = curves(RunDirectory(directory, "GRU-LN"))
    assert list(found[".", "probe/hidden_state"]) == [0, 2, 4, 8, 13]
    assert list(found[".", "hidden_state"]) == [0, 2, 4, 6, 8, 10, 12, 13]


def test_scalars_are_those_of_the_records(run_dir):
    """Catches a curve with the numbers of another, or of another epoch."""
    found = curves(run_dir)
    records = results.read(run_dir.results_path)
    for key, values in {
        ("training", "loss"): [r.train_loss for r in records],
        ("training", "accuracy"): [r.train_accuracy for r in records],
        ("training", "gradient_norm"): [r.gradient_norm for r in records],
        ("validation", "loss"): [r.val_loss for r in records],
        ("validation", "accuracy"): [r.val_accuracy for r in records],
        ("trial", "best_accuracy"): np.maximum.accumulate([r.val_accuracy for r in records]),
    }.items():
        np.testing.assert_allclose([found[key][step] for step in range(1, 6)], values, rtol=1e-6)
    _, speed = events(run_dir)["training", "sequences_per_second"][-1]
    assert speed == pytest.approx(140 / max(records[-1].seconds, 1e-3), rel=1e-6)


def test_accuracy_by_pair_is_that_of_the_trained_model(run_dir):
    """Catches pairs that the compiled program counts differently from `test.py --evaluate`."""
    model, config = load_model(run_dir)
    validation = dataset.generate(config).validation
    expected = evaluation.evaluate(model, config, validation)
    found = curves(run_dir)
    for pair in (1, 2):
        last = found["validation", f"accuracy_by_pair/pair_{pair}"][5]
        assert last == pytest.approx(expected[f"accuracy_{pair}"])


def test_images_show_the_probe(run_dir):
    """Catches an image that is empty, that a card scales, or that training does not change."""
    found = curves(run_dir)
    for name in ("fast_weights", "attention", "hidden_state"):
        curve = found[".", f"probe/{name}"]
        image = tf.io.decode_png(curve[0][2]).numpy()
        assert image.shape == (215, 350, 3)  # the size that TensorBoard shows unscaled
        assert len(np.unique(image)) > 20
        assert curve[0] != curve[5]


def test_text_and_histograms_describe_the_model(run_dir):
    """Catches settings, answers or weights of another model or epoch."""
    found = curves(run_dir)
    model, config = load_model(run_dir)
    table = found[".", "configuration"][0].decode()
    assert Config.from_json(table.strip("`")) == config
    trace = evaluation.trace_sequence(model, TASK, TASK.default_sample)
    answers = found[".", "probe"][5].decode()
    share = trace.probabilities.max()
    assert trace.text in answers
    assert f"| {trace.prediction} | {share:.2%} |" in answers
    kernel = np.asarray(found[".", "slow_weights/rnn/kernel"][5])
    assert kernel[:, 2].sum() == model.get_layer("rnn").cell.kernel.numpy().size
    hidden = np.asarray(found[".", "hidden_state"][5])
    assert hidden[:, 2].sum() == 40 * 7 * 5


def test_hyperparameters_are_the_settings(run_dir):
    """Catches a missing setting, and a run that is extended and so becomes another trial."""
    content = events(run_dir)["trial", "_hparams_/session_start_info"][0][1]
    info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    settings = dataclasses.asdict(run_dir.read_config())
    del settings["num_epochs"]
    settings = {name: value for name, value in settings.items() if value is not None}
    found = {name.strip(): value for name, value in info.hparams.items()}
    assert found.keys() == settings.keys()
    for name, expected in settings.items():
        value = found[name]
        assert getattr(value, value.WhichOneof("kind")) == expected, name


def test_epoch_of_99_percent_is_written_once(directory):
    """Catches an epoch that is written again after the accuracy fell below 99%."""
    found = events(RunDirectory(directory, "GRU-LN"))
    assert found["trial", "epochs_to_99_percent"] == [(2, 2.0)]
    assert ("validation", "accuracy_by_pair/pair_2") not in found  # NaN


@pytest.fixture(scope="module")
def ask(directory):
    """Returns a function that requests JSON from a TensorBoard server."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={directory}"]
    command += ["--host=127.0.0.1", "--port=0"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            url = next(
                found[0] for line in server.stderr if (found := re.search(r"http://\S+:\d+/", line))
            )

            def ask(path, **body):
                request = urllib.request.Request(url + "data/" + path)
                if body:
                    request.data = json.dumps(body).encode()
                    request.add_header("Content-Type", "application/json")
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)

            # It answers while it still reads.
            while len(ask("runs")) < 12 or ask(VALIDATION_LOSS)[-1][1] < 5:
                time.sleep(0.1)
            yield ask
        finally:
            server.terminate()


@pytest.mark.slow
def test_server_shows_each_step_once_after_a_resume(ask, run_dir):
    """Catches an epoch that a resumed run wrote again and that TensorBoard draws twice."""
    loss = ask(VALIDATION_LOSS)
    assert [step for _, step, _ in loss] == [1, 2, 3, 4, 5]
    expected = [record.val_loss for record in results.read(run_dir.results_path)]
    np.testing.assert_allclose([value for _, _, value in loss], expected, rtol=1e-6)
    best = ask("plugin/scalars/scalars?run=RNN-LN-FW%2Ftrial&tag=best_accuracy")
    assert [step for _, step, _ in best] == [1, 2, 3, 4, 5]
    images = ask("plugin/images/images?run=RNN-LN-FW&tag=probe%2Ffast_weights")
    assert [image["step"] for image in images] == [0, 2, 4, 5]
    weights = ask("plugin/histograms/histograms?run=RNN-LN-FW&tag=hidden_state")
    assert [step for _, step, _ in weights] == [0, 2, 4, 5]


@pytest.mark.slow
def test_server_shows_every_page(ask):
    """Catches events that are complete but that TensorBoard cannot use."""
    models = ("RNN-LN-FW", "CONTROL/seed-1", "GRU-LN")
    subdirectories = [f"/{run}" for run in TENSORBOARD_RUNS]
    runs = {f"{name}{run}" for name in models for run in ("", *subdirectories)}
    assert runs == set(ask("runs"))
    scalars = ask("plugin/scalars/tags")
    assert {"loss", "accuracy"} <= scalars["RNN-LN-FW/training"].keys()
    assert {"loss", "accuracy", "accuracy_by_pair/pair_2"} <= scalars["RNN-LN-FW/validation"].keys()
    images = ask("plugin/images/tags")
    assert {"probe/fast_weights", "probe/attention"} <= images["RNN-LN-FW"].keys()
    assert "probe" in ask("plugin/text/tags")["RNN-LN-FW"]
    assert "RNN-LN-FW" in ask("plugin/graphs/info")
    groups = ask(
        "plugin/hparams/session_groups",
        experimentName="",
        allowedStatuses=["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        colParams=[
            {"metric": {"tag": "best_accuracy", "group": ""}, "order": "ORDER_DESC"},
            {"metric": {"tag": "epochs_to_99_percent", "group": ""}},
        ],
        startIndex=0,
        sliceSize=10,
    )["sessionGroups"]
    names = [", ".join(group["name"].split(", ")[:3]) for group in groups]
    assert sorted(names) == [
        "CONTROL, seed 1, batch_size=8",
        "GRU-LN, seed 0, batch_size=8",
        "RNN-LN-FW, seed 0, batch_size=8",
    ]
    values = [{one["name"]["tag"]: one["value"] for one in g["metricValues"]} for g in groups]
    best = [one["best_accuracy"] for one in values]
    assert best == sorted(best, reverse=True)
    assert [one.get("epochs_to_99_percent") for one in values] == [2, None, None]


@pytest.mark.slow
def test_server_orders_the_columns_of_the_hparams_page(ask):
    """Catches columns in alphabetical order, and scalars that hide the two metrics.

    The page shows the first five of each.
    """
    experiment = ask("plugin/hparams/experiment", experimentName="", hparamsLimit=1000)
    columns = [(one["name"].strip(), one["differs"]) for one in experiment["hparamInfos"]]
    assert columns[:5] == [
        ("model_name", True),
        ("seed", True),
        ("learning_rate", False),
        ("units", False),
        ("num_pairs", False),
    ]
    metrics = [one["name"]["tag"] for one in experiment["metricInfos"]]
    assert metrics == ["best_accuracy", "epochs_to_99_percent"]


def test_trial_is_named_after_its_settings():
    """Catches a trial that hides what makes it special, and an extended run that is another."""
    config = Config(learning_rate=0.01, inner_steps=2, num_epochs=3)
    assert _trial_name(config) == "RNN-LN-FW, seed 0, inner_steps=2, learning_rate=0.01"
    assert _trial_name(Config("GRU-LN", seed=4)) == "GRU-LN, seed 4"


def test_graph_has_a_scope_for_each_layer(run_dir):
    """Catches a single closed box on the Graphs page, and layers without one."""
    graph = tf.compat.v1.GraphDef.FromString(events(run_dir)[".", "graph"][0][1])
    scopes = {re.sub(r"_\d+$", "", node.name.split("/")[0]) for node in graph.node}
    assert {"tokens", "rnn", "logits"} <= scopes
    assert len(scopes) < 9
