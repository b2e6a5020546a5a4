"""Figures show the numbers that they are given."""

import dataclasses
import io
import itertools
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from fast_weights.experiment import plots
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.evaluation import SequenceTrace
from fast_weights.experiment.plots import curves, memory, style
from fast_weights.experiment.results import EpochRecord

TASK = Config().make_task()
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def records(offset, epochs=3):
    return [
        EpochRecord(epoch, 1, 0.1, 2 - offset, 0.1 + offset + epoch / 10, 3, 0.5)
        for epoch in range(1, epochs + 1)
    ]


@pytest.fixture
def trace():
    """A trace of a model with 4 units and 2 inner steps, with values of both signs."""
    rng = np.random.default_rng(0)
    probabilities = np.zeros((1, 37))
    probabilities[0, [31, 32]] = 0.75, 0.25  # the digits 5 and 6
    return SequenceTrace(
        TASK,
        TASK.encode("g5o8k1??g"),
        probabilities,
        fast_weights=rng.normal(size=(9, 4, 4)),
        hidden=rng.normal(size=(9, 4)),
        attention=rng.normal(size=(9, 2, 9)) * np.tri(9)[:, None, :],
    )


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written during the test, by file name."""
    found, write = {}, style.write

    def recorded_write(path, save):
        found[pathlib.Path(path).name] = save.__self__
        return write(path, save)

    monkeypatch.setattr(style, "write", recorded_write)
    return found


def test_each_model_has_its_line(tmp_path, figures):
    """Catches a model with another's numbers or color, and a model without records."""
    results = {"RNN-LN-FW": [records(0.3)], "CONTROL": [records(0.0, epochs=1)], "GRU-LN": []}
    plots.plot_curves(results, tmp_path)
    (axes,) = figures["accuracy.png"].axes
    control, fast = axes.lines
    assert [control.get_label(), fast.get_label()] == ["CONTROL", "RNN-LN-FW"]
    assert fast.get_color() == style.curve_style("RNN-LN-FW")["color"]
    assert list(fast.get_xdata()) == [1, 2, 3]
    assert list(fast.get_ydata()) == pytest.approx([0.5, 0.6, 0.7])
    assert control.get_marker() == "o"  # a line of one point is invisible


def test_seeds_are_drawn_as_a_mean_and_a_band():
    """Catches a short seed that hides the epochs of the others, or that bends their mean."""
    seeds = [records(0.0, epochs=5), [records(0.2)[0], records(0.2)[2]]]
    figure = curves._curves({"RNN-LN": seeds}, {}, "", "", "val_accuracy")
    (axes,) = figure.axes
    (line, beyond, end), (band,) = axes.lines, axes.collections
    # The second seed lacks epoch 2 and ends with 3.
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.5])
    assert list(beyond.get_xdata()) == [3, 4, 5]
    assert list(beyond.get_ydata()) == pytest.approx([0.4, 0.5, 0.6])
    assert list(end.get_xdata()) == [3]
    assert beyond.get_label().startswith("_")  # not in the legend
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.2, 0.6))


def test_mean_of_a_logarithmic_axis_is_geometric(tmp_path, figures):
    """Catches one large norm that looks like the middle of all seeds."""
    seeds = [
        [dataclasses.replace(one, gradient_norm=norm) for one in records(0.1)] for norm in (1, 100)
    ]
    plots.plot_curves({"RNN-LN": seeds}, tmp_path)
    (axes,) = figures["gradient_norm.png"].axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([10, 10, 10])


@pytest.mark.parametrize(
    ("format", "log_epochs"), [("png", False), ("png", True), ("svg", False), ("pdf", False)]
)
def test_curves_show_accuracy_loss_and_norm(tmp_path, figures, format, log_epochs):
    """Catches another quantity than the file's name says, another scale and another format."""
    paths = plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path / "new", format, log_epochs)
    names = [f"{name}.{format}" for name in ("accuracy", "loss", "gradient_norm")]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes().startswith(MAGIC[format]) for path in paths)
    values = ([0.3, 0.4, 0.5], [1.9] * 3, [3] * 3)
    for name, expected in zip(names, values, strict=True):
        (axes,) = figures[name].axes
        assert list(axes.lines[0].get_ydata()) == pytest.approx(expected)
        assert axes.get_xscale() == ("log" if log_epochs else "linear")


def test_single_model_is_drawn_with_training(tmp_path, figures):
    """Catches training under the name of validation, and a gradient norm drawn twice."""
    plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path)
    validation, training = figures["accuracy.png"].axes[0].lines
    assert (validation.get_label(), training.get_label()) == ("validation", "training")
    assert list(validation.get_ydata()) == pytest.approx([0.3, 0.4, 0.5])
    assert list(training.get_ydata()) == pytest.approx([0.1] * 3)
    assert list(figures["loss.png"].axes[0].lines[1].get_ydata()) == [1] * 3
    assert len(figures["gradient_norm.png"].axes[0].lines) == 1


