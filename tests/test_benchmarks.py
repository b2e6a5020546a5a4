"""The benchmarks: how a study runs, and what is their own."""

import argparse
import dataclasses
import functools
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import (
    classifier,
    fill_pages,
    recall,
    reproduce_blog,
    runs,
    sequence_length,
    study,
    tables,
    training_speed,
)
from benchmarks.study import Measurement, Study
from fast_weights.experiment import results
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

FLAGS = argparse.Namespace(jobs=1, missing=False)


def test_script_runs_from_any_directory(tmp_path):
    """Catches a script that finds the project only from its root."""
    command = [sys.executable, str(runs.ROOT / "benchmarks/reproduce_blog.py"), "--help"]
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0


@pytest.fixture
def tiny_study(tmp_path, monkeypatch):
    """Returns a function that makes a study of some runs in a temporary directory."""
    monkeypatch.setattr(runs, "DATA_DIR", tmp_path / "data")

    def make(configs, **settings):
        made = Study(
            "Trains.",
            "tiny",
            tmp_path / "docs/results",
            checkpoint_dir=tmp_path / "checkpoints",
            **settings,
        )
        for name, config in configs.items():
            made.add(name, config)
        return made

    return make


def test_study_is_run_recorded_drawn_and_tabulated(tiny_study, tiny, tmp_path, capsys):
    """Catches a record or a row that is not the run's, and a run that does not resume."""
    columns = ("val_accuracy", "train_loss")
    tiny_study({"a": tiny(num_epochs=1)}, columns=columns).run(FLAGS)
    longer = tiny_study({"a": tiny(num_epochs=2)}, columns=columns)
    (first,) = longer.runs["a"].epochs()

    @longer.figure("curve.png", 3, 2)
    def draw(figure):
        figure.subplots().plot(longer["a"]["val_accuracy"])

    capsys.readouterr()
    longer.run(FLAGS)
    epochs = longer.runs["a"].epochs()
    assert epochs[0] == first  # with its time, so it was not trained again
    (line,) = longer.path.read_text().splitlines()
    record = json.loads(line)
    assert Config(**{name: record[name] for name in vars(tiny())}) == tiny(num_epochs=2)
    for name in columns:
        expected = [getattr(epoch, name) for epoch in epochs]
        np.testing.assert_allclose(record[name], expected, atol=1e-6)
    assert (tmp_path / "docs/curve.png").exists()
    best = f"{max(epoch.val_accuracy for epoch in epochs):.2%}"
    assert f"| a | - | - | {best} | - | " in capsys.readouterr().out


def test_missing(tiny_study, tiny, monkeypatch):
    """Catches a reproduction that trains nothing because records are committed."""
    trained = []
    configs = {"a": tiny(), "b": tiny(seed=3)}
    whole = tiny_study(configs, columns=("val_accuracy",))
    whole.save("a", {"name": "a", "val_accuracy": [0.5], "seconds": 1.0})
    monkeypatch.setattr(
        study, "run_all", lambda todo, jobs, on_end: trained.append([run.name for run in todo])
    )
    for missing in (False, True):
        with pytest.raises(UserError):  # b has no record in the end
            whole.run(argparse.Namespace(jobs=None, missing=missing))
    assert trained == [["a", "b"], ["b"]]


def test_quick_spares_the_records(tiny_study, tiny, monkeypatch):
    """Catches a trial that is recorded, and one that trains the whole study."""
    trained = []
    quick = tiny_study({"q": tiny()}, columns=("val_accuracy",))
    whole = tiny_study({"a": tiny()}, columns=("val_accuracy",), quick=quick)
    monkeypatch.setattr(
        study, "run_all", lambda todo, jobs, on_end: trained.append([run.name for run in todo])
    )
    with pytest.raises(UserError):  # q has no record in the end
        whole.run(whole.parser().parse_args(["--quick"]))
    assert trained == [["q"]]


