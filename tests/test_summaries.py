"""What TensorBoard is given, and what its server makes of it."""

import dataclasses
import json
import re
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from event_files import events
from tensorboard.plugins.hparams import plugin_data_pb2

from fast_weights import checkpoints, data, results, sampling, summaries, training
from fast_weights.folders import model_folder
from fast_weights.results import Record

SLOW_WEIGHTS = ["kernel", "recurrent_kernel", "bias"]
LOOKS = {
    "probe",
    "hidden_state",
    "probe/hidden_state",
    *(f"slow_weights/rnn/{name}" for name in SLOW_WEIGHTS),
    "slow_weights/logits/kernel",
    "slow_weights/logits/bias",
}
FAST_LOOKS = {
    "probe/fast_weights",
    "probe/attention",
    "slow_weights/rnn/gamma",
    "slow_weights/rnn/beta",
}
TITLES = {"configuration", "graph", "_hparams_/experiment", "_hparams_/session_start_info"}


def train(config, folder, **kwargs):
    return training.train(config, folder / "data", folder / config.model_name, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_config):
    """Five epochs of RNN-LN-FW with a look at every other, and one of CONTROL's seed 1."""
    folder = tmp_path_factory.mktemp("runs")
    train(dataclasses.replace(tiny_config, num_epochs=5), folder, summary_every=2)
    control = dataclasses.replace(tiny_config, num_epochs=1, model_name="CONTROL", seed=1)
    training.train(control, folder / "data", model_folder(folder, "CONTROL", seed=1))
    # A run that gets to 99 %, for which training takes longer than a test may.
    config = dataclasses.replace(tiny_config, model_name="GRU-LN")
    write_epochs(folder / "GRU-LN", config, (0.5, 0.995, 0.98, 0.999))
    return folder


def write_epochs(folder, config, accuracies):
    """The scalars of epochs of these validation accuracies."""
    validation, _ = data.make(2, 40, 40, 0)
    board = summaries.Summaries(folder, config, checkpoints.new_state(config).model, validation)
    board.describe()
    records = []
    for epoch, accuracy in enumerate(accuracies):
        records.append(Record(epoch, 1.0, 0.5, 1.0, accuracy, 1.0, 0.1))
        board.write(records[-1], [accuracy, float("nan")], records)
    board.close()


@pytest.mark.parametrize(
    ("run", "looks"), [("RNN-LN-FW", LOOKS | FAST_LOOKS), ("CONTROL/seed-1", LOOKS)]
)
def test_tags(folder, run, looks):
    """A summary that is missing, or of something that the model does not have."""
    found = events(folder / run)
    runs = {part: {tag for one, tag in found if one == part} for part in (".", *summaries.RUNS)}
    assert runs["."] == looks | TITLES | {"best_accuracy"}
    assert runs["training"] == {"loss", "accuracy", "gradient_norm", "sequences_per_second"}
    by_pair = {"accuracy_by_pair/pair_1", "accuracy_by_pair/pair_2"}
    assert runs["validation"] == {"loss", "accuracy"} | by_pair


def test_steps_are_epochs_done(folder):
    """Looks that miss the untrained model, the last epoch or an interval."""
    for (run, tag), points in events(folder / "RNN-LN-FW").items():
        steps = [step for step, _ in points]
        if tag in TITLES:
            assert steps == [0], tag
        elif run == "." and tag != "best_accuracy":
            assert steps == [0, 2, 4, 5], tag
        else:
            assert steps == [1, 2, 3, 4, 5], (run, tag)


def test_scalars_are_the_records(folder):
    found = events(folder / "RNN-LN-FW")
    records = results.read(folder / "RNN-LN-FW")
    for key, values in {
        ("training", "loss"): [r.train_loss for r in records],
        ("training", "accuracy"): [r.train_accuracy for r in records],
        ("training", "gradient_norm"): [r.gradient_norm for r in records],
        ("training", "sequences_per_second"): [140 / r.seconds for r in records],
        ("validation", "loss"): [r.valid_loss for r in records],
        ("validation", "accuracy"): [r.valid_accuracy for r in records],
        (".", "best_accuracy"): np.maximum.accumulate([r.valid_accuracy for r in records]),
    }.items():
        np.testing.assert_allclose([value for _, value in found[key]], values, rtol=1e-6)


