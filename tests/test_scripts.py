"""The scripts as a person runs them, each in a process of its own."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import matplotlib
import pytest
from processes import (
    ROOT,
    TINY,
    WITHOUT_TENSORFLOW,
    assert_refused,
    checkpoint_arrays,
    records,
    run,
    run_directory,
)

from fast_weights.experiment import results
from fast_weights.experiment.config import Config
from fast_weights.experiment.run_dir import RunDirectory

# Of `TINY`, in the name of a figure.
SETTINGS = "batch_size-8-units-5-num_pairs-2-num_training-100-num_valida-f215903e"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory in which `train.py` has trained a tiny RNN-LN-FW for two epochs."""
    directory = tmp_path_factory.mktemp("with spaces and ü")
    done = run("train.py", directory, *TINY, "--num_epochs=2")
    rows = [line.split()[:1] for line in done.stdout.splitlines()]
    assert ["1/2"] in rows
    assert ["2/2"] in rows
    assert not {"\r", "\x1b"} & set(done.stdout + done.stderr)
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
    return directory


@pytest.fixture
def copy(directory, tmp_path):
    """A copy of that directory, to be changed."""
    return shutil.copytree(directory, tmp_path / "copy")


@pytest.mark.slow
def test_train_restarts(copy):
    """Catches the flag without effect."""
    run("train.py", copy, *TINY, "--restart", "--num_epochs=1", "--units=4")
    run_dir = run_directory(copy)
    assert [record.epoch for record in records(run_dir)] == [1]
    assert run_dir.read_config().units == 4


@pytest.mark.slow
def test_seed_is_a_run_of_its_own(copy):
    """Catches a seed that continues another's run, or that cannot be queried."""
    before = checkpoint_arrays(run_directory(copy))
    run("train.py", copy, *TINY, "--seed=7", "--num_epochs=1", "--quiet")
    assert [record.epoch for record in records(run_directory(copy, seed=7))] == [1]
    assert checkpoint_arrays(run_directory(copy)) == before
    run("test.py", copy, "--seed=7", "--sample=g5o8??g")


@pytest.mark.slow
def test_complete_run_without_records_is_reported(copy):
    """Catches a traceback after the results were deleted."""
    run_dir = run_directory(copy)
    run_dir.results_path.unlink()
    num_epochs = run_dir.checkpoint_epochs()[0]
    done = run("train.py", copy, f"--num_epochs={num_epochs}", "--quiet")
    assert str(num_epochs) in done.stdout


def test_evaluation_agrees_with_training(directory):
    """Catches an evaluation on other sequences, or of another model, than in training."""
    done = run("test.py", directory, "--evaluate")
    last = results.read(run_directory(directory).results_path)[-1]
    assert f"{last.val_accuracy:.2%} of 40" in done.stdout
    assert "pair 2: " in done.stdout


@pytest.mark.slow
def test_pair_without_a_query_has_no_accuracy(tmp_path):
    """Catches an accuracy of "nan%"."""
    flags = [*TINY, "--num_validation=8", "--num_pairs=20", "--num_epochs=1"]
    run("train.py", tmp_path, *flags)
    done = run("test.py", tmp_path, "--evaluate")
    assert "nan" not in done.stdout
    assert done.stdout.count("\n") == 21


