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
    """A young seed that takes the others' epochs away, or whose end is a leap of the mean."""
    seeds = [records(0.0, epochs=5), [records(0.2)[0], records(0.2)[2]]]
    figure = curves._curves({"RNN-LN": seeds}, "T", "y", lambda record: record.valid_accuracy)
    (axes,) = figure.axes
    (line, beyond, end), (band,) = axes.lines, axes.collections
    # The second seed lacks epoch 2, and ends with 3.
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.5])
    assert list(beyond.get_xdata()) == [3, 4, 5]
    assert list(beyond.get_ydata()) == pytest.approx([0.4, 0.5, 0.6])
    assert list(end.get_xdata()) == [3]
    assert beyond.get_label().startswith("_")  # of no entry in the legend
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.2, 0.6))
    assert line.get_label() == "RNN-LN (2 seeds)"


def test_the_mean_of_a_logarithmic_axis_is_geometric(tmp_path, written):
    """One seed's spike that passes for the middle of all."""
    seeds = [[dataclasses.replace(one, gradient_norm=norm) for one in records(0.1)]
             for norm in (1, 100)]  # fmt: skip
    figures.plot_curves({"RNN-LN": seeds}, tmp_path)
    (axes,) = written["gradient_norm.png"].axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([10, 10, 10])


@pytest.fixture
def written(monkeypatch):
    """The figures that are written meanwhile, {file's name: figure}."""
    found, write = {}, style.write

    def writing(output_dir, name, save):
        found[name] = save.__self__
        return write(output_dir, name, save)

    monkeypatch.setattr(style, "write", writing)
    return found


@pytest.mark.parametrize("format", figures.FORMATS)
@pytest.mark.parametrize("log_epochs", [False, True])
def test_curves_are_written(tmp_path, written, format, log_epochs):
    """Another quantity than the axis says; an axis that is not as asked for."""
    paths = figures.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path / "new", format, log_epochs)
    names = [f"{name}.{format}" for name in ("accuracy", "loss", "gradient_norm")]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes().startswith(MAGIC[format]) for path in paths)
    values = ([0.3, 0.4, 0.5], [1.9] * 3, [3] * 3)
    for name, expected in zip(names, values, strict=True):
        (axes,) = written[name].axes
        assert list(axes.lines[0].get_ydata()) == pytest.approx(expected)
        assert axes.get_xscale() == ("log" if log_epochs else "linear")


@pytest.mark.parametrize(("epochs", "marked"), [(499, set()), (500, {0.90, 0.48})])
def test_published_end_points_are_marked(tmp_path, written, epochs, marked):
    """Another model's mark, marks of models that are not drawn, an axis that is all marks."""
    runs = {"RNN-LN": [records(0.1)], "CONTROL": [records(0, epochs)], "GRU-LN": []}
    figures.plot_curves(runs, tmp_path)
    (axes,) = written["accuracy.png"].axes
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    keys = [mark for mark in marks if mark.get_label() == "published"]
    marks = [mark for mark in marks if mark not in keys]
    assert [key.get_color() for key in keys] == (["white"] if marked else [])
    assert {tuple(line.get_xydata()[0]) for line in marks} == {(1000, value) for value in marked}
    for line in marks:
        name = {0.90: "RNN-LN", 0.48: "CONTROL"}[line.get_ydata()[0]]
        assert line.get_color() == figures.STYLES[name]["color"]


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
    """A file of another kind, or half an animation."""
    for format in figures.FORMATS:
        path = figures.plot_memory(watched, tmp_path, format)
        assert path.read_bytes().startswith(MAGIC[format])
    path = figures.animate_memory(watched, tmp_path)
    image = pytest.importorskip("PIL.Image").open(path)
    assert image.n_frames >= len(watched.text)


def test_the_animation_goes_step_by_step(watched, tmp_path, monkeypatch):
    """Frames that stand still, or show the step before; an answer that comes too early."""
    frames = []

    class Recorder(memory.PillowWriter):
        def grab_frame(self):
            left, right, _ = self.fig.axes
            heights = [bar.get_height() for bar in right.patches]
            texts = [one.get_text() for part in self.fig.subfigs for one in part.texts]
            frames.append((left.images[0].get_array(), heights, "".join(texts)))
            super().grab_frame()

    monkeypatch.setattr(memory, "PillowWriter", Recorder)
    figures.animate_memory(watched, tmp_path, "a model")
    for t, (fast_weights, heights, text) in enumerate(frames[:9]):
        np.testing.assert_array_equal(fast_weights, watched.fast_weights[t])
        np.testing.assert_allclose(heights, memory.shares_of(watched.attention[t]).ravel())
        assert ("→ 5" in text) == (t == 8)


