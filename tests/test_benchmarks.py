"""The benchmarks: how a study runs, and what is their own."""

import argparse
import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl.flags import FLAGS

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
from benchmarks.study import Benchmark, Measurement, Study
from fast_weights.experiment import console, results
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

WHOLE, MISSING = (argparse.Namespace(jobs=1, missing=missing) for missing in (False, True))


def test_study_is_run_recorded_drawn_and_tabulated(tiny, tmp_path, monkeypatch, capsys):
    """Catches a record or a row of another run, and a run that is not recorded or trained twice."""
    trained = []

    def train(run, has_all_cores):
        trained.append(run.config)
        run.run_dir.path.mkdir(parents=True, exist_ok=True)
        results.append(run.run_dir.results_path, record(1, accuracy=0.5 + run.config.seed / 10))

    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "_train", train)
    cases, results_dir = [tiny(seed=1), tiny(seed=3)], tmp_path / "docs/results"
    for number in (1, 2):
        columns = ("val_accuracy", "train_loss")
        made = Study("Trains.", "tiny", cases[:number], results_dir, columns=columns)
        made.figure("curve.png", 3, 2)(lambda figure: figure.subplots().plot([1, 2]))
        made.run(MISSING)
    assert trained == cases
    assert f"| {study.name_of(cases[1])} | 1 | - | 80.00% | - | 0.0 |" in capsys.readouterr().out
    read = map(json.loads, made.path.read_text().splitlines())
    results_of_runs = {"train_loss": [1.25], "seconds": 1.0}
    assert list(read) == [
        {**vars(case), "val_accuracy": [accuracy], **results_of_runs}
        for case, accuracy in zip(cases, (0.6, 0.8), strict=True)
    ]
    assert (tmp_path / "docs/curve.png").exists()
    made.run(WHOLE)
    assert trained == [*cases, *cases]


def test_names_of_runs():
    """Catches two runs in one directory."""
    cases = [case for one in BENCHMARKS if isinstance(one, Study) for case in one.cases]
    assert len(set(map(study.name_of, cases))) == len(set(cases))
    case = Config.with_defaults(network="paper", model_name="LSTM", units=20, seed=4)
    assert study.name_of(case) == "LSTM-units-20-seed4"


def test_reproduction_of_the_blog(tmp_path, monkeypatch):
    """Catches lost files, settings of another run, and curves without the other recorded runs."""
    monkeypatch.setattr(reproduce_blog, "ROOT", tmp_path)
    monkeypatch.setattr(reproduce_blog, "plot_curves", lambda found, output_dir: [found])
    blog = reproduce_blog.BlogStudy("", "blog", [Config(seed=8), Config(seed=9)], tmp_path / "made")
    for case, run in blog.runs.items():
        run.run_dir.write_config(case)
        results.append(run.run_dir.results_path, record(1, accuracy=case.seed / 10))
        blog.record(run)
    del blog.records  # they are read again
    assert [blog[case]["val_accuracy"] for case in blog.cases] == [[0.8], [0.9]]
    assert [blog.case_of(blog[case]) for case in blog.cases] == blog.cases
    (found,) = blog.draw()
    assert {name: len(seeds) for name, seeds in found.items()} == {
        "RNN-LN-FW": 3,
        "GRU-LN": 3,
        "RNN-LN": 7,
        "CONTROL": 3,
    }