def test_accuracy_by_pair_is_that_of_the_trained_model(folder):
    """Pairs that are counted wrong in the compiled program."""
    model, config = checkpoints.load_model(folder, "RNN-LN-FW")
    _, validation = data.make(2, config.num_training, config.num_validation, config.seed)
    _, expected = sampling.accuracy_by_pair(model, validation)
    found = events(folder / "RNN-LN-FW")
    last = [found["validation", f"accuracy_by_pair/pair_{pair}"][-1][1] for pair in (1, 2)]
    np.testing.assert_allclose(last, expected, rtol=1e-6)


def test_pictures_show_the_probe_as_it_is_learnt(folder):
    """A picture that is empty, of a wrong shape, or the same before training and after."""
    found = events(folder / "RNN-LN-FW")
    for name in ("fast_weights", "attention", "hidden_state"):
        points = found[".", f"probe/{name}"]
        width, height, png = points[0][1]
        picture = tf.io.decode_png(png).numpy()
        assert picture.shape == (int(height), int(width), 3)
        assert (int(width) == 2 * int(height)) == (name == "fast_weights")
        assert len(np.unique(picture)) > 20
        assert points[0][1] != points[-1][1]


def test_text_and_histograms(folder):
    found = events(folder / "RNN-LN-FW")
    model, config = checkpoints.load_model(folder, "RNN-LN-FW")
    table = found[".", "configuration"][0][1].decode()
    for name, value in dataclasses.asdict(config).items():
        assert f"| {name} | {value} |" in table
    watched = sampling.watch(model, data.default_sample(2), 2)
    answers = found[".", "probe"][-1][1].decode()
    assert answers.startswith(f"`{watched.text}` → `{watched.prediction}`")
    share = watched.probability_of(watched.prediction)
    assert f"| {watched.prediction} | {share:.2%} |" in answers
    kernel = np.asarray(found[".", "slow_weights/rnn/kernel"][-1][1])
    assert kernel[:, 2].sum() == model.get_layer("rnn").cell.kernel.numpy().size
    hidden = np.asarray(found[".", "hidden_state"][-1][1])
    assert hidden[:, 2].sum() == 40 * 7 * 5


def test_hyperparameters_are_the_settings(folder):
    found = events(folder / "RNN-LN-FW")
    content = found[".", "_hparams_/session_start_info"][0][1]
    info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    _, config = checkpoints.load_model(folder, "RNN-LN-FW")
    for name, expected in dataclasses.asdict(config).items():
        value = info.hparams[name]
        assert getattr(value, value.WhichOneof("kind")) == expected, name


def test_the_epoch_of_99_percent_is_told_once(folder):
    """An epoch that is told again after accuracy fell below, or after a resume."""
    found = events(folder / "GRU-LN")
    assert found[".", "epochs_to_99_percent"] == [(2, 2.0)]
    assert len(found[".", "best_accuracy"]) == 4
    assert ("validation", "accuracy_by_pair/pair_2") not in found


class Stopped(Exception):
    """A run that is broken off."""


class StopsAfter(training.Reporter):
    """Breaks a run off when it reports an epoch, or while it is in the one after it."""

    def __init__(self, epoch, within):
        self._epoch, self._within = epoch, within

    def progress(self, epoch, fraction):
        if self._within and epoch == self._epoch + 1:
            raise Stopped

    def epoch(self, record, best, seconds_left):
        if not self._within and record.epoch == self._epoch:
            raise Stopped


