"""The benchmarks' own logic, without a training."""

import dataclasses
import subprocess
import sys
import time

import pytest

from benchmarks import reproduce_blog, runs
from fast_weights import checkpoints, folders, results
from fast_weights.config import Config

SCRIPT = str(runs.ROOT / "benchmarks/reproduce_blog.py")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds=a"], "argument --seeds: expected numbers such as 0,1,2. Received: a"),
        (["--jobs=0"], "argument --jobs: expected from 1 to 999999. Received: 0"),
        (["--models=LSTM"], "RNN-LN-FW,GRU-LN,RNN-LN,CONTROL. Received: LSTM"),
        (["--help"], ""),
    ],
)
def test_the_script_runs_from_anywhere(tmp_path, flags, words):
    """A script that only works as a module; a run of hours on a mistyped flag."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == (2 if words else 0), done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == bool(words)


def test_a_run_of_other_settings_is_refused(tiny_config, tmp_path):
    """An experiment of one's own that is gone on with, and told as the blog's."""
    run = reproduce_blog.make_run("CONTROL", 0, 1000, tmp_path)
    reproduce_blog.check(run, "CONTROL", 0)
    for config, words in (
        (Config(model_name="CONTROL", units=10), "units=10"),
        (Config(model_name="CONTROL"), None),
        (Config(model_name="CONTROL", seed=1), "seed=1"),
    ):
        folders.save_config(run.folder, config)
        checkpoints.new_state(dataclasses.replace(tiny_config, model_name="CONTROL")).save(
            run.folder
        )
        if words:
            with pytest.raises(SystemExit, match=f"holds a run of {words}. Move it elsewhere"):
                reproduce_blog.check(run, "CONTROL", 0)
        else:
            reproduce_blog.check(run, "CONTROL", 0)
    folders.save_config(run.folder, Config(model_name="CONTROL"))
    for epoch in range(8):
        results.append(run.folder, results.Record(epoch, 1, 0.5, 1, 0.5, 1, 0.1))
    short = reproduce_blog.make_run("CONTROL", 0, 7, tmp_path)
    with pytest.raises(SystemExit, match="8 epochs"):
        reproduce_blog.check(short, "CONTROL", 0)


def test_all_runs_are_stopped_and_failures_named(tmp_path):
    """Trainings that outlive whoever started them; a failure that hides another."""
    (tmp_path / "fails.py").write_text("import sys; sys.exit('error: no room')")
    failing = [
        runs.Run(name, tmp_path, 1, (), (str(tmp_path / "fails.py"),)) for name in ("one", "two")
    ]
    with pytest.raises(SystemExit, match=r"(?s)one: .*no room.*two: .*no room"):
        runs.run_all(failing)
    program = (
        "import pathlib, sys; from benchmarks.runs import Run, run_all\n"
        "run_all([Run('waits', pathlib.Path(sys.argv[1]), 1, (), (sys.argv[1] + '/waits.py',))])"
    )
    (tmp_path / "waits.py").write_text(
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        f"time.sleep(3); pathlib.Path({str(tmp_path / 'outlived')!r}).touch()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=runs.ROOT)
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=5) != 0
    time.sleep(3)
    assert not (tmp_path / "outlived").exists()
