"""SIGTERM and SIGINT: an end within three seconds, whatever the program is at."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from harm import ROOT, STOPPED, TINY, model_folder, read_until, records, start

from fast_weights import checkpoints, folders

SECONDS = 3


def stop(process, number):
    """Sends a signal and returns how the process ended, with what it said."""
    process.send_signal(number)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < SECONDS
    return process.returncode, said.strip()


@pytest.mark.parametrize(
    ("number", "status", "flags"),
    [
        (signal.SIGINT, 130, ["--restart"]),
        pytest.param(signal.SIGTERM, 143, [], marks=pytest.mark.slow),
    ],
)
def test_a_stop_in_an_epoch_keeps_what_is_done(tmp_path, number, status, flags):
    """Epochs that are lost; advice that would delete them: `--restart` begins anew again."""
    process = start(tmp_path / "stopped", *TINY, *flags)
    read_until(process, " 3/1000")
    time.sleep(0.02)
    about_restart = "on, without --restart if an epoch of the new run is done."
    said = STOPPED.replace("on.", about_restart) if flags else STOPPED
    assert stop(process, number) == (status, said)
    done = len(records(model_folder(tmp_path / "stopped")))
    assert done >= 3
    # How it goes on is what killed runs are compared for.
    kept = checkpoints.new_state(folders.load_config(model_folder(tmp_path / "stopped")))
    assert kept.restore(model_folder(tmp_path / "stopped"), pytest.fail)
    assert done - 1 <= kept.epoch <= done


@pytest.mark.parametrize("script", ["test.py", pytest.param("plot.py", marks=pytest.mark.slow)])
def test_a_stop_of_another_script(tmp_path, script):
    """An end without a word, or a traceback, while TensorFlow loads."""
    flags = ["--checkpoint_dir", str(ROOT / "checkpoints")]
    flags += ["--figure=memory"] if script == "plot.py" else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(ROOT / script), *flags], cwd=tmp_path, **pipes)
    time.sleep(1.5)
    status, said = stop(process, signal.SIGTERM)
    assert status == 143
    assert said.splitlines()[-1] == "Stopped."
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stop_while_it_compiles(tmp_path, number):
    """Python's own handler, which waits for the compiler: 26 pairs take it some seconds."""
    sizes = ("--num_pairs=26", "--num_training=128", "--num_validation=128", "--inner_steps=3")
    process = start(tmp_path, *sizes)
    read_until(process, "Compiling")
    time.sleep(1)
    status, said = stop(process, number)
    assert (status, said) == (128 + number, STOPPED)
    assert not list(model_folder(tmp_path).glob("ckpt-*"))


@pytest.mark.parametrize(
    "moment", [1.5, *(pytest.param(n / 4, marks=pytest.mark.slow) for n in range(2, 26) if n != 6)]
)
def test_a_stop_at_any_moment_of_the_start(tmp_path, moment):
    """A line that is lost while TensorFlow loads, or a signal that takes effect only after it."""
    process = start(tmp_path, *TINY)
    time.sleep(moment)
    assert stop(process, signal.SIGTERM) == (143, STOPPED)


def test_a_stop_of_a_process_whose_pipe_is_full():
    """A last word that waits, for ever, until a pager reads on."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (4096, 1):  # to the last byte
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(size))
    os.set_blocking(writer, True)
    program = (
        "from fast_weights import terminal; import time\n"
        "terminal.stop_at_once(); print(flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer) as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SECONDS) == 143
    os.close(reader)
    os.close(writer)


@pytest.mark.slow
def test_a_stop_that_nobody_reads_of(tmp_path):
    """A process that cannot be ended any more once its terminal, or its parent, is gone."""
    process = start(tmp_path, *TINY, "--quiet")
    process.stdout.close()
    process.stderr.close()
    while not list(model_folder(tmp_path).glob("ckpt-*")):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SECONDS) == 143
