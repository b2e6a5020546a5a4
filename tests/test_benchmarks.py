"""The benchmarks' own logic, without a training."""

import dataclasses
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import recurrences, reproduce_blog, runs, timing, variants
from fast_weights import checkpoints, data, folders, models, results
from fast_weights.config import Config
from fast_weights.errors import UserError

SCRIPT = str(runs.ROOT / "benchmarks/reproduce_blog.py")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds=a"], "argument --seeds: expected numbers such as 0,1,2. Received: a"),
        (["--jobs=0"], "argument --jobs: expected from 1 to 999999. Received: 0"),
        (["--quick", "--seeds=5"], "argument --quick: it goes with neither --seeds nor"),
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


def run_of(folder, name, program):
    """A run of a program of one's own that is to do an epoch."""
    (folder / f"{name}.py").write_text(program)
    return runs.Run(name, folder / name, 1, (), (str(folder / f"{name}.py"),))


def test_runs_that_fail_are_named_with_why(tmp_path, capsys):
    """A failure that hides another, one that has no words, a run that is dropped in silence."""
    failing = [
        run_of(tmp_path, "says", "import sys; sys.exit('error: no room')"),
        run_of(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"),
        run_of(tmp_path, "fails", "import sys; sys.exit(3)"),
        run_of(tmp_path, "lacks", "pass"),
    ]
    with pytest.raises(SystemExit) as caught:
        runs.run_all(failing)
    assert str(caught.value).splitlines() == [
        "these runs failed:",
        "says: error: no room",
        "killed: it was ended by signal 9",
        "fails: exit status 3",
        f"lacks: {tmp_path / 'lacks/results.jsonl'} does not have all 1 epochs. "
        f"Delete {tmp_path / 'lacks'} to have them run again",
    ]
    table = capsys.readouterr().out.splitlines()[-5:]
    assert [line.split()[2] for line in table[:4]] == ["failed"] * 4


def test_a_run_that_lacks_an_epoch_is_not_complete(tmp_path):
    run = runs.Run("one", tmp_path, 3, ())
    for epoch in (0, 2, 1):
        results.append(tmp_path, results.Record(epoch, 1, 0.5, 1, 0.5, 1, 0.1))
    assert not run.is_complete()
    results.truncate(tmp_path, 1)
    for epoch in (1, 2):
        results.append(tmp_path, results.Record(epoch, 1, 0.5, 1, 0.5, 1, 0.1))
    assert run.is_complete()


def test_the_table_tells_when_it_will_be_done(tmp_path, monkeypatch):
    """Hours that are told from the epoch that compiles."""
    under_way, waits = (runs.Run(name, tmp_path / name, 101, ()) for name in ("under way", "waits"))
    monkeypatch.setattr(runs, "RUNNING", {"under way": None})
    table = runs.Table([under_way, waits], jobs=2)
    under_way.folder.mkdir()
    lines = []
    for epoch, seconds in enumerate((900, 4)):
        record = results.Record(epoch, 1, 0.5, 1, 0.5, 1, seconds)
        results.append(under_way.folder, record)
        lines.append([line.rsplit("  ", 1)[-1].strip() for line in table._lines()])
    # 99 and 101 epochs of 4 seconds, two runs at a time.
    assert lines == [["begins", "waiting", "?"], ["7 min", "waiting", "about 7 min"]]
    # Four cores do not end it sooner.
    alone = runs.Table([under_way], jobs=4)._lines()
    assert [line.rsplit("  ", 1)[-1].strip() for line in alone] == ["7 min", "about 7 min"]


def fails():
    raise UserError("it is a folder")


def is_stopped():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("main", "status", "line"),
    [(fails, 2, "error: it is a folder\n"), (is_stopped, 130, "\nStopped.\n")],
)
def test_a_runner_ends_with_a_line(main, status, line, capsys):
    """A traceback where the runs are done and their figures are not."""
    with pytest.raises(SystemExit) as caught:
        runs.end_with(main)
    assert (caught.value.code, capsys.readouterr().err) == (status, line)


