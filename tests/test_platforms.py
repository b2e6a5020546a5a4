"""The scripts under rules of Windows and in a notebook."""

import os
import sys

import pytest
from processes import ROOT, TINY, checkpoint_arrays, records, run, run_directory

pytestmark = pytest.mark.slow


@pytest.mark.skipif(sys.platform != "linux", reason="Linux imitates Windows")
def test_scripts_obey_rules_of_windows(tmp_path):
    """Catches a flush, a rename or a file name that Windows refuses, and a module that it lacks."""
    windows, linux = tmp_path / "windows", tmp_path / "linux"
    windows.mkdir()
    linux.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests/windows")}
    for flags in (("--num_epochs=1",), ("--num_epochs=4",), ("--num_epochs=3", "--restart")):
        run("train.py", windows, *TINY, *flags, env=env)
    run("test.py", windows, "--evaluate", env=env)
    run("plot.py", windows, env=env)
    run("plot.py", windows, "--figure=memory", "--sample=g5o8??g", env=env)
    assert len(list((windows / "figures").iterdir())) == 5
    run("train.py", linux, *TINY, "--num_epochs=3")
    ours, others = run_directory(windows), run_directory(linux)
    assert ours.checkpoint_epochs() == [3, 2]
    assert checkpoint_arrays(ours) == checkpoint_arrays(others)
    assert records(ours) == records(others)


@pytest.fixture
def notebook(tmp_path):
    """A function that runs a cell, in a notebook in an empty directory.

    It returns what the cell prints, and interrupts the cell once it prints `interrupt_at`.
    """
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    kernel, client = manager.start_new_kernel(cwd=tmp_path, env=env)

    def execute(code, interrupt_at=None):
        printed = []

        def receive(message):
            content = message["content"]
            assert message["msg_type"] != "error", content
            printed.append(content["text"] if message["msg_type"] == "stream" else "")
            if interrupt_at and interrupt_at in printed[-1]:
                kernel.interrupt_kernel()

        client.execute_interactive(code, output_hook=receive, timeout=300)
        assert not {"\r", "\x1b"} & set("".join(printed)), printed
        return "".join(printed)

    yield execute
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


def test_scripts_run_in_a_notebook(notebook):
    """Catches a second script that defines its flags again, and an end of the kernel."""

    def call(script, *flags, **options):
        return notebook(f"%run {ROOT / script} {' '.join(flags)}", **options)

    pid = notebook("import os; print(os.getpid())")
    assert "PREDICTION: 5" in call("test.py")
    printed = call("train.py", *TINY, "--num_epochs=2")
    assert [line.split()[0] for line in printed.splitlines() if "/2 " in line] == ["1/2", "2/2"]
    assert printed.count("note: Training on ") == 1
    for flags in (["--units=6"], ["--unit=5"], ["RNN-LN"]):
        (line,) = call("train.py", *flags).splitlines()
        assert line.startswith("error: ")
    printed = call("train.py", "--num_epochs=100000", interrupt_at=" 3/100000")
    assert "--restart" in printed.splitlines()[-1]
    # The interrupted run released its lock.
    printed = call("train.py", *TINY, "--restart", "--num_epochs=1")
    assert printed.count("note: Training on ") == 1
    assert "of 40" in call("test.py", "--evaluate")
    assert "accuracy.png" in call("plot.py")
    assert notebook("print(os.getpid())") == pid
