"""Figures hold what they claim."""

import dataclasses

import numpy as np
import pytest

from fast_weights import figures
from fast_weights.errors import UserError
from fast_weights.figures import curves, memory, style
from fast_weights.results import Record
from fast_weights.sampling import Watched

MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def records(offset, epochs=3):
    return [Record(i, 1, 0.1, 2 - offset, 0.2 + offset + i / 10, 3, 0.5) for i in range(epochs)]


@pytest.fixture
def watched():
    """What a model of 4 units and 2 inner steps might have done; signs included."""
    rng = np.random.default_rng(0)
    probabilities = np.zeros(37)
    probabilities[[31, 32]] = 0.75, 0.25  # "5" and "6"
    return Watched(
        "g5o8k1??g",
        probabilities,
        fast_weights=rng.normal(size=(9, 4, 4)),
        hidden=rng.normal(size=(9, 4)),
        attention=rng.normal(size=(9, 2, 9)) * np.tri(9)[:, None, :],
    )


def test_one_line_a_model_in_its_own_colour():
    """A model drawn with another's numbers or colour, or a missing one drawn at all."""
    results = {"RNN-LN-FW": [records(0.3)], "CONTROL": [records(0.0, epochs=1)], "GRU-LN": []}
    figure = curves._curves(results, "Title", "y", lambda record: record.valid_accuracy)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["CONTROL", "RNN-LN-FW"]
    control, fast = axes.lines
    assert fast.get_color() == figures.STYLES["RNN-LN-FW"]["color"]
    assert list(fast.get_xdata()) == [1, 2, 3]
    assert list(fast.get_ydata()) == pytest.approx([0.5, 0.6, 0.7])
    assert control.get_marker() == "o"  # a single point has no line


def test_seeds_are_a_mean_and_a_band():
    """A band of one seed; a young seed that takes the others' epochs away."""
    seeds = [records(0.0, epochs=4), [records(0.2)[0], records(0.2)[2]]]
    figure = curves._curves({"RNN-LN": seeds}, "T", "y", lambda record: record.valid_accuracy)
    (axes,) = figure.axes
    (line,), (band,) = axes.lines, axes.collections
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    # Epochs 2 and 4 are of the first seed alone.
    alone = [seeds[0][epoch].valid_accuracy for epoch in (1, 3)]
    assert list(line.get_ydata()) == pytest.approx([0.3, alone[0], 0.5, alone[1]])
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.2, 0.6))
    assert line.get_label() == "RNN-LN (2 seeds)"


@pytest.mark.parametrize("format", figures.FORMATS)
@pytest.mark.parametrize("log_epochs", [False, True])
def test_curves_are_written(tmp_path, format, log_epochs):
    paths = figures.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path / "new", format, log_epochs)
    names = [f"{name}.{format}" for name in ("accuracy", "loss", "gradient_norm")]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes().startswith(MAGIC[format]) for path in paths)


def test_memory_figure_holds_the_sequence(watched):
    """A strip in another order, bars of another step, a prediction that is not the model's."""
    figure = memory.memory_figure(watched)
    *strip, _, attention, prediction = figure.axes
    assert "".join(axes.get_title() for axes in strip[:9]) == watched.text
    for t, axes in enumerate(strip[:9]):
        np.testing.assert_array_equal(axes.images[0].get_array(), watched.fast_weights[t])
        assert axes.images[0].get_clim() == (
            -strip[0].images[0].norm.vmax,
            axes.images[0].norm.vmax,
        )
    heights = [bar.get_height() for bar in attention.patches]
    np.testing.assert_allclose(heights, watched.attention[-1].ravel())
    assert [bar.get_height() for bar in prediction.patches][5:7] == [0.75, 0.25]
    assert "'5' at 75.0%" in prediction.get_title()


def test_memory_files(watched, tmp_path):
    """An animation that leaves symbols out."""
    for format in figures.FORMATS:
        path = figures.plot_memory(watched, tmp_path, format)
        assert path.read_bytes().startswith(MAGIC[format])
    path = figures.animate_memory(watched, tmp_path)
    image = pytest.importorskip("PIL.Image").open(path)
    assert image.n_frames >= len(watched.text)


def test_without_inner_steps_nothing_is_read(watched, tmp_path):
    """S = 0, of which there is no attention to draw."""
    figures.animate_memory(dataclasses.replace(watched, attention=np.zeros((9, 0, 9))), tmp_path)
    figures.plot_memory(dataclasses.replace(watched, attention=np.zeros((9, 0, 9))), tmp_path)
    assert (tmp_path / "memory.gif").exists()


def test_attention_is_drawn_as_shares():
    np.testing.assert_allclose(
        memory.shares_of(np.array([[1.0, 3.0], [0.0, 0.0]])), [[0.25, 0.75], [0, 0]]
    )
    assert memory.place_names(9, asked=1)[1:4] == ["digit 1", "letter 2 ◂", "digit 2 ◂"]


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn, {panel's title: its map}, of the figures that are written meanwhile."""
    found, write = {}, style.write

    def writing(output_dir, name, save):
        for axes in save.__self__.axes:
            found.update({axes.get_title(): image.get_array() for image in axes.images})
        return write(output_dir, name, save)

    monkeypatch.setattr(style, "write", writing)
    return found


def test_attention_is_drawn_by_the_pair_asked_for(tmp_path, drawn):
    """Another pair's map, or columns for rows; more maps than stand in a row."""
    maps = np.random.default_rng(0).uniform(size=(4, 11, 11))
    assert figures.plot_attention(maps, tmp_path).stat().st_size > 5_000
    assert list(drawn) == [f"asked for pair {pair}" for pair in (1, 2, 3, 4)]
    np.testing.assert_array_equal(list(drawn.values()), memory.shares_of(maps))


def test_weights_are_drawn_before_and_after(tmp_path, drawn):
    """After for before, or W_x for W_h."""
    rng = np.random.default_rng(0)
    before, after = ((rng.normal(size=(4, 4)), rng.normal(size=(37, 4))) for _ in range(2))
    assert figures.plot_weights(before, after, tmp_path).stat().st_size > 5_000
    for i, name in enumerate(("W_h", "W_x")):
        np.testing.assert_array_equal(drawn[f"${name}$ before training"], before[i])
        np.testing.assert_array_equal(drawn[f"${name}$ after training"], after[i])


def test_color_scale_is_symmetric_where_there_are_signs():
    assert style.color_scale([-1.0, 3.0])["norm"].vmin == -3.0
    assert style.color_scale([0.0, 3.0])["norm"].vmin == 0.0


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        figures.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path / "taken")