def test_short_reproduction_spares_the_committed_results(tmp_path, monkeypatch):
    """Catches a trial that overwrites records, figures or bundled weights of 1000 epochs."""
    monkeypatch.setattr(reproduce_blog, "ROOT", tmp_path)
    short = reproduce_blog.BlogStudy([("CONTROL", 0), ("CONTROL", 1)], num_epochs=2)
    for run in short.runs.values():
        assert run.checkpoint_dir == tmp_path / "checkpoints/blog-2"
        run.run_dir.write_config(run.config)
        for epoch in (1, 2):
            results.append(run.run_dir.results_path, record(epoch))
        short.record(run)  # without weights, it could not bundle them
    short.end()
    output_dir = tmp_path / "figures/blog-2"
    assert len(list(output_dir.glob("results/*.json*"))) == 4
    assert sorted(tmp_path.rglob("*.png")) == sorted(output_dir.glob("*.png")) != []


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of a measurement."""

    sizes: tuple[int, ...]
    is_new: bool = False


def test_measurement(tmp_path):
    """Catches a case that is measured again or lost, and an old record without a new field."""
    measured = []

    def measure(case):
        measured.append(case)
        return {"sum": sum(case.sizes)}

    cases = [Case((1, 2)), Case((3, 4)), Case((3, 4), is_new=True)]
    make = functools.partial(Measurement, "Adds.", "sums", tmp_path / "results")
    old = {"sizes": [1, 2], "sum": 30}
    make().path.parent.mkdir()
    make().path.write_text(f"{json.dumps(old)}\n")
    make(cases=cases, measure=measure).run(argparse.Namespace(missing=True))
    assert measured == cases[1:]
    again = make(cases=cases, measure=measure)
    assert [again[case]["sum"] for case in cases] == [30, 7, 7]
    again.run(FLAGS)
    assert [json.loads(line)["sum"] for line in again.path.read_text().splitlines()] == [3, 7, 7]


# In these tests, a run executes the program that is its name.
@pytest.fixture
def execute_name(monkeypatch):
    command = property(lambda run: [sys.executable, "-c", run.name])
    monkeypatch.setattr(runs.Run, "command", command)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_failed_runs_are_reported(tmp_path, execute_name):
    """Catches a failure that is lost, and one that keeps the next run from starting."""
    programs = [
        "import sys; sys.exit('error: full disk')",
        "import os; os.kill(os.getpid(), 9)",
        f"open({str(tmp_path / 'done')!r}, 'w')",
    ]
    todo, ended = [runs.Run(program, Config(), tmp_path) for program in programs], []
    with pytest.raises(UserError) as caught:
        runs.run_all(todo, jobs=1, on_end=lambda run: ended.append(run.name))
    assert str(caught.value).splitlines()[1:] == [
        f"{programs[0]}: error: full disk",
        f"{programs[1]}: exit status -9",
    ]
    assert ended == programs[2:]
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
@pytest.mark.parametrize("number", [signal.SIGINT, 9])
def test_runs_end_with_the_benchmark(tmp_path, number):
    """Catches trainings that continue, so that the same command cannot resume them."""
    program = (
        "import pathlib, sys\n"
        "from benchmarks import runs, study\n"
        "from fast_weights.experiment.config import Config\n"
        "wait = 'import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text("
        "str(os.getpid())); time.sleep(60)'\n"
        "runs.Run.command = [sys.executable, '-c', wait, sys.argv[1]]\n"
        "run = runs.Run('wait', Config(), pathlib.Path(sys.argv[1]))\n"
        "study.run_main(lambda: runs.run_all([run]))\n"
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
    command = runs.Run("name", config, tmp_path).command
    settings = {f"--{name}={value}" for name, value in vars(config).items() if value is not None}
    assert {*settings, f"--checkpoint_dir={tmp_path}"} < set(command)


def record(epoch, seconds=1.0):
    return EpochRecord(epoch, 1.0, 0.5, 1.0, 0.5, 1.0, seconds)


def test_progress(tmp_path):
    """Catches an estimate from the first epoch, which compiles, and one that ignores jobs."""
    first, second = (runs.Run(name, Config(num_epochs=101), tmp_path / name) for name in "ab")
    first.run_dir.path.mkdir(parents=True)
    lines = []
    for epoch, seconds in ((1, 900), (2, 4)):
        results.append(first.run_dir.results_path, record(epoch, seconds))
        lines.append(runs.progress([first, second], num_runs=3, jobs=2))
    # 99 and 101 epochs of 4 seconds, two runs at a time.
    assert "left" not in lines[0]
    assert "about 7 min left" in lines[1]
    assert "about 13 min left" in runs.progress([first, second], num_runs=3, jobs=1)


BENCHMARKS = [
    benchmark
    for module in fill_pages.MODULES
    for benchmark in vars(module).values()
    if isinstance(benchmark, study.Benchmark) and benchmark.drawing
]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.drawing[0])
def test_figure(benchmark):
    """Catches a figure that cannot be drawn from the committed records, and a rounded label."""
    _, width, height, draw = benchmark.drawing
    figure = style.new_figure(width, height)
    draw(figure)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.lines or axes.collections
        for tick in (*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()):
            label = tick.label1.get_text().replace("\N{MINUS SIGN}", "-")
            if label.endswith("%"):
                assert float(label[:-1]) == pytest.approx(100 * tick.get_loc())


def test_error_of_the_best_validation_epoch():
    """Catches an error that is chosen on the test sequences, or of the last epoch."""
    record = {"val_accuracy": [0.5, 0.9, 0.9, 0.8], "val_loss": [2.0, 0.7, 0.6, 0.9]}
    record["test_accuracy"] = [0.4, 0.95, 0.75, 1.0]
    assert tables.error(record) == 0.25
    assert tables.cells([{**record, "test_accuracy": [None] * 4}], ["test error"]) == ["-"]


def test_models_of_recall_have_equal_parameters():
    """Catches a comparison of models of different sizes under the name of equal ones."""
    names = [recall.TUNING["equal parameters", label][0] for label in recall.MODELS]
    numbers = [build_model(recall.STUDY.runs[name].config).count_params() for name in names]
    assert numbers == pytest.approx([numbers[0]] * len(names), rel=0.025)


def test_times_of_a_case(monkeypatch):
    """Catches a layer that cannot be measured."""
    monkeypatch.setattr(study, "ROUNDS", 2)
    layers = ("GRU", "FastWeights 2", "FastWeightsCell", "Control")
    case = sequence_length.Case(5, 3, batch=4, layers=layers, masked=True, xla=False)
    rounds = sequence_length.measure_times(case)["rounds"]
    assert [tuple(one) for one in rounds] == [layers] * 2
    assert min(min(one.values()) for one in rounds) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", training_speed.MEASURE)
def test_speed_of_training(name, tiny, monkeypatch):
    """Catches a comparison that the training program has outgrown."""
    monkeypatch.setattr(study, "ROUNDS", 2)
    monkeypatch.setattr(training_speed, "NUM_EPOCHS", 5)
    monkeypatch.setattr(training_speed, "BLOG_MODELS", ("RNN-LN-FW",))
    record = training_speed.MEASURE[name](tiny(num_training=160))
    assert record.keys() == training_speed.record_of(name).keys() - {"name"}


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
    """Catches a run that ignores its setting."""
    sizes = {"SHORTEST": 10, "LONGEST": 30, "NUM_TRAINING": 64, "NUM_VALIDATION": 64, "UNITS": 5}
    for name, size in {**sizes, "NUM_EPOCHS": 2, "AGES": (0, 20)}.items():
        monkeypatch.setattr(classifier, name, size)
    setting = classifier.Setting("FastWeights", 1.0, (("decay_rate", 0.5),), seed=3)
    model = classifier.make_model(setting)
    assert model.layers[1].decay_rate == 0.5
    assert 0.9 < np.abs(model.layers[0](np.arange(1, 100))).max() <= 1
    record = classifier.train(setting)
    assert len(record["val_accuracy"]) == 2
    assert record["effects"][0] > record["effects"][1]
