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


def test_scripts_run_in_a_notebook(tmp_path):
    """Catches flags that are defined again, an end of the kernel, and a lock that is kept."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    tiny = " ".join(TINY)
    interrupt = "import _thread, threading; threading.Timer(20, _thread.interrupt_main).start()"
    printed = {
        f"%run {ROOT}/test.py": "PREDICTION: 5",
        f"%run {ROOT}/train.py {tiny} --num_epochs=2": " 2/2 ",
        f"%run {ROOT}/train.py --units=6": "error: ",
        f"%run {ROOT}/train.py --unit=5": "error: ",
        f"%run {ROOT}/train.py RNN-LN": "error: ",
        f"{interrupt}\n%run {ROOT}/train.py --num_epochs=100000": "(without --restart)",
        f"%run {ROOT}/train.py {tiny} --restart --num_epochs=1": " 1/1 ",
        f"%run {ROOT}/test.py --evaluate": "of 40",
        f"%run {ROOT}/plot.py": "accuracy.png",
    }
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, printed)])
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=300, resources=resources)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    for cell, expected in zip(notebook.cells, printed.values(), strict=True):
        text = "".join(output.text for output in cell.outputs)
        assert expected in text
        assert text.count("note: Training on ") == (
            "/train.py" in cell.source and expected[0] != "e"
        )
        assert text.count("\n") == 1 or expected != "error: "
        assert not {"\r", "\x1b"} & set(text)
