"""The scripts as a person runs them. Most tests call them in this process."""

import ast
import dataclasses
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import processes
import pytest
from processes import ROOT, TINY, WITHOUT_TENSORFLOW, assert_refused, records, run, run_directory

from fast_weights.experiment import console, evaluation, results, training
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.run_dir import RunDirectory

# What a newcomer has: TensorFlow prints all it wants.
PLAIN = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory in which `train.py` has trained a tiny RNN-LN-FW for two epochs."""
    directory = tmp_path_factory.mktemp("with spaces and ü")
    done = run("train.py", directory, *TINY, "--num_epochs=2", env=PLAIN)
    # Catches messages of TensorFlow or Keras, and control characters in a file.
    assert [line.split()[0] for line in done.stdout.splitlines()[2:4]] == ["1/2", "2/2"]
    assert not {"\r", "\x1b"} & set(done.stdout + done.stderr)
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
    return directory


@pytest.fixture
def copy(directory, tmp_path, monkeypatch):
    """A copy of that directory, which is the current one."""
    copy = shutil.copytree(directory, tmp_path / "copy")
    monkeypatch.chdir(copy)
    return copy


def test_bundled_weights_answer_samples(tmp_path):
    """Catches a first command that fails, messages of TensorFlow, and answers in another order."""
    done = run("test.py", tmp_path, "--sample=g5o8k1??g", "--sample=g5o8k1??k", env=PLAIN)
    expected = ["INPUT: g5o8k1??g", "PREDICTION: 5", "INPUT: g5o8k1??k", "PREDICTION: 1"]
    assert done.stdout.splitlines() == expected
    (note,) = done.stderr.splitlines()
    assert "train.py --model_name=RNN-LN-FW" in note
    assert list(tmp_path.iterdir()) == []


def test_train_resumes(copy, call):
    """Catches a run that starts over, and one that trains without need."""
    found = [records(run_directory(copy))]
    for _ in range(2):
        with processes.without_xla():
            call("train.py", "--num_epochs=3", "--quiet")
        found.append(records(run_directory(copy)))
    assert [record.epoch for record in found[1]] == [1, 2, 3]
    assert found[0] == found[1][:2]
    assert found[1] == found[2]


def test_flags_of_train_have_an_effect(tmp_path, monkeypatch, call):
    """Catches a flag that does not reach `train`, and a seed that shares another's directory."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def train(*args, **kwargs):
        calls.append((args, kwargs))
        raise UserError("called")

    monkeypatch.setattr(training, "train", train)
    call("train.py", status=2)
    given = {"restart": True, "summary_every": 3, "stop_at_accuracy": 0.5, "num_devices": 2}
    others = [f"--{name}={value}" for name, value in given.items()]
    others += ["--distribution_strategy=mirrored", "--data_dir=d", "--checkpoint_dir=c", "--quiet"]
    call(
        "train.py",
        "--model_name=GRU",
        "--seed=7",
        "--network=paper",
        "--units=4",
        "--init_from=another",
        *others,
        status=2,
    )
    (args, kwargs), (other_args, other_kwargs) = calls
    assert args == (Config(), RunDirectory("checkpoints", "RNN-LN-FW"), "data")
    assert (kwargs["restart"], kwargs["progress"], kwargs["num_devices"]) == (False, True, None)
    config = Config.with_defaults(
        model_name="GRU", seed=7, network="paper", units=4, init_from="another"
    )
    assert other_args == (config, RunDirectory("c", "GRU", seed=7), "d")
    assert other_kwargs == {**given, "distribution_strategy": "mirrored", "progress": False}


def test_evaluation_agrees_with_training(copy, call, monkeypatch):
    """Catches an evaluation on other sequences than in training, and an accuracy of "nan%"."""
    last = results.read(run_directory(copy).results_path)[-1]
    printed = call("test.py", "--evaluate").stdout
    assert f"{last.val_accuracy:.2%} of 40" in printed
    assert printed.count("pair ") == 2
    found = {"accuracy": 0.5, "accuracy_1": 0.25, "accuracy_2": float("nan")}
    monkeypatch.setattr(evaluation, "evaluate", lambda *args: found)
    printed = call("test.py", "--evaluate").stdout
    assert "25.00%" in printed
    assert "nan" not in printed


