"""The scripts' side of the terminal: exit status, flags, log and progress."""

import io
import os
import subprocess
import sys
import types

import pytest
from processes import ROOT

from fast_weights.experiment import console
from fast_weights.experiment.results import EpochRecord

CLEAR = "\r\x1b[K"
SCRIPT = """
import logging, signal, time
from fast_weights.experiment import console
from fast_weights.experiment.errors import CorruptFileError

def interrupt(*_):
    signal.raise_signal(signal.SIGINT)

class Interrupted:
    __del__ = interrupt

def main():
    logging.getLogger("fast_weights.a").info("one")
    logging.getLogger("fast_weights.b").warning("two")
    %s

console.run(main, on_interrupt="resume")
"""


def run_main(statement, *flags):
    """Runs a script whose `main` logs two lines and then executes a statement."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT % statement, *flags],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("statement", "status", "last_line"),
    [
        ("print('done')", 0, "warning: two"),
        ("raise CorruptFileError('why')", 2, "error: why"),
        ("interrupt(); time.sleep(10)", 130, "resume"),
        # Python ignores an exception in a destructor or a callback.
        ("Interrupted(); time.sleep(10)", 130, "resume"),
        # A defect is never reported as a user's mistake.
        ("raise ValueError('defect')", 1, "ValueError: defect"),
    ],
)
def test_exit_status(statement, status, last_line):
    """Catches success after an error, a message that is lost, and a Ctrl-C without effect."""
    done = run_main(statement)
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert lines[:2] == ["note: one", "warning: two"]
    assert lines[-1] == last_line
    assert ("Traceback" in done.stderr) == (status == 1)
    assert done.stdout == ("" if status else "done\n")


def test_argument_that_is_not_a_flag_is_refused():
    """Catches `train.py GRU-LN`, which would train another model."""
    done = run_main("print('done')", "GRU-LN")
    assert (done.returncode, done.stdout) == (2, "")
    assert "GRU-LN" in done.stderr


FLAGS = """
import dataclasses, train
from absl import flags
from fast_weights.experiment.config import Config

FLAGS = flags.FLAGS
FLAGS(["train.py"])
for field in dataclasses.fields(Config):
    flag = FLAGS[field.name]
    assert flag.default == field.default, field.name
    limits, bad = field.metadata, ["abc"]
    if limits["low"] is not None:
        flag.parse(str(limits["low"]))
        bad.append(str(limits["low"] - 1))
    if limits["high"] is not None:
        flag.parse(str(limits["high"]))
        bad.append(str(limits["high"] * 2 + 1))
    for choice in limits["choices"] or ():
        flag.parse(choice)
    for value in bad:
        try:
            flag.parse(value)
        except flags.IllegalFlagValueError as error:
            assert field.name in str(error)
        else:
            raise AssertionError((field.name, value))
print("checked")
"""


def test_flags_have_the_bounds_of_the_settings():
    """Catches a flag with another default, type or bound than its setting."""
    done = subprocess.run(
        [sys.executable, "-c", FLAGS], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.stdout == "checked\n", done.stderr


def test_hidden_lines_are_shown_if_the_import_fails(capfd, monkeypatch):
    """Catches a broken TensorFlow that fails without a reason, and lines that stay hidden."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def load(fails):
        with console.quiet_import():
            os.write(2, b"noise\n")
            if fails:
                raise ImportError("libcudart")

    load(fails=False)
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError, match="libcudart"):
        load(fails=True)
    print("shown", file=sys.stderr)
    assert capfd.readouterr().err == "noise\nshown\n"


@pytest.mark.parametrize(
    ("backend", "keras_is_imported", "left", "note"),
    [
        ("jax", False, "tensorflow", "jax"),
        ("", False, "tensorflow", ""),
        ("jax", True, "jax", ""),
    ],
)
def test_backend_that_the_scripts_replace(
    monkeypatch, caplog, backend, keras_is_imported, left, note
):
    """Catches another backend that is replaced in silence, and a setting that has no effect."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    if keras_is_imported:
        monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    with caplog.at_level("INFO", "fast_weights"), console.quiet_import():
        pass
    assert os.environ["KERAS_BACKEND"] == left
    assert [record.args for record in caplog.records] == ([(note,)] if note else [])


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def write_table(stream):
    """Writes two of 1000 epochs and half of the next, and returns the lines."""
    table = console.ProgressTable(1000, stream)
    first = EpochRecord(139, 0.0327, 0.9954, 0.0418, 0.9901, 3.376, 3.06)
    table.end_epoch(first, 0.9905, None)
    table.end_epoch(EpochRecord(140, 12.5, 1.0, 0.0417, 0.9, 123.4567, 120.5), 1.0, 2600)
    table.update(141, 0.5)
    return stream.getvalue().split("\n")


def test_table_in_a_file():
    """Catches a number under the heading of another, and control characters in a file."""
    _, heading, first, second, end = write_table(io.StringIO())
    assert heading.split()[0] == "epoch"
    expected = "139/1000 0.0327 99.54% 0.0418 99.01% 99.05% 3.376 3.06 ?"
    assert first.split() == expected.split()
    assert second.split()[-5:] == ["100.00%", "123.457", "120.50", "43", "min"]
    assert len(heading) == len(first) <= 80
    assert end == ""


def test_live_line_on_a_terminal():
    """Catches an epoch of minutes without a sign of progress, and a line that is not cleared."""
    *lines, live = write_table(Terminal())
    assert all(line.startswith(CLEAR) for line in (lines[0], *lines[2:], live))
    for word in ("141/1000", f"[{'#' * 15:<30}]", "50%", "100.00%", "43 min"):
        assert word in live
    assert len(live.removeprefix(CLEAR)) <= 80


def test_durations():
    """Catches hours that are given in seconds."""
    texts = {42: "42 s", 100: "2 min", 2600: "43 min", 6000: "1 h 40", 86_400: "24 h 00"}
    assert {seconds: console.format_duration(seconds) for seconds in texts} == texts
