"""The notebook: it is kept without outputs, and it runs from top to bottom in a real kernel."""

import subprocess
import sys

import pytest
from processes import OPTIMIZED, ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
PATH = ROOT / "docs/tour.ipynb"


def read():
    return nbformat.read(PATH, as_version=4)


def test_kept_without_outputs():
    """Catches a notebook that was saved after a run, with pictures and paths of one machine."""
    notebook = read()
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_set_up_installs_what_the_cells_need(monkeypatch, tmp_path):
    """Catches an installation without TensorFlow and matplotlib outside a clone."""
    first = next(cell.source for cell in read().cells if cell.cell_type == "code")
    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "fast_weights", None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    exec(first.replace('REPOSITORY = ""', 'REPOSITORY = "address"'), {})
    clone, install = commands
    assert clone[-2:] == ["address", "fast-weights"]
    assert install[1:4] == ["-m", "pip", "install"]
    assert install[-1] == "./fast-weights[experiment]"


@pytest.mark.slow
def test_runs():
    """Catches a cell that fails, a network that does not learn, and warnings between the cells."""
    notebook = read()
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={"metadata": {"path": str(PATH.parent)}}
    )
    client.execute(env=OPTIMIZED)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "WARNING" not in text
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 6
    for line in ("same result: True", "g5k8??g → 5", "g5k8??k → 8"):
        assert line in text
    lines = text.splitlines()
    accuracies = [float(line.split()[-1].rstrip("%")) for line in lines if line.endswith("%")]
    trained, *broken = accuracies
    assert trained > 99
    assert len(broken) == 3
    assert max(broken) < 55