def test_pictures_of_the_probe(watched):
    """Columns for rows, time backwards, a symbol at another's place."""
    (axes, _) = figures.attention_figure(watched).axes
    shares = memory.shares_of(watched.attention.sum(axis=1))
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert "".join(label.get_text() for label in labels) == watched.text
    (axes, _) = figures.hidden_figure(watched).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), watched.hidden.T)
    assert "".join(label.get_text() for label in axes.get_xticklabels()) == watched.text
    *strip, _ = figures.strip_figure(watched).axes
    for t in range(9):
        np.testing.assert_array_equal(strip[t].images[0].get_array(), watched.fast_weights[t])
        assert strip[t].get_title() == watched.text[t]


def test_a_long_probe_has_its_symbols():
    """A map of 19 steps without a name."""
    text = "".join(f"{letter}1" for letter in "abcdefgh") + "??c"
    watched = Watched(text, np.zeros(37), np.zeros((19, 4)), None, np.ones((19, 1, 19)))
    axes, _ = figures.attention_figure(watched).axes
    assert "".join(label.get_text() for label in axes.get_yticklabels()) == text


def test_without_inner_steps_nothing_is_read(watched, tmp_path):
    """S = 0, of which there is no attention to draw."""
    figures.animate_memory(dataclasses.replace(watched, attention=np.zeros((9, 0, 9))), tmp_path)
    figures.plot_memory(dataclasses.replace(watched, attention=np.zeros((9, 0, 9))), tmp_path)
    assert (tmp_path / "memory.gif").exists()
    figure = memory.memory_figure(dataclasses.replace(watched, attention=np.zeros((9, 0, 9))))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["nothing is read (S = 0)"]


def test_attention_is_drawn_as_shares():
    np.testing.assert_allclose(
        memory.shares_of(np.array([[1.0, 3.0], [0.0, 0.0]])), [[0.25, 0.75], [0, 0]]
    )
    assert memory.place_names(9, asked=1)[1:4] == ["digit 1", "letter 2 ◂", "digit 2 ◂"]
    long = memory.place_names(21, asked=1)
    assert [name for name in long if name] == ["pair 2 ◂", "query"]
    assert long.index("pair 2 ◂") == 2


def maps_in(figure):
    """{panel's title: its map}."""
    return {axes.get_title(): one.get_array() for axes in figure.axes for one in axes.images}


def test_attention_is_drawn_by_the_pair_asked_for(tmp_path, written):
    """Another pair's map, or columns for rows; more maps than stand in a row."""
    maps = np.random.default_rng(0).uniform(size=(4, 11, 11))
    figures.plot_attention(maps, tmp_path, caption="a model")
    drawn = maps_in(written["attention.png"])
    assert written["attention.png"].get_suptitle() == "a model"
    assert list(drawn) == [f"asked for pair {pair}" for pair in (1, 2, 3, 4)]
    np.testing.assert_array_equal(list(drawn.values()), memory.shares_of(maps))


@pytest.mark.parametrize("blocks", [("h",), ("reset", "update", "candidate")])
def test_weights_are_drawn_before_and_after(tmp_path, written, blocks):
    """After for before, or W_x for W_h; a gate's columns that pass for units."""
    rng, columns = np.random.default_rng(0), 4 * len(blocks)
    before, after = (
        (rng.normal(size=(4, columns)), rng.normal(size=(37, columns))) for _ in range(2)
    )
    figures.plot_weights(before, after, tmp_path, blocks=blocks)
    figure = written["weights.png"]
    drawn = maps_in(figure)
    if len(blocks) > 1:
        names = [
            (tick.get_text(), tick.get_position()[0]) for tick in figure.axes[0].get_xticklabels()
        ]
        assert names == [("reset", 1.5), ("update", 5.5), ("candidate", 9.5)]
        assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [3.5, 7.5]
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
