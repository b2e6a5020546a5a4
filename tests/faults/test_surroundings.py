"""Strange places to run in: no home, no terminal, odd names, locales, folders."""

import ctypes
import os
import re
import subprocess

import pytest
from assertions import assert_refused
from harm import TINY, model_folder, run, start, tensors

NAME = "a folder with spaces, ü, → and 重み"
BARE = {name: os.environ[name] for name in ("PATH", "XLA_FLAGS")}
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs in the surroundings of the tests, in a plain folder."""
    folder = tmp_path_factory.mktemp("plain")
    done = run(folder, *TINY, "--num_epochs=2", env={**BARE, "PYTHONHASHSEED": "1"})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "surroundings",
    [
        {"PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "1"},
        {"HOME": "/dev/null/home", "LC_ALL": "tr_TR.UTF-8", "TERM": "dumb"},
        {"HOME": "/dev/null", "TMPDIR": "/dev/null/tmp", "LANG": "de_DE.ISO-8859-1"},
        {"KERAS_BACKEND": "jax", "MPLBACKEND": "nonsense", "KERAS_HOME": "float64"},
    ],
    ids=str,
)
def test_nothing_around_matters(trained, tmp_path, surroundings):
    """A figure's cache that has no place, a letter that a locale lacks, an order of a set."""
    folder, env = tmp_path / NAME, {**BARE, **surroundings}
    (folder / "float64").mkdir(parents=True)
    (folder / "float64/keras.json").write_text('{"floatx": "float64"}')
    calls = [
        ("train.py", [*TINY, "--num_epochs=2"]),
        ("test.py", ["--sample=g5o8??g"]),
        ("plot.py", [f"--output_dir={folder}/figures"]),
        ("plot.py", ["--figure=memory", f"--output_dir={folder}/figures"]),
    ]
    for script, flags in calls:
        done = run(folder, *flags, script=script, env=env, cwd=folder, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
    assert tensors(model_folder(folder)) == tensors(model_folder(trained))
    assert (folder / "figures/memory.gif").exists()


@pytest.mark.slow
def test_no_streams_at_all(tmp_path):
    """What is printed ends in the next file that is opened: a checkpoint, for instance."""

    def close():
        for number in (0, 1, 2):
            os.close(number)

    done = run(
        tmp_path, *TINY, "--num_epochs=1", stdin=None, capture_output=False, preexec_fn=close
    )
    assert done.returncode == 0
    assert list(tensors(model_folder(tmp_path)))


def keep_to_permissions():
    """Root may write anywhere; without these capabilities it may not."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


@pytest.mark.parametrize(
    "name", ["checkpoint_dir", pytest.param("data_dir", marks=pytest.mark.slow)]
)
def test_a_read_only_folder(tmp_path, name):
    (tmp_path / name).mkdir(mode=0o555)
    done = run(tmp_path, *TINY, preexec_fn=keep_to_permissions)
    assert_refused(done, "cannot write", str(tmp_path / name), "Permission denied")


@pytest.mark.slow
def test_a_checkpoint_that_may_not_be_read(trained, tmp_path):
    (tmp_path / "checkpoint_dir").symlink_to(trained / "checkpoint_dir")
    model = model_folder(trained)
    files = [model / "config.json", *model.glob("ckpt-*")]
    try:
        for path in files:
            path.chmod(0o000)
        done = run(tmp_path, script="test.py", preexec_fn=keep_to_permissions)
    finally:
        for path in files:
            path.chmod(0o644)
    assert_refused(done, "config.json", "Permission denied")


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        ("data_dir", "cannot write data to"),
        pytest.param(
            "checkpoint_dir/RNN-LN-FW/training", "cannot write to", marks=pytest.mark.slow
        ),
        pytest.param("checkpoint_dir", "cannot write to", marks=pytest.mark.slow),
    ],
)
def test_a_file_where_a_folder_should_be(tmp_path, blocked, words):
    (tmp_path / blocked).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / blocked).write_text("a file")
    assert_refused(run(tmp_path, *TINY), words)
    assert (tmp_path / blocked).read_text() == "a file"


@pytest.mark.slow
def test_a_folder_where_a_file_should_be(trained, tmp_path):
    for name in ("results.jsonl", "config.json", "lock"):
        folder = tmp_path / name
        subprocess.run(["cp", "-r", str(trained), str(folder)], check=True)
        (model_folder(folder) / name).unlink()
        (model_folder(folder) / name).mkdir()
        done = run(folder, "--num_epochs=3")
        errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1, done.stderr
        assert re.match("error: .*(cannot write|expected a regular file)", errors[0])
        assert name in errors[0] or str(model_folder(folder)) in errors[0]


@pytest.mark.slow
def test_a_second_training_of_one_model(tmp_path):
    """Two that write each other's files; a lock that outlives whoever held it."""
    first = start(tmp_path, *TINY)
    try:
        for line in first.stdout:
            if "%" in line:
                break
        assert_refused(
            run(tmp_path, *TINY), f"process {first.pid} is training in", "--checkpoint_dir"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    done = run(tmp_path, *TINY, "--num_epochs=1", "--restart")
    assert done.returncode == 0, done.stderr