def test_signals_after_the_runs_are_as_they_were(tmp_path):
    """SIGTERM that becomes a KeyboardInterrupt where nobody waits for one."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit):
        runs.run_all([run_of(tmp_path, "fails", "import sys; sys.exit(3)")])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_runs_end_when_nobody_reads_the_table(tmp_path, monkeypatch):
    """A pipe that was closed, after which the trainings go on unseen."""

    def closed(table, is_last):
        raise BrokenPipeError

    monkeypatch.setattr(runs.Table, "show", closed)
    start = time.monotonic()
    with pytest.raises(BrokenPipeError):
        runs.run_all([run_of(tmp_path, "waits", "import time; time.sleep(60)")])
    while runs.RUNNING:
        time.sleep(0.05)
    assert time.monotonic() - start < 50


def test_a_file_without_records_is_named(tmp_path):
    (tmp_path / "CONTROL-seed0.jsonl").touch()
    with pytest.raises(UserError, match=r"CONTROL-seed0.jsonl holds no records"):
        reproduce_blog.read(tmp_path)


def test_what_is_timed_runs(tiny_config):
    """A program that nobody has called since the training changed."""
    batches = timing.training_batches(tiny_config, 40)
    layer = models.build_layer(tiny_config)
    assert timing.compiled_steps(layer, tiny_config, batches)(3) > 0


def test_a_short_comparison_keeps_off_the_committed_one(tmp_path, monkeypatch):
    """A try of one epoch in the place of the records of 200."""
    written = []
    monkeypatch.setattr(sys, "argv", ["recurrences", "--num_epochs=1"])
    monkeypatch.setattr(recurrences, "ROOT", tmp_path)
    monkeypatch.setattr(recurrences, "run_all", lambda runs, jobs: None)
    monkeypatch.setattr(runs.Run, "copy", lambda run, path: written.append((run.folder, path)))
    record = results.Record(0, 1, 0.5, 1, 0.5, 1, 0.1)
    monkeypatch.setattr(recurrences, "read_file", lambda path: [record])
    recurrences.main()
    assert len(written) == 12
    for trained, copied in written:
        assert tmp_path / "checkpoints/recurrences-1" in trained.parents
        assert copied.parent == tmp_path / "figures/recurrences-1"
    assert (tmp_path / "figures/recurrences-1/recurrences.png").exists()


def test_a_variant_keeps_off_the_models_own_folder(tmp_path):
    """Weights without layer normalization that pass for the blog's."""
    program = (
        "import runpy, sys\n"
        "from fast_weights import training\n"
        "from fast_weights.cells import fast_weights as cell\n"
        "def train(config, data_dir, folder, *rest):\n"
        "    print(folder, cell.layer_normalize.__name__)\n"
        "    return []\n"
        "training.train = train\n"
        "runpy.run_module('benchmarks.variants', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, "--over_the_batch"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=runs.ROOT)
    assert "variants/over_the_batch/RNN-LN-FW over_the_batch" in done.stdout, done.stderr
    with variants.patch("--data_seed=7"):
        training, _ = data.load_or_make(tmp_path, 3, 4, 5, 6, say=lambda line: None)
    expected, _ = data.make(3, 4, 5, 7)
    np.testing.assert_array_equal(training.tokens, expected.tokens)
    for flag in ("", "--data_seed", "--units=3"):
        with pytest.raises(SystemExit, match="error: expected --without_layer_norm"):
            variants.patch(flag)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_runs_end_with_whoever_started_them(tmp_path, number):
    """Trainings that go on, and keep the same command from going on."""
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
    process.send_signal(number)
    assert process.wait(timeout=5) == (143 if number == signal.SIGTERM else -9)
    time.sleep(3)
    assert not (tmp_path / "outlived").exists()
