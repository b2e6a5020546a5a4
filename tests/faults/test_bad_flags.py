"""Every flag's bad values: one line that names flag, value and bound, before TensorFlow loads."""

import dataclasses
import functools
import os
import resource
import subprocess
import sys

import pytest
from assertions import assert_refused
from harm import ROOT, command, run

from fast_weights.config import Config
from fast_weights.terminal import one_line

WORDS = ("", "abc", "1e999", "\x1b[2J", "ünïcode", "--units=3", "9" * 5_000)
NUMBERS = ("nan", "inf", "-inf", "-1", "-1e-30", "9" * 30, "1e300")


def bad_values():
    """(flag, value, what the bound is called) of the settings; zero where it is bad."""
    for field in dataclasses.fields(Config):
        limits = field.metadata
        if field.type is bool:
            yield from ((field.name, value, "true or false") for value in WORDS)
        elif field.type is str:
            yield from ((field.name, value, limits["bound"]) for value in (*WORDS, *NUMBERS))
        else:
            yield from ((field.name, value, limits["bound"]) for value in WORDS if value != "1e999")
            yield from ((field.name, value, limits["bound"]) for value in NUMBERS)
            for value in ("1.5",) if field.type is int else ():
                yield field.name, value, limits["bound"]
            if not (limits["low"] <= 0 and limits["above"] < 0):
                yield field.name, "0", limits["bound"]
    yield from (("summary_every", value, "from 1 to 1000000") for value in ("0", "-1", "x", "1.5"))


@pytest.fixture(scope="module")
def without_tensorflow(tmp_path_factory):
    """A place in which importing TensorFlow or Keras fails, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("path")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise RuntimeError('loaded')")
    return folder


def test_every_value_of_every_setting():
    """A type, a bound or a character that none thought of; one process reads all of them."""
    program = (
        "import sys, train; from absl import flags\n"
        "from fast_weights import terminal\n"
        "terminal.stop_at_once = lambda line: None\n"
        "parse = terminal.flags_parser(flags)\n"
        "for line in sys.stdin.read().split('\\0'):\n"
        "    flags.FLAGS.unparse_flags()\n"
        "    for name in flags.FLAGS: flags.FLAGS[name].unparse()\n"
        "    try: status = train.main(parse(['train.py', line]))\n"
        "    except SystemExit as error: status = error.code\n"
        "    assert status == 2, (line, status)\n"
        "    sys.stderr.write('\\0')\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    cases = list(bad_values())
    lines = "\0".join(f"--{name}={value}" for name, value, _ in cases)
    done = subprocess.run(
        [sys.executable, "-c", program], input=lines, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    said = done.stderr.split("\0")[:-1]
    for (name, value, bound), line in zip(cases, said, strict=True):
        assert line.count("\n") == 1
        assert line.startswith("error: ")
        assert line[:-1].isprintable()
        assert f"Received: {name}=" in line or f"Received: --{name}={one_line(value[:9])}" in line
        assert bound in line, (name, value, line)


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("train.py", ["--unit=3"], ["'unit'", "units"]),
        ("train.py", ["--units"], ["Missing value", "--units"]),
        ("train.py", ["--batch_size=200", "--num_training=100"], ["batch_size=200"]),
        ("train.py", ["--batch_size=100000"], ["num_training=64000", "batch_size=100000"]),
        ("train.py", ["--data_dir=\udcff"], ["--data_dir must be UTF-8", "\\udcff"]),
        ("train.py", ["--data_dir="], ["--data_dir must name a folder"]),
        ("train.py", [f"--flagfile={sys.executable}"], ["--flagfile must name a text file"]),
        ("train.py", ["--flagfile=/nowhere"], ["cannot read --flagfile=/nowhere: No such file"]),
        (
            "train.py",
            ["--flagfile", "/dev/zero"],
            ["--flagfile=/dev/zero: expected a regular file"],
        ),
        ("train.py", ["--noquiet=3"], ["--noquiet=3"]),
        ("train.py", ["--stderrthreshold=zzz"], ["--stderrthreshold=zzz"]),
        ("train.py", ["--logger_levels=x"], ["--logger_levels=x"]),
        ("train.py", ["RNN-LN"], ["expected only --flags. Received: RNN-LN"]),
        ("test.py", ["--model_name=LSTM"], ["one of RNN-LN-FW", "--model_name=LSTM"]),
        ("test.py", ["--seed=-1"], ["seed=-1", "from 0 to 4294967295"]),
        ("test.py", ["--evaluate=maybe"], ["true or false", "--evaluate=maybe"]),
        ("plot.py", ["--figure=loss"], ["one of curves, memory", "--figure=loss"]),
        ("plot.py", ["--format=gif"], ["one of png, svg, pdf", "--format=gif"]),
        ("plot.py", ["--sample=g5o8??g"], ["--sample goes with --figure=memory", "curves"]),
        ("plot.py", ["--figure=memory", "--log_epochs"], ["--log_epochs goes with", "memory"]),
        ("plot.py", ["--seed=1e3"], ["a whole number", "--seed=1e3"]),
    ],
)
def test_one_line_and_no_tensorflow(tmp_path, without_tensorflow, script, flags, words):
    done = run(tmp_path, *flags, script=script, env={"PYTHONPATH": str(without_tensorflow)})
    assert_refused(done, *words)


def test_a_flag_of_a_file_with_a_null(tmp_path, without_tensorflow):
    (tmp_path / "flags").write_bytes(b"--data_dir=a\0b\n")
    environment = {"PYTHONPATH": str(without_tensorflow)}
    done = run(tmp_path, f"--flagfile={tmp_path / 'flags'}", env=environment)
    assert_refused(done, "--data_dir must be text", "a\\x00b")


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_file_of_flags_that_names_another(tmp_path, without_tensorflow, end):
    """absl would open it, a device without an end included."""
    (tmp_path / "flags").write_text(f"--quiet{end}--flagfile=/dev/zero{end}", newline="")
    environment = {"PYTHONPATH": str(without_tensorflow)}
    done = run(tmp_path, f"--flagfile={tmp_path / 'flags'}", env=environment)
    assert_refused(done, "a file of flags cannot name another", str(tmp_path / "flags"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_pairs=x"], ["`num_pairs` must be of type int, from 1 to 26", "num_pairs='x'"]),
        (["--num_pairs=0"], ["`num_pairs` must be from 1 to 26", "num_pairs=0"]),
        (["--seed=" + "9" * 5_000], ["`seed` must be of type int, from 0", "..."]),
        (["--num_training=1e3"], ["num_training='1e3'"]),
        (["--data_dir="], ["--data_dir must name a folder"]),
        (["--data_dir=/dev/null/\x1b[2J"], ["cannot write data", "\\x1b[2J"]),
        (["--bogus=\x1b[2J"], ["unrecognized arguments: --bogus=\\x1b[2J"]),
    ],
    ids=str,
)
def test_the_data_module(tmp_path, flags, words):
    """A program without a script's manners."""
    done = run_data(tmp_path, *flags)
    assert_refused(done, *words)
    assert done.stderr[:-1].isprintable()


