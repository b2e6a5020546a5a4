"""The scripts' side of the terminal: exit status, flags, log, and what TensorFlow prints."""

import importlib.util
import itertools
import os
import runpy
import subprocess
import sys

import pytest
from processes import ROOT

from fast_weights.experiment import console

SCRIPT = """
import logging, signal, time
from fast_weights.experiment import console
from fast_weights.experiment.errors import CorruptFileError

class Interrupts:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def main():
    logging.getLogger("fast_weights.a").info("one")
    logging.getLogger("fast_weights.b").warning("two")
    {}

console.run(main, on_interrupt="resume")
"""


@pytest.mark.parametrize(
    ("statement", "status", "last_line"),
    [
        ("print('done')", 0, "warning: two"),
        ("raise CorruptFileError('why')", 2, "error: why"),
        ("raise OSError(13, 'why', 'name')", 2, "error: name: why"),
        # Python ignores an exception in a destructor or a callback.
        ("Interrupts(); time.sleep(10)", 130, "resume"),
        # A defect is never reported as a user's mistake.
        ("raise ValueError('defect')", 1, "ValueError: defect"),
        ("raise OSError(5, 'defect')", 1, "OSError: [Errno 5] defect"),
    ],
)
def test_exit_status(statement, status, last_line):
    """Catches success after an error, a message that is lost, and a Ctrl-C without effect."""
    command = [sys.executable, "-c", SCRIPT.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert lines[:2] == ["note: one", "warning: two"]
    assert lines[-1] == last_line
    assert ("Traceback" in done.stderr) == (status == 1)
    assert done.stdout == ("" if status else "done\n")


def test_reader_that_ends_is_no_error():
    """Catches the traceback of `train.py | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", SCRIPT.format("print('done')")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == "note: one\nwarning: two\n"


def test_hidden_lines_are_shown_if_the_import_fails(capfd, monkeypatch):
    """Catches a broken TensorFlow that fails without a reason, and lines that stay hidden."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def load(fails):
        with console.quiet_import():
            os.write(2, b"noise\n")
            if fails:
                raise ImportError("libcudart")

    load(fails=False)
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError, match="libcudart"):
        load(fails=True)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    load(fails=False)
    assert capfd.readouterr().err == "noise\nnoise\n"


@pytest.mark.parametrize(("backend", "notes"), [("jax", [("jax",)]), ("", [])])
def test_backend_that_the_scripts_replace(monkeypatch, caplog, backend, notes):
    """Catches another backend that is replaced in silence, and a note without a reason."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with caplog.at_level("INFO", "fast_weights"), console.quiet_import():
        pass
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert [record.args for record in caplog.records] == notes


@pytest.mark.parametrize("settings", ['{"floatx": "float64"}', '{"epsilon": 1}', "[]"])
def test_settings_of_keras_are_replaced(monkeypatch, tmp_path, settings):
    """Catches settings in keras.json or the environment that change or end a run."""
    (tmp_path / "keras.json").write_text(settings)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_MAX_STEPS_PER_EPOCH", "1")
    monkeypatch.setenv("MPLBACKEND", "module://missing")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with console.quiet_import():
        # Runs what Keras runs when it is imported for the first time.
        found = runpy.run_path(importlib.util.find_spec("keras.src.backend.config").origin)
    assert found["floatx"]() == "float32"
    assert found["max_steps_per_epoch"]() is None
    assert os.environ["MPLBACKEND"] == "agg"


def test_plugin_is_run_with_these_settings(monkeypatch, tmp_path, call):
    """Catches a plugin whose import of Keras fails or uses other settings."""
    (tmp_path / "my.py").write_text("import os; assert os.environ['MPLBACKEND'] == 'agg'")
    monkeypatch.setenv("MPLBACKEND", "module://missing")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    call("train.py", "--plugin", str(tmp_path / "my.py"), "--nope", status=1)


def test_durations():
    """Catches hours that are given in seconds."""
    texts = {42: "42 s", 100: "2 min", 2600: "43 min", 6000: "1 h 40", 86_400: "24 h 00"}
    assert {seconds: console.format_duration(seconds) for seconds in texts} == texts


def test_streams_need_not_work():
    """Catches a traceback for a closed or full stream, or for a name that cannot be printed."""
    script = SCRIPT.format("print('na\\udcefve \\u2192', flush=True)")
    cases = {">&-": 0, "2>&-": 0, "<&- >&- 2>&-": 0}
    if os.path.exists("/dev/full"):
        cases |= {">/dev/full": 2, "2>/dev/full": 0, "--help >/dev/full": 0}
    for (redirection, status), unbuffered in itertools.product(cases.items(), ("", "1")):
        command = ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, script]
        env = {
            **os.environ,
            "PYTHONIOENCODING": "ascii",
            "PYTHONUNBUFFERED": unbuffered,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
        assert done.returncode == status, (redirection, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
