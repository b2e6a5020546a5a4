"""Runs that are killed, interrupted or out of space, in processes of their own.

docs/reliability.md lists what is promised, with the test of each promise.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest
from event_files import curves
from processes import TINY, checkpoint_arrays, records, run_directory, start, without_xla

from fast_weights.experiment import results
from fast_weights.experiment.checkpoint import restore_newest
from fast_weights.experiment.models import build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

# Windows has no limits of a process, and other signals.
resource = pytest.importorskip("resource")
CONTROL = (*TINY, "--model_name=CONTROL")


def read_until(stream, text):
    """Reads lines up to one that contains `text`."""
    for line in stream:
        if text in line:
            return
    raise AssertionError(f"the process ended before it printed {text!r}")


def wait_until_tensorflow_loads(process):
    """Waits until the process has mapped the first of TensorFlow's libraries."""
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux lists the files that a process has mapped")
    while "tensorflow" not in maps.read_text():
        time.sleep(0.01)


def at_start(process, run_dir, rng):
    """Waits up to some moment while TensorFlow loads, XLA compiles or the first epochs run."""
    time.sleep(rng.uniform(0, 8))


def in_an_epoch(process, run_dir, rng):
    """Waits up to some moment after the first epoch."""
    read_until(process.stdout, "%")
    time.sleep(rng.uniform(0, 0.3))


def while_saving(process, run_dir, rng):
    """Waits until a file of the run changes."""
    in_an_epoch(process, run_dir, rng)
    pattern = rng.choice(["partial-*", "ckpt-*", "results.jsonl", "*.tfevents.*"])

    def files():
        with contextlib.suppress(FileNotFoundError):  # deleted between two calls
            return {path: path.stat().st_size for path in run_dir.path.glob(pattern)}

    before = files()
    while files() == before and process.poll() is None:
        pass
    time.sleep(rng.choice([0, 0, 0.0005, 0.002]))


@pytest.mark.parametrize(
    ("model_name", "num_kills", "num_epochs"),
    [
        ("CONTROL", 1, 12),
        pytest.param("CONTROL", 40, 4_000, marks=pytest.mark.slow),
        pytest.param("RNN-LN-FW", 20, 1_500, marks=pytest.mark.slow),
    ],
)
def test_killed_run_resumes_bit_identical(tmp_path, tiny, model_name, num_kills, num_epochs):
    """Catches a half-written file, an epoch that is lost or repeated, an order drawn again."""
    config = tiny(model_name=model_name, num_epochs=num_epochs, learning_rate=1e-4, shuffle=True)
    run_dir, rng = run_directory(tmp_path, model_name), random.Random(num_kills)
    flags = (*TINY, "--shuffle", f"--model_name={model_name}", f"--num_epochs={num_epochs}")
    every = num_epochs // 3
    flags += (f"--summary_every={every}",)
    moments, statuses = [while_saving, in_an_epoch, at_start], []
    for number in range(num_kills):
        with start("train.py", tmp_path, *flags) as process:
            moments[number % 3](process, run_dir, rng)
            process.kill()
            process.communicate()
        statuses.append(process.returncode)
    assert -signal.SIGKILL in statuses
    whole = RunDirectory(tmp_path / "whole", model_name)
    for one in (run_dir, whole):
        train(config, one, tmp_path / "data", summary_every=every)
    assert run_dir.read_config() == config
    assert run_dir.checkpoint_epochs() == [num_epochs, num_epochs - 1]
    assert checkpoint_arrays(run_dir) == checkpoint_arrays(whole)
    assert records(run_dir) == records(whole)
    assert curves(run_dir) == curves(whole)
    assert not list(run_dir.path.glob("partial-*"))


def end(process, number):
    """Sends a signal and returns the standard error of the process."""
    process.send_signal(number)
    _, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr
    return stderr


def stop_in_an_epoch(directory, number):
    """Stops a training after its third epoch. All files must be complete."""
    with start("train.py", directory, *CONTROL) as process:
        read_until(process.stdout, " 3/1000")
        stderr = end(process, number)
    run_dir = run_directory(directory, "CONTROL")
    epoch = restore_newest(run_dir.path, build_model(run_dir.read_config()))
    assert epoch >= 3
    assert len(records(run_dir)) - epoch in (0, 1)
    return process.returncode, stderr


