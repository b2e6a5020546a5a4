"""The scripts as a person runs them, each in a process of its own."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from assertions import assert_refused

from fast_weights import folders
from fast_weights.config import Config

ROOT = pathlib.Path(__file__).parent.parent
TINY = [
    "--batch_size=8",
    "--units=5",
    "--num_pairs=2",
    "--num_training=100",
    "--num_validation=40",
]


def run(folder, script, *flags, expect=0):
    """Runs a script with its folders under `folder`; checks the exit status."""
    where = {
        "train.py": ("data_dir", "checkpoint_dir"),
        "test.py": ("data_dir", "checkpoint_dir"),
        "plot.py": ("checkpoint_dir", "output_dir"),
    }[script]
    paths = [f"--{name}={folder / name}" for name in where]
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *paths, *flags],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place where two epochs of a tiny RNN-LN-FW have been trained."""
    folder = tmp_path_factory.mktemp("a folder with spaces and ü")
    done = run(folder, "train.py", "--model_name=RNN-LN-FW", "--num_epochs=2", *TINY)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Made 100 training and 40 validation sequences")
    assert lines[1].startswith("Compiling")
    assert lines[2].split() == ["training", "validation", "gradient"]
    assert lines[3].split()[0] == "epoch"
    assert lines[4].split()[0] == "1/2"
    assert lines[5].split()[0] == "2/2"
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    return folder


def epochs_in(folder, model_name="RNN-LN-FW"):
    text = (folder / "checkpoint_dir" / model_name / "results.jsonl").read_text()
    return [json.loads(line)["epoch"] for line in text.splitlines()]


def test_resume_goes_on_with_the_checkpoints_settings(folder):
    done = run(folder, "train.py", "--num_epochs=3")
    assert "Going on after 2 epochs" in done.stdout
    assert epochs_in(folder) == [0, 1, 2]
    assert "--num_epochs=N with N greater than 3" in done.stdout


def test_contradicting_flags_stop_and_harm_nothing(folder):
    done = run(folder, "train.py", "--units=6", "--batch_size=9", expect=2)
    assert_refused(
        done, "--units=6 but the checkpoint has 5", "--batch_size=9 but the checkpoint has 8"
    )
    assert epochs_in(folder)[:2] == [0, 1]


@pytest.mark.slow
def test_settings_that_agree_are_taken(folder):
    """100 sequences that are compared with the default batch, not with the checkpoint's 8."""
    before = epochs_in(folder)
    done = run(folder, "train.py", "--num_training=100", f"--num_epochs={len(before)}")
    assert f"--num_epochs=N with N greater than {len(before)}" in done.stdout
    assert epochs_in(folder) == before


@pytest.mark.slow
def test_restart_with_other_data_deletes_nothing(folder, tmp_path):
    """A model that is gone before it turns out that there are no sequences to train on."""
    shutil.copytree(folder, tmp_path / "copy")
    other = [flag for flag in TINY if "num_training" not in flag]
    done = run(tmp_path / "copy", "train.py", "--restart", "--num_training=96", *other, expect=2)
    assert_refused(done, "was made with num_training 100 and not 96")
    assert len(epochs_in(tmp_path / "copy")) >= 2
    run(tmp_path / "copy", "test.py", "--sample=g5o8??g")


@pytest.mark.slow
def test_results_that_were_deleted(folder, tmp_path):
    """A trained model that is taken for one of no epochs."""
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/checkpoint_dir/RNN-LN-FW/results.jsonl").unlink()
    done = run(tmp_path / "copy", "train.py", "--num_epochs=2")
    assert "RNN-LN-FW has been trained for 2 epochs" in done.stdout