def test_quick_reproduction_spares_the_records():
    """Catches a trial that overwrites records, figures or bundled weights of 1000 epochs."""
    flags = argparse.Namespace(models="CONTROL,GRU", seeds="0,1", quick=True)
    quick = reproduce_blog.requested(flags)
    assert study.RESULTS_DIR not in quick.path.parents
    assert not quick.bundled
    flags.quick = False
    assert [(case.model_name, case.seed) for case in reproduce_blog.requested(flags).cases] == [
        ("CONTROL", 0),
        ("GRU", 0),
        ("CONTROL", 1),
        ("GRU", 1),
    ]


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of a measurement."""

    sizes: tuple[int, ...]
    is_new: bool = False


def test_measurement(tmp_path):
    """Catches a case that is measured again or lost, and an old record without a new field."""
    cases = [Case((1, 2)), Case((3, 4)), Case((3, 4), is_new=True)]

    def make():
        return Measurement("", "sums", cases, tmp_path, measure=lambda case: {"s": sum(case.sizes)})

    make().path.write_text('{"sizes": [1, 2], "s": 30}\n')
    make().run(MISSING)
    again = make()
    assert [again[case]["s"] for case in cases] == [30, 7, 7]
    again.run(WHOLE)
    assert [json.loads(line)["s"] for line in again.path.read_text().splitlines()] == [3, 7, 7]


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
def test_runs_end_with_the_benchmark(tmp_path):
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
    benchmark.send_signal(signal.SIGINT)
    assert benchmark.wait(timeout=5) == 130
    deadline = time.monotonic() + 5
    while pathlib.Path(f"/proc/{pid_path.read_text()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_command_gives_every_setting(tmp_path, execute, monkeypatch):
    """Catches a run that `train.py` refuses, or resumes with the settings of an earlier one."""
    config = Config(model_name="GRU-LN", seed=3, learning_rate=1e-3, shuffle=True)
    monkeypatch.setattr(console, "run", lambda *args, **kwargs: None)
    execute("train.py")
    FLAGS(runs.Run("name", config, tmp_path, stop_at_accuracy=0.5).command[1:])
    assert {name: FLAGS[name].value for name in vars(config)} == vars(config)
    assert FLAGS["checkpoint_dir"].value == str(tmp_path)
    assert FLAGS["stop_at_accuracy"].value == 0.5


def record(epoch, seconds=1.0, accuracy=0.5):
    return EpochRecord(epoch, 1.25, 0.25, 1.5, accuracy, 1.0, seconds)


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
    if isinstance(benchmark, Benchmark)
]


@pytest.mark.parametrize(
    "drawing",
    [drawing for benchmark in BENCHMARKS for drawing in benchmark.drawings],
    ids=lambda drawing: drawing[0],
)
def test_figure(drawing):
    """Catches a figure that cannot be drawn from the committed records, and a rounded label."""
    _, width, height, draw = drawing
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
    cases = [recall.TUNING["equal parameters", label][0] for label in recall.MODELS]
    numbers = [build_model(case).count_params() for case in cases]
    assert numbers == pytest.approx([numbers[0]] * len(cases), rel=0.025)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"layers": ("FastWeightsCell", "FastWeights 2")}, marks=pytest.mark.slow),
        {"layers": ("GRU",), "step": "fit", "masked": True, "xla": False, "num_lengths": 2},
    ],
)
def test_times_of_a_case(monkeypatch, settings):
    """Catches a layer that cannot be measured."""
    monkeypatch.setattr(study, "ROUNDS", 1)
    case = sequence_length.Case(5, 3, batch=4, **settings)
    (times,) = sequence_length.measure_times(case)["rounds"]
    assert tuple(times) == case.layers
    assert min(times.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", training_speed.MEASURE)
def test_speed_of_training(case, tiny, monkeypatch):
    """Catches a comparison that the training program has outgrown."""
    monkeypatch.setattr(study, "ROUNDS", 2)
    monkeypatch.setattr(training_speed, "NUM_EPOCHS", 5)
    monkeypatch.setattr(training_speed, "BLOG_MODELS", ("RNN-LN-FW",))
    record = training_speed.MEASURE[case](tiny(num_training=160))
    assert record.keys() == training_speed.BENCHMARK[case].keys() - {"name"}


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


@pytest.mark.slow
def test_run_of_the_classifier(monkeypatch):
    """Catches a run that ignores its setting."""
    for name, size in {"NUM_TRAINING": 64, "NUM_VALIDATION": 64, "NUM_EPOCHS": 2}.items():
        monkeypatch.setattr(classifier, name, size)
    setting = classifier.Setting("FastWeights", 1.0, (("decay_rate", 0.5),), seed=3)
    model = classifier.make_model(setting)
    assert model.layers[1].decay_rate == 0.5
    assert 0.9 < np.abs(model.layers[0](np.arange(1, 100))).max() <= 1
    record = classifier.train(setting)
    assert len(record["val_accuracy"]) == 2
    assert record["effects"][0] > record["effects"][1]
