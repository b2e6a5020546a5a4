"""Figures hold the curves that they claim."""

import pytest

from fast_weights import figures
from fast_weights.errors import UserError
from fast_weights.results import Record


def records(offset, epochs=3):
    return [Record(i, 1, 0.1, 2 - offset, 0.2 + offset + i / 10, 3, 0.5) for i in range(epochs)]


def test_one_line_a_model_in_its_own_colour():
    """A model drawn with another's numbers or colour, or a missing one drawn at all."""
    results = {"RNN-LN-FW": records(0.3), "CONTROL": records(0.0, epochs=1), "GRU-LN": []}
    figure = figures._curves(results, "Title", "y", lambda record: record.valid_accuracy)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["CONTROL", "RNN-LN-FW"]
    control, fast = axes.lines
    assert fast.get_color() == figures.STYLES["RNN-LN-FW"]["color"]
    assert list(fast.get_xdata()) == [0, 1, 2]
    assert list(fast.get_ydata()) == pytest.approx([0.5, 0.6, 0.7])
    assert control.get_marker() == "o"  # a single point has no line


def test_files_are_written(tmp_path):
    paths = figures.plot_curves({"RNN-LN": records(0.1)}, tmp_path / "new")
    assert [path.name for path in paths] == ["accuracy.png", "loss.png", "gradient_norm.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        figures.plot_curves({"RNN-LN": records(0.1)}, tmp_path / "taken")