def test_a_reader_that_goes_away(folder, tmp_path):
    """A traceback under `train.py | head`."""
    shutil.copytree(folder, tmp_path / "copy")
    command = [sys.executable, str(ROOT / "train.py"), "--num_epochs=50"]
    command += [f"--{name}={tmp_path / 'copy' / name}" for name in ("data_dir", "checkpoint_dir")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 141
    assert process.stderr.read() == ""


def test_restart_begins_anew(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    flags = ["--restart", "--num_epochs=1", *TINY, "--units=4"]
    run(tmp_path / "copy", "train.py", *flags)
    assert epochs_in(tmp_path / "copy") == [0]
    config = json.loads((tmp_path / "copy/checkpoint_dir/RNN-LN-FW/config.json").read_text())
    assert config["units"] == 4


def test_quiet_says_the_last_line_alone(folder, tmp_path):
    """A table all the same; a file that is broken and is not told."""
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/checkpoint_dir/RNN-LN-FW/config.json").write_text("{")
    num_epochs = len(epochs_in(folder)) + 1
    done = run(tmp_path / "copy", "train.py", f"--num_epochs={num_epochs}", "--quiet")
    (line,) = done.stdout.splitlines()
    start = f"RNN-LN-FW has been trained for {num_epochs} epochs, best validation accuracy "
    assert line.startswith(start)
    assert done.stderr.startswith("warning: ")
    assert "config.json: not a configuration in JSON" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_seeds_are_runs_of_their_own(folder):
    """A seed that goes on with another's weights, or that cannot be asked."""
    done = run(folder, "train.py", "--seed=7", "--num_epochs=1", "--quiet", *TINY)
    assert done.stdout.rstrip().endswith("RNN-LN-FW/seed-7")
    assert epochs_in(folder, "RNN-LN-FW/seed-7") == [0]
    run(folder, "test.py", "--seed=7", "--sample=g5o8??g")
    assert_refused(
        run(folder, "test.py", "--seed=8", expect=2), "train.py --model_name=RNN-LN-FW --seed=8"
    )


def test_samples(folder):
    done = run(folder, "test.py", "--sample=g5o8??g", "--sample=a1z9??z")
    lines = done.stdout.splitlines()
    assert lines[0] == "INPUT: g5o8??g"
    assert lines[2] == "INPUT: a1z9??z"
    assert all(line.startswith("PREDICTION: ") and len(line) == 13 for line in lines[1::2])
    assert done.stderr == ""


def test_evaluate_agrees_with_training(folder):
    """An evaluation on other sequences, or through another model, than training's."""
    done = run(folder, "test.py", "--evaluate")
    text = (folder / "checkpoint_dir/RNN-LN-FW/results.jsonl").read_text()
    last = json.loads(text.splitlines()[-1])
    assert f"Validation accuracy: {last['valid_accuracy']:.2%} of 40 sequences" in done.stdout
    assert "asked for pair 2: " in done.stdout


def test_plot_draws_what_there_is_and_names_what_is_missing(folder):
    done = run(folder, "plot.py")
    for name in ("accuracy.png", "loss.png", "gradient_norm.png"):
        assert (folder / "output_dir" / name).exists()
    assert "GRU-LN has no results yet" in done.stdout
    assert "RNN-LN-FW has no results" not in done.stdout


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--figure=memory", "--sample=g5o8??g"], ["memory.png", "memory.gif"]),
        pytest.param(
            ["--figure=attention", "--format=svg"], ["attention.svg"], marks=pytest.mark.slow
        ),
        pytest.param(["--figure=weights", "--format=pdf"], ["weights.pdf"], marks=pytest.mark.slow),
        (["--log_epochs"], ["accuracy.png", "gradient_norm.png", "loss.png"]),
    ],
)
def test_figures(folder, tmp_path, flags, names):
    """A figure that needs a display, or lies elsewhere than was said."""
    done = run(
        folder, "plot.py", *flags, f"--output_dir={tmp_path}", f"--data_dir={folder}/data_dir"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        assert f"Wrote {tmp_path / name}" in done.stdout
    assert done.stderr == ""


def test_a_broken_line_of_results_is_skipped_and_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    with (tmp_path / "copy/checkpoint_dir/RNN-LN-FW/results.jsonl").open("a") as file:
        file.write('{"epoch": 99, "train_l\n')
    done = run(tmp_path / "copy", "plot.py")
    assert done.stderr.startswith("warning: ")
    assert "results.jsonl, line " in done.stderr
    assert (tmp_path / "copy/output_dir/loss.png").exists()


def test_a_folder_that_cannot_be_written_ends_in_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(
        run(folder, "plot.py", f"--output_dir={tmp_path}/file", expect=2), "cannot write", "file"
    )


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("test.py", [], ["python train.py --model_name=RNN-LN-FW"]),
        ("plot.py", [], ["no results", "python train.py"]),
        ("plot.py", ["--figure=memory", "--model_name=CONTROL"], ["--model_name=CONTROL"]),
        (
            "plot.py",
            ["--figure=weights", "--seed=2"],
            ["Train it first: python train.py --model_name=RNN-LN-FW --seed=2 --checkpoint_dir=/"],
        ),
        ("plot.py", ["--seed=5"], ["--seed goes with --figure=memory|attention|weights", "curves"]),
        ("test.py", ["--evaluate", "--sample=g5o8k1??g"], ["--sample or --evaluate"]),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, script, flags, words):
    assert_refused(run(tmp_path, script, *flags, expect=2), *words)


def test_attention_of_a_model_that_reads_nothing(tmp_path):
    """Empty maps."""
    folder = tmp_path / "checkpoint_dir/RNN-LN-FW"
    folders.save_config(folder, Config(inner_steps=0))
    (folder / "ckpt-1.npz").touch()
    assert_refused(run(tmp_path, "plot.py", "--figure=attention", expect=2), "with inner_steps=0")


@pytest.mark.slow
def test_a_pair_that_no_sequence_asks_for(tmp_path):
    """An accuracy of "nan%"."""
    run(tmp_path, "train.py", *TINY, "--num_validation=8", "--num_pairs=20", "--num_epochs=1")
    assert ": no sequence\n" in run(tmp_path, "test.py", "--evaluate").stdout


@pytest.mark.parametrize("sample", ["g5o8k1??g", ""])
def test_bad_samples_end_in_one_line(folder, sample):
    assert_refused(run(folder, "test.py", f"--sample={sample}", expect=2), "expected")


def test_one_bad_sample_is_told_before_any_answer(folder):
    done = run(folder, "test.py", "--sample=g5o8??g", "--sample=g5o8??z", expect=2)
    assert done.stdout == ""


def test_a_broken_data_file_ends_in_one_line(folder, tmp_path):
    (tmp_path / "data_dir").mkdir()
    name = "associative-retrieval-2-pairs-seed-0.npz"
    whole = (folder / "data_dir" / name).read_bytes()
    (tmp_path / "data_dir" / name).write_bytes(whole[: len(whole) // 2])
    assert_refused(run(tmp_path, "train.py", *TINY, expect=2), name, "delete the file")


def test_data_alone(tmp_path):
    command = [sys.executable, "-m", "fast_weights.data", f"--data_dir={tmp_path}"]
    command += ["--num_pairs=4", "--num_training=9", "--num_validation=5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert (tmp_path / "associative-retrieval-4-pairs-seed-0.npz").exists()
    assert "??" in done.stdout
    done = subprocess.run([*command, "--num_pairs=0"], capture_output=True, text=True, cwd=ROOT)
    assert_refused(done, "num_pairs=0")
    command[-2] = "--num_training=99999999999999"
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert_refused(done, "from 1 to 10000000", "num_training=99999999999999")


def test_help_names_every_setting():
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--help"], capture_output=True, text=True
    )
    assert "lambda" in done.stdout
    assert "default: '0.95'" in done.stdout