def test_curves_are_plotted_and_missing_models_named(directory):
    """Catches a model that is missing without a reason, and a line that stops the plot."""
    path = run_directory(directory).results_path
    with open(path, "a") as file:
        file.write('{"epoch": 99, "train_l\n')
    # Matplotlib would build its font cache again in another home.
    home = {"HOME": str(directory), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    flags = ("--output_dir=~/curves", "--log_epochs")
    done = run("plot.py", directory, *flags, env={**os.environ, **home})
    for name in ("accuracy", "loss", "gradient_norm"):
        assert (directory / "curves" / f"{name}.png").exists()
    assert "--model_name=GRU-LN" in done.stdout
    assert "--model_name=RNN-LN-FW" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert path.name in line


def test_sweep_is_plotted(directory, tmp_path):
    """Catches runs in directories of a sweep that are not found, or that look alike."""
    source = run_directory(directory)
    for rate in (2e-5, 1e-3, 1e-4):
        run_dir = RunDirectory(tmp_path / f"sweep/{rate}", "RNN-LN-FW")
        shutil.copytree(source.path, run_dir.path)
        run_dir.write_config(dataclasses.replace(source.read_config(), learning_rate=rate))
    run("plot.py", tmp_path, "--checkpoint_dir=sweep", "--format=svg")
    figure = (tmp_path / "figures/accuracy.svg").read_text()
    labels = re.findall("<!-- RNN-LN-FW, learning_rate=(.*) -->", figure)
    assert labels == ["2e-05", "0.0001", "0.001"]


def test_repeated_run_is_not_a_second_seed(directory, tmp_path):
    """Catches the band of two seeds around two copies of one run."""
    for name in ("one", "two"):
        path = RunDirectory(tmp_path / name, "RNN-LN-FW").path
        shutil.copytree(run_directory(directory).path, path)
    run("plot.py", tmp_path, f"--checkpoint_dir={tmp_path}", "--format=svg")
    figure = (tmp_path / "figures/accuracy.svg").read_text()
    assert "2 seeds" not in figure
    assert f"<!-- RNN-LN-FW, {tmp_path}/two/RNN-LN-FW -->" in figure


def test_bundled_records_of_another_task_are_refused(tmp_path):
    """Catches curves of two tasks in one figure."""
    run_dir = run_directory(tmp_path)
    run_dir.path.mkdir(parents=True)
    run_dir.write_config(Config(task="multi-query-recall"))
    results.append(run_dir.results_path, results.EpochRecord(1, 1, 0.5, 1, 0.5, 1, 1))
    done = run("plot.py", tmp_path, "--with_bundled", status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, "multi-query-recall", "--with_bundled")


@pytest.mark.parametrize("script", ["test.py", "plot.py"])
def test_run_without_a_checkpoint_is_not_taken_for_the_bundled_one(tmp_path, script):
    """Catches the bundled weights under the name of a run that ended in its first epoch."""
    run_dir = run_directory(tmp_path)
    run_dir.path.mkdir(parents=True)
    run_dir.write_config(Config(num_pairs=4))
    flags = ["--figure=memory"] if script == "plot.py" else []
    done = run(script, tmp_path, *flags, status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, str(run_dir.path), "train.py --model_name=RNN-LN-FW")


def test_run_in_its_first_epoch_is_not_plotted(tmp_path):
    """Catches a traceback at an empty file of results."""
    path = tmp_path / "checkpoints/GRU-LN"
    path.mkdir(parents=True)
    (path / "results.jsonl").touch()
    assert_refused(run("plot.py", tmp_path, status=2, env=WITHOUT_TENSORFLOW), "no results")


@pytest.mark.parametrize("script", ["test.py", "plot.py"])
def test_renamed_directory_is_reported(copy, script):
    """Catches a run that is presented as another model."""
    checkpoints = copy / "checkpoints"
    shutil.copytree(checkpoints / "RNN-LN-FW", checkpoints / "GRU-LN")
    done = (
        run(script, copy, "--model_name=GRU-LN", status=2)
        if script == "test.py"
        else (run(script, copy, status=2))
    )
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert "RNN-LN-FW" in error


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (
            ["--figure=memory", "--sample=g5o8??g"],
            [f"memory-RNN-LN-FW-seed-0-{SETTINGS}-g5o8g.{end}" for end in ("gif", "png")],
        ),
        pytest.param(
            ["--figure=attention", "--format=svg"],
            [f"attention-RNN-LN-FW-seed-0-{SETTINGS}.svg"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--figure=weights", "--format=pdf"],
            [f"weights-RNN-LN-FW-seed-0-{SETTINGS}.pdf"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_figure_is_written(directory, tmp_path, flags, names):
    """Catches a figure that needs a display, or that is not where the script says."""
    done = run("plot.py", directory, *flags, f"--output_dir={tmp_path}")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert str(tmp_path / name) in done.stdout


@pytest.mark.parametrize("script", ["train.py", "test.py", "plot.py"])
def test_help_needs_no_tensorflow(tmp_path, script):
    """Catches help that takes seconds, and help without the flags of the script."""
    done = run(script, tmp_path, "--help", status=1, env=WITHOUT_TENSORFLOW)
    assert done.stderr == ""
    for name in ("--checkpoint_dir", "--model_name", "--seed"):
        assert name in done.stdout
    if script == "train.py":
        assert all(f"{field}:" in done.stdout for field in Config.__dataclass_fields__)


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("train.py", "--unit=3"),
        ("train.py", "--units=x"),
        ("train.py", "--decay_rate=1.5"),
        ("train.py", "--model_name=RNN"),
        ("train.py", "--summary_every=0"),
        ("test.py", "--seed=-1"),
        ("plot.py", "--figure=other"),
        ("plot.py", "--format=gif"),
    ],
)
def test_bad_flag_is_refused_before_tensorflow_loads(tmp_path, script, flag):
    """Catches a flag that is ignored, and a typing error that is reported after seconds."""
    done = run(script, tmp_path, flag, status=1, env=WITHOUT_TENSORFLOW)
    assert flag.partition("=")[0].strip("-") in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("test.py", ["--sample=g5o8k1??g"]),
        ("test.py", ["--sample=g5o8??g", "--sample=g5o8??z"]),
        ("test.py", ["--sample="]),
        ("plot.py", ["--figure=memory", "--sample=g5o8??1"]),
    ],
)
def test_bad_sample_is_refused_before_tensorflow_loads(directory, script, flags):
    """Catches a sample that the model was not trained on, and an answer before the error."""
    done = run(script, directory, *flags, status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, repr(flags[-1].removeprefix("--sample=")))
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("train.py", ["--batch_size=200", "--num_training=100"], ["num_training=100"]),
        ("train.py", ["RNN-LN"], ["RNN-LN"]),
        ("test.py", ["--seed=2"], ["train.py --model_name=RNN-LN-FW --seed=2"]),
        ("test.py", ["--evaluate", "--sample=g5o8k1??g"], ["--evaluate", "--sample"]),
        ("plot.py", [], ["train.py --model_name=RNN-LN-FW"]),
        ("plot.py", ["--seed=5"], ["train.py --model_name=RNN-LN-FW --seed=5"]),
        ("plot.py", ["--figure=weights", "--with_bundled"], ["--figure=curves"]),
        ("plot.py", ["--sample=g5o8k1??g"], ["--sample", "--figure=memory"]),
        ("plot.py", ["--figure=memory", "--model_name=CONTROL"], ["--model_name=CONTROL"]),
    ],
)
def test_mistake_is_refused_before_tensorflow_loads(tmp_path, script, flags, words):
    """Catches flags that contradict each other, and one that has no effect."""
    done = run(script, tmp_path, *flags, status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, *words)


