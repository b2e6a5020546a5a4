"""The directory of a run: its files, its lock and its configuration."""

import contextlib
import dataclasses
import errno
import itertools
import os
import re
import subprocess
import sys

import pytest
from processes import ROOT

from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError
from fast_weights.experiment.run_dir import RunDirectory, find_runs, resolve_config


@pytest.fixture
def run_dir(tmp_path):
    """An empty run of RNN-LN-FW."""
    run_dir = RunDirectory(tmp_path, "RNN-LN-FW")
    run_dir.path.mkdir()
    return run_dir


@pytest.fixture
def trained(run_dir, tiny_config):
    """A run with a configuration and the file names of two checkpoints."""
    run_dir.write_config(tiny_config)
    for epoch in (9, 10):
        run_dir.checkpoint_path(epoch).touch()
    return run_dir


def test_runs_are_found(tmp_path):
    """Catches a seed that continues another's run, and a run that `plot.py` does not find."""
    assert RunDirectory(tmp_path, "GRU-LN", 2).path == tmp_path / "GRU-LN" / "seed-2"
    assert RunDirectory(tmp_path, "GRU-LN").path == tmp_path / "GRU-LN"
    top, other = tmp_path / "runs", tmp_path / "other"
    runs = [
        RunDirectory(top, "GRU-LN"),
        RunDirectory(top, "GRU-LN", 12),
        RunDirectory(top / "sweep/1e-3", "RNN-LN"),
    ]
    for path in [*(one.path for one in runs), top / "GRU-LN/previous", other]:
        path.mkdir(parents=True, exist_ok=True)
        (path / "results.jsonl").touch()
    # A linked run, a second name of a run, and a circle.
    for name, target in {"RNN": other, "A": top / "GRU-LN", "B": top}.items():
        (top / name).symlink_to(target)
    runs.insert(2, RunDirectory(top, "RNN"))
    assert sorted(find_runs(top), key=str) == runs
    assert find_runs(tmp_path / "missing") == []


def test_checkpoints_are_ordered_by_epoch(trained):
    """Catches `ckpt-9` as the newest because its name sorts last, and other files as one."""
    for name in ("ckpt-11.npz.bak", "ckpt-x.npz", "partial-7.npz"):
        (trained.path / name).touch()
    assert trained.checkpoint_epochs() == [10, 9]


def test_untrained_model_is_refused_with_its_command(tmp_path):
    """Catches advice that trains another model, another seed or in another directory."""
    run_dir = RunDirectory(tmp_path / "a b", "GRU-LN", seed=3)
    with pytest.raises(UserError) as caught:
        run_dir.trained_or_bundled()
    for flag in ("--model_name=GRU-LN", "--seed=3", f"--checkpoint_dir='{tmp_path}/a b'"):
        assert flag in str(caught.value)


def test_bundled_weights_are_those_of_the_network(tmp_path):
    """Catches the blog's weights in the place of the paper's, and the paper's as default."""
    fast_weights = RunDirectory(tmp_path, "RNN-LN-FW")
    assert fast_weights.trained_or_bundled().read_config().network == "blog"
    assert fast_weights.trained_or_bundled("paper").read_config().network == "paper"
    lstm = RunDirectory(tmp_path, "LSTM").trained_or_bundled()
    assert lstm == RunDirectory(tmp_path, "LSTM").trained_or_bundled("paper")


def test_trained_run_of_another_network_is_refused(trained):
    """Catches the bundled weights, or the run, in the place of the network that was asked for."""
    assert trained.trained_or_bundled("blog") == trained
    with pytest.raises(UserError) as caught:
        trained.trained_or_bundled("paper")
    assert "--network=blog" in str(caught.value)


def test_corrupt_config_is_refused(trained):
    """Catches a resume with defaults in place of the settings of the run."""
    trained.config_path.write_bytes(trained.config_path.read_bytes()[:50] + b"\xff")
    with pytest.raises(CorruptFileError) as caught:
        trained.read_config()
    assert str(trained.config_path) in str(caught.value)
    trained.config_path.unlink()
    with pytest.raises(FileNotFoundError):
        trained.read_config()


def test_unreadable_directory_is_not_skipped(trained, monkeypatch):
    """Catches bundled weights in the place of a run that may not be read, and a lost curve.

    Root may read everything, so the test refuses in the place of the system.
    """

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    for call in (trained.trained_or_bundled, lambda: find_runs(trained.path)):
        with pytest.raises(PermissionError):
            call()