def test_curves_are_plotted_and_missing_models_named(copy, call, monkeypatch):
    """Catches a model that is missing without a reason, and a line that stops the plot."""
    path = run_directory(copy).results_path
    with open(path, "a") as file:
        file.write('{"epoch": 99, "train_l\n')
    monkeypatch.setenv("HOME", str(copy))
    monkeypatch.setenv("USERPROFILE", str(copy))
    done = call("plot.py", "--output_dir=~/curves", "--log_epochs")
    names = {path.name for path in (copy / "curves").iterdir()}
    assert names == {"accuracy.png", "loss.png", "gradient_norm.png"}
    assert "--model_name=GRU-LN" in done.stdout
    assert "--model_name=RNN-LN-FW" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert path.name in line


def test_sweep_is_plotted(copy, call):
    """Catches runs that are not found or look alike, and a copy of a run as a second seed."""
    source = run_directory(copy)
    for name, rate in {"a": 2e-5, "b": 1e-3, "c": 1e-4, "d": 1e-4}.items():
        run_dir = RunDirectory(f"sweep/{name}", "RNN-LN-FW")
        shutil.copytree(source.path, run_dir.path)
        run_dir.write_config(dataclasses.replace(source.read_config(), learning_rate=rate))
    call("plot.py", "--checkpoint_dir=sweep", "--format=svg")
    figure = (copy / "figures/accuracy.svg").read_text()
    labels = re.findall("<!-- RNN-LN-FW, learning_rate=(.*) -->", figure)
    assert labels == ["2e-05", "0.0001", f"0.0001, {RunDirectory('sweep/d', 'RNN-LN-FW')}", "0.001"]


@pytest.mark.parametrize(
    ("flags", "suffixes"),
    [
        (["--figure=memory", "--sample=g5o8??g"], ["-g5o8g.png", "-g5o8g.gif"]),
        (["--figure=attention", "--format=svg"], [".svg"]),
        (["--figure=weights", "--format=pdf"], [".pdf"]),
    ],
)
def test_figure_is_written(copy, call, flags, suffixes):
    """Catches a figure that is not where the script says, or under a name that others have."""
    printed = call("plot.py", *flags, "--output_dir=here").stdout.splitlines()
    for line, suffix in zip(printed, suffixes, strict=True):
        path = pathlib.Path(line.removeprefix("Wrote "))
        assert path.exists()
        assert path.parent.name == "here"
        assert "-RNN-LN-FW-seed-0-batch_size-8-" in path.name
        assert path.name.endswith(suffix)


@pytest.mark.parametrize("script", ["train.py", "test.py", "plot.py"])
def test_help_needs_no_tensorflow(tmp_path, script):
    """Catches help that takes seconds, and help without the flags of the script."""
    done = run(script, tmp_path, "--help", env=WITHOUT_TENSORFLOW)
    assert done.stderr == ""
    for name in ("checkpoint_dir", "model_name", "seed"):
        assert f"--{name}" in done.stdout
    if script == "train.py":
        assert all(f"{name}:" in done.stdout for name in Config.__dataclass_fields__)


@pytest.fixture
def early(call, tmp_path, monkeypatch):
    """Calls scripts in a directory with runs, and fails if one gets as far as TensorFlow."""
    monkeypatch.chdir(tmp_path)
    for place, name, config, checkpoint in [
        ("checkpoints/RNN-LN-FW", "seed-1", Config(), False),
        ("checkpoints/RNN-LN-FW", "previous", Config(), False),
        ("checkpoints", "RNN-LN-FW", Config(num_pairs=2, inner_steps=0), True),
        ("checkpoints", "GRU-LN", Config(), True),  # renamed
        ("recall", "RNN-LN-FW", Config(task="multi-query-recall"), False),
    ]:
        run_dir = RunDirectory(place, name)
        run_dir.write_config(config)
        if checkpoint:
            run_dir.checkpoint_path(1).touch()
    results.append(run_dir.results_path, results.EpochRecord(1, 1, 0.5, 1, 0.5, 1, 1))

    def too_early(**options):
        raise AssertionError("TensorFlow loads")

    monkeypatch.setattr(console, "quiet_import", too_early)
    return call


@pytest.mark.parametrize(
    ("script", "flag", "suggestion"),
    [
        ("train.py", "--unit=3", "units"),
        ("train.py", "--decay_rate=1.5", "[0, 1]"),
        ("test.py", "--model_name=RNN", "RNN-LN-FW"),
        ("plot.py", "--sampel=g5", "sample"),
    ],
)
def test_bad_flag_is_refused_before_tensorflow_loads(early, script, flag, suggestion):
    """Catches a flag that is ignored, and a typing error that the user must look up."""
    (line,) = early(script, flag, status=1).stderr.splitlines()
    assert flag.strip("-").partition("=")[0] in line
    assert suggestion in line.replace(flag, "")