@pytest.mark.parametrize(
    ("script", "flag", "suggestion"),
    [
        ("train.py", "--lr=1e-3", "--learning_rate"),
        ("train.py", "--epochs=3", "--num_epochs"),
        ("train.py", "--learning_rat=1", "--learning_rate"),
        ("plot.py", "--sampel=g5", "--sample"),
    ],
)
def test_similar_flag_is_suggested(tmp_path, script, flag, suggestion):
    """Catches a typing error that the user must look up."""
    done = run(script, tmp_path, flag, status=1, env=WITHOUT_TENSORFLOW)
    assert done.stderr.count("\n") == 1
    assert suggestion in done.stderr


def test_directory_of_a_run_is_refused(directory):
    """Catches `--checkpoint_dir=checkpoints/RNN-LN-FW`, where no model would be found."""
    path = run_directory(directory).path
    flag = f"--checkpoint_dir={path}"
    done = run("test.py", directory, flag, status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, f"--checkpoint_dir={path.parent}")


def test_missing_package_is_named(tmp_path):
    """Catches a traceback outside the virtual environment."""
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
    code += f"sys.argv = ['train.py']; import runpy; runpy.run_path({str(ROOT / 'train.py')!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.stderr.startswith("error: ")
    assert "requirements.txt" in done.stderr
    assert "keras, matplotlib" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("installed", "refused"),
    [
        ({"tensorflow": "2.17.1"}, ["tensorflow"]),
        ({"tensorflow": "2.100.0", "keras": "3.7.0"}, ["tensorflow", "keras"]),
        ({"keras": "4.0.0"}, ["keras"]),
        ({"tensorflow": "2.18.0", "keras": "3.8.0"}, []),
    ],
)
def test_version_out_of_bounds_is_named(tmp_path, installed, refused):
    """Catches a traceback from a release that lacks what the code uses."""
    for name, version in installed.items():
        metadata = tmp_path / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run("train.py", tmp_path, "--help", status=1, env=environment)
    assert done.stderr.count("\n") == bool(refused)
    for name in refused:
        assert f"{name} {installed[name]}" in done.stderr
        assert f"{name}>=" in done.stderr
    if refused:
        assert "pip install -r requirements.txt" in done.stderr


