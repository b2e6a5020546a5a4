"""The benchmarks' own logic, without training the models."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest

from benchmarks import (
    ablations,
    classifier,
    harder_than_paper,
    long_sequences,
    recall,
    recurrences,
    reproduce_blog,
    reproduce_paper,
    runs,
    sequence_length,
    training_speed,
    variants,
)
from fast_weights import FastWeights
from fast_weights.experiment import dataset, results, tasks
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_layer
from fast_weights.experiment.results import EpochRecord
from fast_weights.layers import scan


def test_script_runs_from_any_directory(tmp_path):
    """Catches a script that finds the project only from its root."""
    command = [sys.executable, str(runs.ROOT / "benchmarks/reproduce_blog.py"), "--help"]
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0


# In these tests, a run executes the program that is its name.
EXECUTE_NAME = mock.patch.object(
    runs.Run, "command", property(lambda run: [sys.executable, "-c", run.name])
)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@EXECUTE_NAME
def test_failed_runs_are_reported(tmp_path, monkeypatch):
    """Catches a failure that is lost, and one that keeps the next run from starting."""
    monkeypatch.setattr(runs, "SECONDS", 0.05)
    programs = [
        "import sys; sys.exit('error: full disk')",
        "import os; os.kill(os.getpid(), 9)",
        f"open({str(tmp_path / 'done')!r}, 'w')",
    ]
    with pytest.raises(UserError) as caught:
        runs.run_all([runs.Run(program, Config(), tmp_path) for program in programs], jobs=1)
    assert str(caught.value).splitlines()[1:] == [
        f"{programs[0]}: error: full disk",
        f"{programs[1]}: exit status -9",
    ]
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
@pytest.mark.parametrize("number", [signal.SIGINT, 9])
def test_runs_end_with_the_benchmark(tmp_path, number):
    """Catches trainings that continue, so that the same command cannot resume them."""
    program = (
        "import pathlib, sys, unittest.mock\n"
        "from benchmarks import runs\n"
        "from fast_weights.experiment.config import Config\n"
        "wait = 'import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text("
        "str(os.getpid())); time.sleep(60)'\n"
        "runs.Run.command = [sys.executable, '-c', wait, sys.argv[1]]\n"
        "run = runs.Run('wait', Config(), pathlib.Path(sys.argv[1]))\n"
        "runs.run_main(lambda: runs.run_all([run]))\n"
    )
    pid_path = tmp_path / "pid"
    command = [sys.executable, "-c", program, str(pid_path)]
    benchmark = subprocess.Popen(command, cwd=runs.ROOT)
    while not pid_path.exists() or not pid_path.read_text():
        time.sleep(0.05)
    benchmark.send_signal(number)
    assert benchmark.wait(timeout=5) == (130 if number == signal.SIGINT else -number)
    deadline = time.monotonic() + 5
    while pathlib.Path(f"/proc/{pid_path.read_text()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_command_gives_every_setting(tmp_path):
    """Catches a run that `train.py` would resume with the settings of an earlier one."""
    config = Config(model_name="GRU-LN", seed=3, learning_rate=1e-3, shuffle=True)
    command = runs.Run("name", config, tmp_path, "--over_the_batch").command
    settings = {
        f"--{name}={value}"
        for name, value in dataclasses.asdict(config).items()
        if value is not None
    }
    assert {*settings, "--over_the_batch", f"--checkpoint_dir={tmp_path}"} < set(command)


def record(epoch, seconds=1.0):
    return EpochRecord(epoch, 1.0, 0.5, 1.0, 0.5, 1.0, seconds)


def test_progress_table(tmp_path):
    """Catches an estimate from the first epoch, which compiles, and one that ignores jobs."""
    first, second = (runs.Run(name, Config(num_epochs=101), tmp_path / name) for name in "ab")
    first.run_dir.path.mkdir(parents=True)
    table = runs.RunsTable([first, second], jobs=2)
    states = []
    for epoch, seconds in ((1, 900), (2, 4)):
        results.append(first.run_dir.results_path, record(epoch, seconds))
        lines = table._lines(waiting=[second], running={first}, failed=set())
        states.append([line.rsplit("  ", 1)[-1].strip() for line in lines])
    # 99 and 101 epochs of 4 seconds, two runs at a time.
    assert states == [["starting", "waiting", "?"], ["7 min", "waiting", "about 7 min left"]]


def test_short_reproduction_spares_the_committed_results(tmp_path, monkeypatch):
    """Catches a trial that overwrites records, figures or bundled weights of 1000 epochs."""
    saved = []
    monkeypatch.setattr(sys, "argv", ["", "--models=CONTROL", "--seeds=0,1", "--num_epochs=2"])
    monkeypatch.setattr(reproduce_blog, "ROOT", tmp_path)
    monkeypatch.setattr(reproduce_blog, "run_all", lambda runs, jobs: None)
    monkeypatch.setattr(runs.Run, "save", lambda run, path: saved.append((run.name, path)))
    monkeypatch.setattr(runs.Run, "records", lambda run, path: [record(1), record(2)])
    reproduce_blog.main()
    output_dir = tmp_path / "figures/blog-2"
    assert saved == [(f"CONTROL-seed{seed}", output_dir / "results") for seed in (0, 1)]
    assert sorted(tmp_path.rglob("*.png")) == sorted(output_dir.glob("*.png")) != []


@pytest.mark.parametrize(
    "benchmark",
    [
        ablations,
        harder_than_paper,
        long_sequences,
        recall,
        recurrences,
        reproduce_paper,
        sequence_length,
    ],
)
def test_figures(tmp_path, monkeypatch, benchmark):
    """Catches a figure that can no longer be drawn from the committed records."""
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    assert benchmark.draw().stat().st_size > 10_000


def test_error_of_the_best_validation_epoch():
    """Catches an error that is chosen on the test sequences, or of the last epoch."""
    record = {"val_accuracy": [0.5, 0.9, 0.9, 0.8], "val_loss": [2.0, 0.7, 0.6, 0.9]}
    record["test_accuracy"] = [0.4, 0.95, 0.75, 1.0]
    assert reproduce_paper.test_error(record) == 25


def test_paper_is_trained_again(tmp_path, monkeypatch):
    """Catches a reproduction that trains nothing because the records are committed."""
    trained = []
    monkeypatch.setattr(reproduce_paper, "PATH", tmp_path / "paper.jsonl")
    monkeypatch.setattr(reproduce_paper, "run_all", lambda runs, jobs, on_end: trained.append(runs))
    first, second = reproduce_paper.tuning_runs(["LSTM"])[:2]
    reproduce_paper.PATH.write_text(json.dumps({"name": first.name}))
    for only_missing in (False, True):
        reproduce_paper.train([first, second], None, only_missing)
    assert trained == [[first, second], [second]]


def test_models_of_recall_have_equal_parameters():
    """Catches a comparison of models of different sizes under the name of equal ones."""
    target = recall.num_parameters("RNN-LN-FW, original", recall.UNITS)
    for label, units in recall.EQUAL_PARAMETERS.items():
        assert recall.num_parameters(label, units) == pytest.approx(target, rel=0.025)


def test_variants():
    """Catches a patch that has no effect because the patched name has moved."""
    layer, inputs = FastWeights(4), np.random.default_rng(0).normal(size=(6, 5, 3))
    default = np.array(layer(inputs))
    with variants.patch("--over_the_batch"):
        whole, half = np.array(layer(inputs)), np.array(layer(inputs[:3]))
    assert not np.allclose(whole[:3], half)
    with variants.patch("--without_layer_norm"):
        unnormalized = np.array(layer(inputs))
        assert not scan.SLOPES  # the backend differentiates the variant
    assert not np.allclose(unnormalized, default)
    np.testing.assert_array_equal(layer(inputs), default)


def test_compiled_steps(tiny_config):
    """Catches a speed test that the training program has outgrown."""
    split = dataset.generate(tiny_config).training
    batches = tasks.batches(split, tiny_config.batch_size)
    assert training_speed.compiled_steps(build_layer(tiny_config), tiny_config, batches)(3) > 0


def test_sequences_of_the_classifier():
    """Catches a wrong label, a token in the padding, and lengths or ages that tell the label."""
    tokens, labels = classifier.sequences(2_000, seed=0)
    lengths = (tokens > 0).sum(axis=1)
    assert (tokens[np.arange(2_000), lengths - 1] > 0).all()
    assert (lengths.min(), lengths.max()) == (classifier.SHORTEST, classifier.LONGEST)
    np.testing.assert_array_equal((tokens == classifier.TOKEN).sum(axis=1), labels)
    assert labels.mean() == 0.5
    positions = np.argmax(tokens == classifier.TOKEN, axis=1)[labels == 1] / lengths[labels == 1]
    assert abs(positions.mean() - 0.5) < 0.05
    assert abs(lengths[labels == 1].mean() - lengths[labels == 0].mean()) < 5


def test_run_of_the_classifier(monkeypatch):
    """Catches a run that ignores its setting, and one that its record does not identify."""
    monkeypatch.setattr(classifier, "SHORTEST", 10)
    monkeypatch.setattr(classifier, "LONGEST", 30)
    monkeypatch.setattr(classifier, "NUM_VALIDATION", 64)
    setting = classifier.Setting("FastWeights", 1.0, (("decay_rate", 0.5),))
    model = classifier.make_model(setting, units=5)
    record = classifier.train(setting, 3, num_training=64, num_epochs=2, units=5, ages=(0, 20))
    assert model.layers[1].decay_rate == 0.5
    assert 0.9 < np.abs(model.layers[0](np.arange(1, 100))).max() <= 1
    assert classifier.run_of(json.loads(json.dumps(record))) == (setting, 3)
    assert len(record["val_accuracy"]) == 2
    assert record["effects"][0] > record["effects"][1]
