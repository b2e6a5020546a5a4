"""Trainings in processes of their own, to be harmed, and what they leave."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
from event_files import events

from fast_weights import folders, results

ROOT = pathlib.Path(__file__).parents[2]
TINY = ("--batch_size=8", "--units=5", "--num_pairs=2", "--num_training=100", "--num_validation=40")
# The tests compile without optimization, which is quicker; this is how users compile.
AS_USERS_DO = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
STOPPED = "Stopped. Whole epochs are kept; the same command goes on."
# Of the wall clock, which no two runs share.
TIMED = ("sequences_per_second", "_hparams_/session_start_info")


def command(folder, *flags, script="train.py") -> list[str]:
    """A script's command line, its folders under `folder`."""
    paths = [f"--{name}={folder / name}" for name in ("data_dir", "checkpoint_dir")]
    return [sys.executable, str(ROOT / script), *paths, *flags]


def run(folder, *flags, script="train.py", **options) -> subprocess.CompletedProcess:
    """Runs a script to its end."""
    options = {"capture_output": True, "text": True, "timeout": 300, **options}
    return subprocess.run(command(folder, *flags, script=script), **options)


def start(folder, *flags, **options) -> subprocess.Popen:
    """Starts a training; both of its streams can be read."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command(folder, *flags), **options)


def read_until(process: subprocess.Popen, word: str) -> None:
    """Reads what a training prints up to a line with `word`."""
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(process.stderr.read())


def model_folder(folder, model_name="RNN-LN-FW") -> pathlib.Path:
    return folders.model_folder(folder / "checkpoint_dir", model_name)


def tensors(folder) -> dict[str, bytes]:
    """Every array of the newest checkpoint in a model's folder."""
    with np.load(folders.all_checkpoints(folder)[0]) as archive:
        assert len(archive.files) > 10
        return {name: archive[name].tobytes() for name in archive.files}


def records(folder) -> list[results.Record]:
    """The results without their times; no line may be broken."""

    def say(line):
        raise AssertionError(line)

    return [dataclasses.replace(one, seconds=0) for one in results.read(folder, say)]


def board(folder) -> dict:
    """TensorBoard's events: steps and values by run and tag; of those of the clock, steps."""
    return {
        (run, tag): [step if tag in TIMED else (step, value) for step, value in points]
        for (run, tag), points in events(folder).items()
    }
