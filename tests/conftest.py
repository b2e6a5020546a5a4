"""Options and fixtures that several test modules share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Most of the time goes into compiling programs that run for a moment.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import dataclasses
import logging
import pathlib
import runpy
import signal
import subprocess
import sys

import pytest
from absl import flags

from fast_weights.experiment import console
from fast_weights.experiment.config import Config

# A shell that starts pytest in the background makes it, and the scripts that it starts, ignore
# Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).parent.parent
# Modules for the processes that tests start.
collect_ignore = ["stubs", "windows"]


def pytest_addoption(parser):
    parser.addoption(
        "--golden_dir",
        default=str(ROOT / "tests/golden"),
        help="directory of the .npz files that test_golden.py compares with",
    )


def pytest_generate_tests(metafunc):
    if "golden_path" in metafunc.fixturenames:
        directory = pathlib.Path(metafunc.config.getoption("--golden_dir"))
        paths = sorted(directory.glob("*.npz"))
        if not paths:
            raise pytest.UsageError(f"--golden_dir: no .npz file in {directory}")
        metafunc.parametrize("golden_path", paths, ids=lambda path: path.stem)


@pytest.fixture(scope="session")
def tiny_config():
    """A configuration that trains in seconds: 12 steps of 8 sequences, 5 units."""
    return Config(
        model_name="RNN-LN-FW",
        num_epochs=2,
        batch_size=8,
        units=5,
        num_pairs=2,
        num_training=100,
        num_validation=40,
        learning_rate=1e-2,
    )


@pytest.fixture(scope="session")
def tiny(tiny_config):
    """Returns the tiny configuration with some settings replaced."""
    return lambda **changes: dataclasses.replace(tiny_config, **changes)


@pytest.fixture
def execute(monkeypatch):
    """Returns a function that executes a script in this process, where TensorFlow is loaded."""
    logger, handler = logging.getLogger("fast_weights"), signal.getsignal(signal.SIGINT)
    before = {**vars(logger), "handlers": logger.handlers.copy()}

    def execute(script, *given):
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *given])
        runpy.run_path(str(ROOT / script), run_name="__main__")

    yield execute
    vars(logger).update(before)
    signal.signal(signal.SIGINT, handler)
    for script in console._scripts:
        for flag in flags.FLAGS.flags_by_module_dict().get(script, []).copy():
            delattr(flags.FLAGS, flag.name)
    console._scripts.clear()


@pytest.fixture
def call(execute, capsys):
    """Returns a function that calls a script in this process, and returns what it prints."""

    def call(script, *given, status=0):
        with pytest.raises(SystemExit) as ended:
            execute(script, *given)
        printed = capsys.readouterr()
        assert ended.value.code == status, printed
        return subprocess.CompletedProcess(script, status, printed.out, printed.err)

    return call