def stop_while_tensorflow_loads(directory, number, delay=0.0):
    with start("train.py", directory, *CONTROL) as process:
        wait_until_tensorflow_loads(process)
        time.sleep(delay)
        stderr = end(process, number)
    return process.returncode, stderr


def stop_while_xla_compiles(directory, number):
    # XLA takes seconds to compile 26 pairs.
    sizes = ("--num_pairs=26", "--num_training=128", "--num_validation=128", "--inner_steps=3")
    with start("train.py", directory, *sizes) as process:
        read_until(process.stderr, "ompil")
        time.sleep(1)
        stderr = end(process, number)
    assert not run_directory(directory).is_trained
    return process.returncode, stderr


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(stop_in_an_epoch, marks=pytest.mark.slow),
        stop_while_tensorflow_loads,
        pytest.param(stop_while_xla_compiles, marks=pytest.mark.slow),
    ],
)
def test_interrupt_exits_130(tmp_path, stop):
    """Catches a traceback, a lost epoch, and an end that does not say how to resume."""
    status, stderr = stop(tmp_path, signal.SIGINT)
    assert status == 130, stderr
    assert "--restart" in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(stop_in_an_epoch, marks=pytest.mark.slow),
        stop_while_tensorflow_loads,
        pytest.param(stop_while_xla_compiles, marks=pytest.mark.slow),
    ],
)
def test_sigterm_exits_143(tmp_path, stop):
    """Catches a training that does not end, or that needs a second signal."""
    status, stderr = stop(tmp_path, signal.SIGTERM)
    assert status == -signal.SIGTERM, stderr  # a shell shows 143


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", np.arange(0.0, 4.0, 0.25))
def test_signal_at_any_moment_of_the_start(tmp_path, number, delay):
    """Catches a signal that an import swallows, or that turns into another error."""
    status, stderr = stop_while_tensorflow_loads(tmp_path, number, delay)
    assert status == (130 if number == signal.SIGINT else -number), stderr


@contextlib.contextmanager
def space_for(size):
    """Allows no file of this process to grow beyond `size` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_full_disk_ends_with_message(tmp_path, tiny):
    """Catches a traceback, a checkpoint lost to its successor, and a run that cannot resume."""
    config, run_dir = tiny(model_name="CONTROL", num_epochs=4), RunDirectory(tmp_path, "CONTROL")
    with without_xla():
        train(dataclasses.replace(config, num_epochs=2), run_dir, tmp_path)
        # Enough for a part of the configuration, of the first events, and of the second snapshot.
        for size, epoch in ((300, 2), (5_000, 2), (25_000, 3)):
            with pytest.raises(OSError) as caught, space_for(size):  # noqa: PT011
                train(config, run_dir, tmp_path, summary_every=1)
            assert caught.value.filename.startswith(str(run_dir.path))
            assert os.strerror(errno.EFBIG) in caught.value.strerror
            assert "\n" not in caught.value.strerror
            assert run_dir.checkpoint_epochs()[0] == epoch
        assert [one.epoch for one in train(config, run_dir, tmp_path)] == [1, 2, 3, 4]


def test_read_only_directory_ends_with_message(tmp_path, tiny_config):
    """Catches a traceback, and training that starts although nothing can be saved.

    Root may write to a read-only directory, so the test takes one below a regular file.
    """
    (tmp_path / "file").touch()
    read_only = tmp_path / "file" / "directory"
    good = RunDirectory(tmp_path, "RNN-LN-FW")
    bad = RunDirectory(read_only, "RNN-LN-FW")
    for run_dir, data_dir in ((good, read_only), (bad, tmp_path)):
        with pytest.raises(NotADirectoryError) as caught:
            train(tiny_config, run_dir, data_dir)
        assert caught.value.filename.startswith(str(tmp_path / "file"))
    # Only TensorBoard's directory of the run cannot be written.
    good.path.mkdir()
    (good.path / "training").touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011
        train(tiny_config, good, tmp_path)
    assert caught.value.filename == str(good.path)
    assert caught.value.strerror.endswith(os.strerror(errno.ENOTDIR))
    assert results.read(good.results_path) == []