def test_resume_takes_the_settings_of_the_run(trained, tiny):
    """Catches a resume with defaults for the flags that are not given again."""
    settings = {"model_name": "RNN-LN-FW", "num_epochs": 7, "units": 5}
    assert resolve_config(trained, settings) == tiny(num_epochs=7)


def test_other_settings_are_refused_with_both_values(trained):
    """Catches a resume that changes a setting, and an error that hides one of the values."""
    with pytest.raises(UserError) as caught:
        resolve_config(trained, {"units": 6, "decay_rate": 0.5, "batch_size": 8})
    for words in ("units=6", " 5", "decay_rate=0.5", "0.95"):
        assert words in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_new_run_takes_the_given_settings(run_dir, tiny_config):
    """Catches settings of a run that was stopped before its first checkpoint."""
    run_dir.write_config(tiny_config)
    assert resolve_config(run_dir, {"units": 6}) == Config(units=6)


HOLD_LOCK = """
import sys, time
from fast_weights.experiment.run_dir import RunDirectory
with RunDirectory(sys.argv[1], "RNN-LN-FW").lock():
    print("locked", flush=True)
    time.sleep(600)
"""


def test_second_training_is_refused(tmp_path, run_dir):
    """Catches two processes that write to one directory, and a lock that outlives its process."""
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(UserError, match=re.escape(str(run_dir))), run_dir.lock():
                pass
        finally:
            other.kill()
    with run_dir.lock():
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_named(run_dir, monkeypatch, number):
    """Catches an error that does not say what to do, and a lock that outlives its process."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="--checkpoint_dir"), run_dir.lock():
        pass


def test_link_to_a_missing_directory_is_named(tmp_path):
    """Catches an error that does not name the link."""
    (tmp_path / "GRU").symlink_to(tmp_path / "missing")
    run_dir = RunDirectory(tmp_path, "GRU")
    with pytest.raises(UserError, match=re.escape(str(run_dir))), run_dir.lock():
        pass


def test_lock_deletes_what_a_killed_process_left(run_dir):
    """Catches partial files that pile up, and the deletion of those of another seed."""
    (run_dir.path / "seed-1").mkdir()
    for parent in (run_dir.path, run_dir.path / "seed-1"):
        (parent / "partial-7.npz").touch()
    with run_dir.lock():
        assert not (run_dir.path / "partial-7.npz").exists()
    assert (run_dir.path / "seed-1/partial-7.npz").exists()


def test_first_epoch_of_an_earlier_run_is_deleted(run_dir):
    """Catches a part of an earlier run that stays, and a deleted file that belongs to others."""
    others = {"notes.txt", "training/notes.txt", "seed-1/results.jsonl", "previous/ckpt-1.npz"}
    own = {"config.json", "events.out.tfevents.1", "training/events.out.tfevents.1"}
    for name in others | own:
        (run_dir.path / name).parent.mkdir(exist_ok=True)
        (run_dir.path / name).touch()
    run_dir.make_room(restart=False)
    assert _files(run_dir.path) == others


def test_restart_moves_the_run(trained):
    """Catches a file that is lost or stays behind, and two generations that mix."""
    (trained.path / "training").mkdir()
    (trained.path / "training/events.out.tfevents.1").touch()
    before = _files(trained.path)
    trained.make_room(restart=False)
    assert _files(trained.path) == before
    trained.make_room(restart=True)
    assert _files(trained.path) == {f"previous/{name}" for name in before}
    trained.checkpoint_path(9).touch()
    trained.make_room(restart=True)
    moved = {f"previous/{name}" for name in before}
    assert _files(trained.path) == moved | {"previous-2/ckpt-9.npz"}


def test_interrupted_restart_deletes_nothing(trained, monkeypatch):
    """Catches a kill between two moves, after which the next training deletes the rest."""

    def interrupt(*paths):
        raise InterruptedError

    before = {path.name for path in trained.path.iterdir()}
    moves = itertools.cycle([os.replace, interrupt])
    monkeypatch.setattr(os, "replace", lambda *paths: next(moves)(*paths))
    for restart in [True, False] * len(before):
        with contextlib.suppress(InterruptedError):
            trained.make_room(restart)
    assert {path.name for path in trained.path.rglob("*") if path.is_file()} == before


def _files(path):
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("changes", [{"model_name": "GRU-LN"}, {"seed": 3}])
def test_renamed_directory_is_refused(trained, changes):
    """Catches a run that is presented under the name of its directory."""
    config = trained.read_config()
    trained.write_config(dataclasses.replace(config, **changes))
    with pytest.raises(UserError, match=str(next(iter(changes.values())))):
        trained.read_config()