@pytest.mark.slow
@pytest.mark.parametrize("within", [False, True])
def test_a_resumed_run_has_the_events_of_an_untroubled_one(folder, tiny, tmp_path, within):
    """Gaps, doubles or steps that run backwards after a stop."""
    config = tiny(num_epochs=5)
    with pytest.raises(Stopped):
        train(config, tmp_path, summary_every=2, reporter=StopsAfter(1, within))
    train(config, tmp_path, summary_every=2)
    found, wanted = events(tmp_path / "RNN-LN-FW"), events(folder / "RNN-LN-FW")
    assert found.keys() == wanted.keys()
    for key in wanted:
        if key == ("training", "sequences_per_second"):
            found[key], wanted[key] = ([step for step, _ in one[key]] for one in (found, wanted))
        if key[1] not in ("graph", "_hparams_/session_start_info"):  # names, start time
            assert found[key] == wanted[key], key


def test_events_past_the_checkpoint_are_dropped(folder, tmp_path):
    """An epoch whose events are on disk but whose checkpoint is not: its look too."""
    source = folder / "RNN-LN-FW"
    for path in source.rglob("*.tfevents.*"):
        copy = tmp_path / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    other_seed = tmp_path / "seed-1" / "events.out.tfevents.1"
    other_seed.parent.mkdir()
    other_seed.write_bytes(b"another run's")
    summaries.truncate(tmp_path, 3)
    assert other_seed.read_bytes() == b"another run's"
    other_seed.unlink()
    found = events(tmp_path)
    assert [step for step, _ in found[".", "probe"]] == [0, 2]
    assert [step for step, _ in found["validation", "loss"]] == [1, 2, 3]
    assert not any(tag in TITLES for _, tag in found)
    summaries.truncate(tmp_path, 0)
    assert not events(tmp_path)


@pytest.fixture(scope="module")
def ask(folder):
    """Asks a TensorBoard server for a path; JSON comes back."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}"]
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

            # It answers while it still reads; a run that it lists it has read.
            for _ in range(300):
                if len(ask("runs")) == 9:
                    break
                time.sleep(0.1)
            yield ask
        finally:
            server.terminate()


def test_the_server_shows_runs_scalars_images_and_hyperparameters(ask):
    """Events that are whole and that TensorBoard does not understand."""
    runs = {
        f"{name}{run}"
        for name in ("RNN-LN-FW", "CONTROL/seed-1", "GRU-LN")
        for run in ("", "/training", "/validation")
    }
    assert runs == set(ask("runs"))
    scalars = ask("plugin/scalars/tags")
    assert {"loss", "accuracy"} <= scalars["RNN-LN-FW/training"].keys()
    assert {"loss", "accuracy", "accuracy_by_pair/pair_2"} <= scalars["RNN-LN-FW/validation"].keys()
    loss = ask("plugin/scalars/scalars?run=RNN-LN-FW%2Fvalidation&tag=loss")
    assert [step for _, step, _ in loss] == [1, 2, 3, 4, 5]
    images = ask("plugin/images/tags")
    assert {"probe/fast_weights", "probe/attention"} <= images["RNN-LN-FW"].keys()
    shown = ask("plugin/images/images?run=RNN-LN-FW&tag=probe%2Ffast_weights")
    assert [image["step"] for image in shown] == [0, 2, 4, 5]
    assert "probe" in ask("plugin/text/tags")["RNN-LN-FW"]
    assert "RNN-LN-FW" in ask("plugin/graphs/info")
    assert "hidden_state" in ask("plugin/histograms/tags")["RNN-LN-FW"]
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
    trials = [(group["hparams"]["model_name"], group["hparams"]["seed"]) for group in groups]
    assert sorted(trials) == [("CONTROL", 1), ("GRU-LN", 0), ("RNN-LN-FW", 0)]
    values = [{one["name"]["tag"]: one["value"] for one in g["metricValues"]} for g in groups]
    best = [one["best_accuracy"] for one in values]
    assert best == sorted(best, reverse=True)
    assert [one.get("epochs_to_99_percent") for one in values] == [2, None, None]
