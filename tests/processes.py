"""Runs the scripts in processes of their own, trains quickly in this one, and reads a run."""

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from fast_weights.experiment import results
from fast_weights.experiment.run_dir import RunDirectory

ROOT = pathlib.Path(__file__).parent.parent
TINY = ("--batch_size=8", "--units=5", "--num_pairs=2", "--num_training=100", "--num_validation=40")
# In this environment, importing TensorFlow or Keras fails.
WITHOUT_TENSORFLOW = {**os.environ, "PYTHONPATH": str(ROOT / "tests/stubs")}
# conftest.py turns XLA's optimization off, which compiles faster. Users leave it on.
OPTIMIZED = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}

# TensorFlow 2.18 and 2.19 write these lines, whatever the log level, when XLA starts.
XLA_STARTS = re.compile(r"^(WARNING: All log messages before absl|I0000 ).*\n", re.MULTILINE)


@contextlib.contextmanager
def start(script, directory, *flags, **options):
    """Starts a script in `directory`, with its `data/`, `checkpoints/` and `figures/`.

    The process is killed at the end of the block if it is still running.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    command = [sys.executable, ROOT / script, *flags]
    with subprocess.Popen(command, cwd=directory, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def run(script, directory, *flags, status=0, **options) -> subprocess.CompletedProcess:
    """Runs a script in `directory` and checks its exit status."""
    with start(script, directory, *flags, **options) as process:
        stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == status, stdout + stderr
    stderr = XLA_STARTS.sub("", stderr)
    return subprocess.CompletedProcess(process.args, status, stdout, stderr)


@contextlib.contextmanager
def without_xla():
    """Makes `train` run eagerly in the block, for tests that do not depend on XLA."""
    from fast_weights.experiment import blocks, training

    def build(*arguments):
        model = blocks.BlockModel(*arguments, jit_compile=False)
        model.run_eagerly = True
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BlockModel", build)
        yield


def assert_refused(done, *words) -> None:
    """Checks for one line on standard error that contains `words`, and exit status 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def run_directory(directory, model_name="RNN-LN-FW", seed=0) -> RunDirectory:
    """Returns the run that a script made in `directory`."""
    return RunDirectory(directory / "checkpoints", model_name, seed)


def checkpoint_arrays(run_dir) -> dict[str, bytes]:
    """Returns the content of every array of the newest checkpoint."""
    with np.load(run_dir.checkpoint_path(run_dir.checkpoint_epochs()[0])) as archive:
        return {name: archive[name].tobytes() for name in archive.files}


def records(run_dir) -> list[results.EpochRecord]:
    """Returns the records of a run with their seconds, which no two runs share, set to zero."""
    return [dataclasses.replace(one, seconds=0) for one in results.read(run_dir.results_path)]