def run_data(folder, *flags, **options):
    options = {"capture_output": True, "text": True, "timeout": 60, "cwd": ROOT, **options}
    line = [sys.executable, "-m", "fast_weights.data", f"--data_dir={folder}", *flags]
    return subprocess.run(line, **options)


def test_the_data_module_in_odd_surroundings(tmp_path):
    """A letter that the terminal lacks, a reader that goes away, memory that is not there."""
    few = ("--num_training=5", "--num_validation=5")
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = run_data(tmp_path / "ü", *few, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xfc" in done.stdout
    with open("/dev/full", "w") as full:
        streams = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = run_data(tmp_path, *few, **streams)
    assert_refused(done, "No space left on device")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_AS, (10**9, 10**9))
    done = run_data(tmp_path, "--num_training=10000000", "--num_pairs=26", preexec_fn=limit)
    assert_refused(done, "more memory than there is. Take fewer sequences")


@pytest.mark.parametrize("script", ["train.py", "test.py", "plot.py"])
def test_help_needs_no_tensorflow(tmp_path, without_tensorflow, script):
    """Help that takes seconds: it takes a tenth of one where nothing heavy is loaded."""
    done = run(tmp_path, "--help", script=script, env={"PYTHONPATH": str(without_tensorflow)})
    assert "--checkpoint_dir" in done.stdout
    assert done.stderr == ""
    assert "matplotlib" not in done.stdout


def test_a_name_that_is_too_long(tmp_path):
    line = command(tmp_path, "--checkpoint_dir=" + "long/" * 2_000)
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "File name too long" in done.stderr