def test_bundled_records_are_drawn_behind(tmp_path, figures):
    """Catches a model's own curve that cannot be told from the project's."""
    bundled = {"RNN-LN": [records(0.4)], "GRU-LN": [records(0.2)]}
    plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path, bundled=bundled)
    lines = figures["accuracy.png"].axes[0].lines
    labels = [line.get_label() for line in lines]
    assert labels == ["RNN-LN, bundled", "GRU-LN, bundled", "RNN-LN"]
    assert [line.get_alpha() for line in lines] == [0.35, 0.35, None]
    assert list(lines[2].get_ydata()) == pytest.approx([0.3, 0.4, 0.5])


@pytest.mark.parametrize(("epochs", "marked"), [(499, set()), (500, {0.90, 0.48})])
def test_published_accuracies_are_marked(tmp_path, figures, epochs, marked):
    """Catches another model's mark, and marks far beyond the curves."""
    results = {"RNN-LN": [records(0.1)], "CONTROL": [records(0, epochs)], "GRU-LN": []}
    plots.plot_curves(results, tmp_path)
    (axes,) = figures["accuracy.png"].axes
    marks = [line for line in axes.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert {tuple(line.get_xydata()[0]) for line in marks} == {(1000, value) for value in marked}
    for line in marks:
        name = {0.90: "RNN-LN", 0.48: "CONTROL"}[line.get_ydata()[0]]
        assert line.get_color() == style.curve_style(name)["color"]


def test_memory_figure_shows_the_trace(trace):
    """Catches heat maps in another order, bars of another step and shifted probabilities."""
    *strip, _, attention, prediction = memory.memory_figure(trace).axes
    assert "".join(axes.get_title() for axes in strip[:9]) == trace.text
    limits = {axes.images[0].get_clim() for axes in strip[:9]}
    assert len(limits) == 1  # one color scale for all
    for t, axes in enumerate(strip[:9]):
        np.testing.assert_array_equal(axes.images[0].get_array(), trace.fast_weights[t])
    heights = [bar.get_height() for bar in attention.patches]
    np.testing.assert_allclose(heights, trace.attention[-1].ravel())
    heights = {
        label.get_text(): bar.get_height()
        for label, bar in zip(prediction.get_xticklabels(), prediction.patches, strict=True)
    }
    assert {label: height for label, height in heights.items() if height} == {"5": 0.75, "6": 0.25}
    assert "75.0%" in prediction.get_title()


@pytest.mark.parametrize("format", MAGIC)
def test_memory_file_has_its_format(trace, tmp_path, format):
    """Catches a file of another format than its name says."""
    path = plots.plot_memory(trace, tmp_path / f"memory.{format}")
    assert path.name == f"memory.{format}"
    assert path.read_bytes().startswith(MAGIC[format])


def test_animation_shows_each_step(trace, tmp_path, monkeypatch):
    """Catches lost frames, another step's memory, and an answer that is shown too early."""
    frames = []

    def recorded_pixels(figure):
        left, right, _ = figure.axes
        heights = [bar.get_height() for bar in right.patches]
        texts = [one.get_text() for part in figure.subfigs for one in part.texts]
        frames.append((left.images[0].get_array(), heights, "".join(texts)))
        return to_pixels(figure)

    to_pixels = style.to_pixels
    monkeypatch.setattr(style, "to_pixels", recorded_pixels)
    with Image.open(plots.animate_memory(trace, tmp_path / "memory.gif")) as image:
        assert image.n_frames >= 9
    for t, (fast_weights, heights, text) in enumerate(frames):
        np.testing.assert_array_equal(fast_weights, trace.fast_weights[t])
        np.testing.assert_allclose(heights, plots.shares_of(trace.attention[t]).ravel())
        assert ("→ 5" in text) == (t == 8)


def test_probe_figures_show_the_trace(trace):
    """Catches rows in place of columns, reversed time, and symbols at other positions."""
    (axes, _) = plots.attention_figure(trace).axes
    shares = plots.shares_of(trace.attention.sum(axis=1))
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert "".join(label.get_text() for label in labels) == trace.text
    (axes, _) = plots.hidden_figure(trace).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), trace.hidden.T)
    assert "".join(label.get_text() for label in axes.get_xticklabels()) == trace.text
    *strip, _ = plots.strip_figure(trace).axes
    for t in range(9):
        np.testing.assert_array_equal(strip[t].images[0].get_array(), trace.fast_weights[t])
        assert strip[t].get_title() == trace.text[t]


def test_model_without_inner_steps_is_drawn(trace, tmp_path):
    """Catches S = 0, for which there is no attention, that ends in an error."""
    empty = dataclasses.replace(trace, attention=np.zeros((9, 0, 9)))
    assert plots.animate_memory(empty, tmp_path / "memory.gif").exists()
    (text,) = [text for axes in memory.memory_figure(empty).axes for text in axes.texts]
    assert "S = 0" in text.get_text()


