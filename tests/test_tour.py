"""The notebook is kept with its outputs, and runs from top to bottom in a real kernel."""

import pytest
from processes import OPTIMIZED, ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
PATH = ROOT / "docs/tour.ipynb"


def cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_kept_with_outputs():
    """Catches outputs that are missing or out of order, warnings, and paths of one machine."""
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    check(notebook)
    for text in ("/tmp", "/home", "/root", '"execution": {'):
        assert text not in PATH.read_text(encoding="utf-8")


@pytest.mark.slow
def test_runs():
    """Catches a cell that fails, a network that does not learn, and warnings between the cells."""
    notebook = nbformat.read(PATH, as_version=4)
    metadata = {"metadata": {"path": str(PATH.parent)}}
    client = nbclient.NotebookClient(notebook, timeout=1800, resources=metadata)
    client.execute(env=OPTIMIZED)
    check(notebook)


def check(notebook):
    """Checks what the cells print and draw."""
    outputs = [output for cell in cells(notebook) for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "WARNING" not in text
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 6
    for line in ("same result: True", "g5k8??g → 5", "g5k8??k → 8"):
        assert line in text
    lines = [line for line in text.splitlines() if line.endswith("%")]
    trained, *broken = (float(line.split()[-1].rstrip("%")) for line in lines)
    assert trained > 99
    assert len(broken) == 3
    assert max(broken) < 55