def test_files_state_the_same_bounds():
    """Catches bounds that differ between the files that state them."""

    def stated(name, pattern):
        found = re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)
        return {package: bounds for package, *bounds in found}

    bounds = stated("requirements.txt", r"^([\w-]+)>=([\d.]+),<([\d.]+)$")
    lowest = stated("tests/lowest.txt", r"^([\w-]+)==([\d.]+)\.0$")
    assert lowest == {name: [low] for name, (low, _) in bounds.items()}
    checked = stated("fast_weights/experiment/versions.py", r'"(\w+)": \("([\d.]+)", "([\d.]+)"\)')
    assert checked == {name: bounds[name] for name in ("tensorflow", "keras")}


def test_other_settings_are_refused_before_tensorflow_loads(directory):
    """Catches a resume with other settings than those of the run."""
    done = run("train.py", directory, "--units=6", status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, "units=6", "--restart")


def test_attention_without_inner_steps_is_refused(tmp_path):
    """Catches empty maps."""
    run_dir = run_directory(tmp_path)
    run_dir.write_config(Config(inner_steps=0))
    run_dir.checkpoint_path(1).touch()
    done = run("plot.py", tmp_path, "--figure=attention", status=2, env=WITHOUT_TENSORFLOW)
    assert_refused(done, "inner_steps=0")


@pytest.mark.slow
def test_surroundings_do_not_matter(tmp_path):
    """Catches a letter that the locale lacks, a missing home, and another backend of Keras."""
    expected = None
    for number, surroundings in enumerate(
        (
            {},
            {"PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
            {"HOME": "/dev/null/home", "TMPDIR": "/dev/null/tmp", "TERM": "dumb"},
            {"KERAS_BACKEND": "jax", "MPLBACKEND": "TkAgg", "TF_NUM_INTRAOP_THREADS": "1"},
        )
    ):
        directory, env = tmp_path / f"ü {number}", {**os.environ, **surroundings}
        directory.mkdir()
        run("train.py", directory, *TINY, "--num_epochs=2", "--quiet", env=env)
        run("test.py", directory, env=env)
        run("plot.py", directory, "--figure=memory", env=env)
        arrays = checkpoint_arrays(run_directory(directory))
        expected = expected or arrays
        assert arrays == expected


def test_bundled_weights_answer_samples(tmp_path):
    """Catches a clone whose first command fails, and an answer beside another sample."""
    done = run("test.py", tmp_path, "--sample=g5o8k1??g", "--sample=g5o8k1??k")
    expected = ["INPUT: g5o8k1??g", "PREDICTION: 5", "INPUT: g5o8k1??k", "PREDICTION: 1"]
    assert done.stdout.splitlines() == expected
    (note,) = done.stderr.splitlines()
    assert "train.py --model_name=RNN-LN-FW" in note
    assert list(tmp_path.iterdir()) == []