def test_no_script_loads_tensorflow_to_refuse_a_flag(tmp_path):
    """Catches an import at the top of a module, which the other tests of errors do not see."""
    done = run("plot.py", tmp_path, "--figure=memory", "--seed=3", status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, "train.py --model_name=RNN-LN-FW --seed=3")


@pytest.mark.parametrize("script", ["test.py", "plot.py"])
@pytest.mark.parametrize("sample", ["g5o8k1??g", "g5o8??z", ""])
def test_bad_sample_is_refused_before_tensorflow_loads(early, script, sample):
    """Catches a sample that the model was not trained on, and an answer before the error."""
    flags = ["--sample=g5o8??g"] if script == "test.py" else ["--figure=memory"]
    done = early(script, *flags, f"--sample={sample}", status=2)
    assert_refused(done, repr(sample))
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("train.py", ["RNN-LN"], ["RNN-LN"]),
        ("train.py", ["--units=6"], ["units=6", "--checkpoint_dir"]),  # of another run
        ("test.py", ["--seed=2"], ["train.py --model_name=RNN-LN-FW --seed=2"]),
        ("test.py", ["--evaluate", "--sample=g5o8??g"], ["--evaluate", "--sample"]),
        ("test.py", ["--evaluate", "--split=test"], ["--num_test"]),
        ("test.py", ["--model_name=GRU-LN"], ["--model_name=RNN-LN-FW"]),
        ("test.py", ["--checkpoint_dir=checkpoints/RNN-LN-FW"], ["/checkpoints\n"]),
        ("test.py", ["--checkpoint_dir=checkpoints/RNN-LN-FW/seed-1"], ["/checkpoints\n"]),
        ("test.py", ["--checkpoint_dir=checkpoints/RNN-LN-FW/previous"], ["=DIRECTORY\n"]),
        ("test.py", ["--checkpoint_dir=recall"], ["recall", "train.py --model_name=RNN-LN-FW"]),
        ("plot.py", ["--checkpoint_dir=recall", "--figure=memory"], ["recall", "train.py"]),
        ("plot.py", ["--checkpoint_dir=recall", "--with_bundled"], ["--with_bundled"]),
        ("plot.py", [], ["train.py --model_name=RNN-LN-FW"]),  # both runs are in their first epoch
        ("plot.py", ["--figure=attention"], ["inner_steps=0"]),
        ("plot.py", ["--sample=g5o8k1??g"], ["--sample", "--figure=memory"]),
        ("plot.py", ["--figure=memory", "--model_name=CONTROL"], ["--model_name=CONTROL"]),
    ],
)
def test_mistake_is_refused_before_tensorflow_loads(early, script, flags, words):
    """Catches flags that contradict each other or the run, and one that has no effect."""
    assert_refused(early(script, *flags, status=2), *words)


def test_missing_package_is_named(tmp_path):
    """Catches a traceback outside the virtual environment, and packages named one by one."""
    command = [sys.executable, "-S", ROOT / "train.py"]  # without site-packages
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert "keras, matplotlib" in line
    assert "requirements.txt" in line


def test_old_python_is_named(monkeypatch):
    """Catches a check of the version after, or in, code that an old version cannot read."""
    for pattern in ("*.py", "fast_weights/*.py", "fast_weights/experiment/[_r]*.py"):
        for path in ROOT.glob(pattern):
            ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    for script in ("train.py", "test.py", "plot.py"):
        monkeypatch.delitem(sys.modules, "fast_weights.experiment.requirements", raising=False)
        with pytest.raises(SystemExit, match=r"3\.9"):
            runpy.run_path(str(ROOT / script))


@pytest.mark.slow
def test_surroundings_do_not_matter(directory, tmp_path):
    """Catches a letter that the locale lacks, a missing home, and another backend of Keras."""
    surroundings = {"PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    surroundings |= {"HOME": "/dev/null/home", "TMPDIR": "/dev/null/tmp", "TERM": "dumb"}
    surroundings |= {"KERAS_BACKEND": "jax", "MPLBACKEND": "TkAgg", "TF_NUM_INTRAOP_THREADS": "1"}
    env = {**PLAIN, **surroundings}
    run("train.py", tmp_path, *TINY, "--num_epochs=2", "--quiet", env=env)
    assert processes.checkpoint_arrays(run_directory(tmp_path)) == processes.checkpoint_arrays(
        run_directory(directory)
    )
    run("test.py", tmp_path, env=env)
    run("plot.py", tmp_path, "--figure=memory", env=env)