def test_attention_is_drawn_as_shares():
    """Catches a division by zero."""
    shares = plots.shares_of(np.array([[1.0, 3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0, 0]])


def maps_in(figure):
    """Returns the images of a figure by the titles of their axes."""
    return {axes.get_title(): one.get_array() for axes in figure.axes for one in axes.images}


def test_mean_attention_is_drawn_by_queried_pair(tmp_path, figures):
    """Catches another pair's map, rows in place of columns, and a lost second row of maps."""
    maps = np.random.default_rng(0).uniform(size=(4, 11, 11))
    task, path = Config(num_pairs=4).make_task(), tmp_path / "attention.png"
    plots.plot_attention(maps, task, path, caption="RNN-LN-FW, seed 0")
    figure = figures["attention.png"]
    assert figure.get_suptitle() == "RNN-LN-FW, seed 0"
    drawn = maps_in(figure)
    assert [title[-1] for title in drawn] == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(list(drawn.values()), plots.shares_of(maps))


def test_diagonal_of_attention_does_not_set_the_color_scale(tmp_path, figures, trace):
    """Catches a query that is pale beside symbols that read themselves, and no sign of that."""
    task = Config(num_pairs=1).make_task()
    maps = np.full((1, 5, 5), 0.01) + np.diag([9.0, 9, 9, 9, 0])
    maps[0, -1, 1] = 0.06  # 60% of the attention of the query
    plots.plot_attention(maps, task, tmp_path / "attention.png")
    (image,) = figures["attention.png"].axes[0].images
    assert image.get_clim() == pytest.approx((0, 0.6))
    assert image.colorbar.extend == "max"
    plots.plot_attention(np.tri(5)[None], task, tmp_path / "attention.png")
    (image,) = figures["attention.png"].axes[0].images
    assert image.colorbar.extend == "max"  # the first step reads only itself
    trace.attention[:] = np.eye(9)[:, None]
    trace.attention[-1, 0, 1] = -3
    (image,) = plots.attention_figure(trace).axes[0].images
    assert image.get_clim() == pytest.approx((-0.6, 0.6))


@pytest.mark.parametrize("blocks", [("h",), ("reset", "update", "candidate")])
def test_weights_are_drawn_before_and_after_training(tmp_path, figures, blocks):
    """Catches a wrong panel, weights that are blank on another panel's scale, and wrong gates."""
    rng, columns = np.random.default_rng(0), 4 * len(blocks)
    sizes = {"kernel": 37, "recurrent_kernel": 4}
    before, after = (
        {name: rng.normal(size=(rows, columns)) for name, rows in sizes.items()} for _ in range(2)
    )
    before["recurrent_kernel"] = np.abs(before["recurrent_kernel"])
    plots.plot_weights(before, after, TASK, tmp_path / "weights.png", units=4, blocks=blocks)
    figure = figures["weights.png"]
    drawn = maps_in(figure)
    for title, name in (("W_h", "recurrent_kernel"), ("W_x", "kernel")):
        np.testing.assert_array_equal(drawn[f"${title}$ before training"], before[name])
        np.testing.assert_array_equal(drawn[f"${title}$ after training"], after[name])
    images = [image for axes in figure.axes for image in axes.images]
    tops = [np.abs(image.get_array()).max() for image in images]
    assert [image.get_clim() for image in images] == [(-top, top) for top in tops]
    assert len({image.colorbar for image in images} - {None}) == 4
    if len(blocks) > 1:
        labels = figure.axes[0].get_xticklabels()
        names = [(label.get_text(), label.get_position()[0]) for label in labels]
        assert names == [("reset", 1.5), ("update", 5.5), ("candidate", 9.5)]
        assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [3.5, 7.5]


def test_color_scale_is_symmetric_for_both_signs():
    """Catches a zero that has the color of a weight."""
    assert style.color_scale([-1.0, 3.0])["norm"].vmin == -3.0
    assert style.color_scale([0.0, 3.0])["norm"].vmin == 0.0


def test_pixels_are_those_of_the_figure(trace):
    """Catches an image for TensorBoard that has other columns or colors than the file."""
    figure = plots.hidden_figure(trace)
    pixels, file = plots.to_pixels(figure), io.BytesIO()
    figure.savefig(file, format="png")
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("num_pairs", [3, 26])
def test_text_fits_into_a_card(num_pairs):
    """Catches a label that TensorBoard's card cuts off, or that covers the next one."""
    task = Config(num_pairs=num_pairs).make_task()
    length = task.length
    values = np.random.default_rng(0).normal(size=(length, 4, 4))
    trace = SequenceTrace(
        task,
        task.encode("m" * length),
        np.zeros((1, 37)),
        fast_weights=values,
        hidden=values[:, 0],
        attention=np.tri(length)[:, None] + 9 * np.eye(length)[:, None],
    )
    for draw in (plots.strip_figure, plots.attention_figure, plots.hidden_figure):
        figure = draw(trace)
        plots.to_pixels(figure)  # lays it out
        drawn = figure.get_tightbbox()
        assert (drawn.min >= 0).all()
        assert (drawn.max <= figure.get_size_inches()).all()
        for axes in figure.axes:
            labels = [label for label in axes.get_xticklabels() if label.get_text()]
            boxes = [label.get_window_extent() for label in labels]
            assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_directory_that_cannot_be_written_is_named(tmp_path):
    """Catches a traceback after minutes of drawing."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "taken"))):
        plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path / "taken")
