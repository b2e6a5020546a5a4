"""Figures show the numbers that they are given."""

import dataclasses
import itertools
import pathlib

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from fast_weights.experiment import plots
from fast_weights.experiment.config import Config
from fast_weights.experiment.evaluation import SequenceTrace
from fast_weights.experiment.plots import memory, style
from fast_weights.experiment.results import EpochRecord

MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def records(offset, epochs=3):
    return [
        EpochRecord(epoch, 1, 0.1, 2 - offset, 0.1 + offset + epoch / 10, 3, 0.5)
        for epoch in range(1, epochs + 1)
    ]


def make_trace(inner_steps=2, **settings):
    """Returns a trace of 4 units, with values of both signs."""
    task, rng = Config(**settings).make_task(), np.random.default_rng(0)
    tokens, length = task.encode(task.default_sample), task.length
    queries = len(task.answer_positions(tokens))
    return SequenceTrace(
        task,
        tokens,
        rng.dirichlet(np.ones(len(task.vocabulary)) / 9, size=queries),
        fast_weights=rng.normal(size=(length, 4, 4)),
        hidden=rng.normal(size=(length, 4)),
        attention=rng.normal(size=(length, inner_steps, length)) * np.tri(length)[:, None],
    )


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written during the test, by file name."""
    found, write = {}, style.write

    def recorded_write(path, save):
        found[pathlib.Path(path).name] = getattr(save, "__self__", None)
        return write(path, save)

    monkeypatch.setattr(style, "write", recorded_write)
    return found


def values_of(line):
    """Returns the points of a line, rounded."""
    return [tuple(point) for point in line.get_xydata().round(6)]


def test_each_model_has_its_line(tmp_path, figures):
    """Catches another quantity than the file's name says, another model's numbers or color."""
    results = {"RNN-LN-FW": [records(0.3)], "CONTROL": [records(0.0, epochs=1)], "GRU-LN": []}
    paths = plots.plot_curves(results, tmp_path / "new", "svg", log_epochs=True)
    assert [path.name for path in paths] == ["accuracy.svg", "loss.svg", "gradient_norm.svg"]
    for path, values in zip(paths, ([0.5, 0.6, 0.7], [1.7] * 3, [3] * 3), strict=True):
        (axes,) = figures[path.name].axes
        control, fast = axes.lines
        assert [control.get_label(), fast.get_label()] == ["CONTROL", "RNN-LN-FW"]
        assert fast.get_color() == style.curve_style("RNN-LN-FW")["color"]
        assert values_of(fast) == list(zip([1, 2, 3], values, strict=True))
        assert control.get_marker() == "o"  # a line of one point is invisible
        assert axes.get_xscale() == "log"


def test_seeds_are_drawn_as_a_mean_and_a_band(tmp_path, figures):
    """Catches a short seed that hides or bends the others, and an arithmetic mean of norms."""
    short = [dataclasses.replace(one, gradient_norm=300) for one in records(0.2)[::2]]
    plots.plot_curves({"RNN-LN": [records(0.0, epochs=5), short]}, tmp_path)
    mean, beyond, end = figures["accuracy.png"].axes[0].lines[:3]
    # The second seed lacks epoch 2 and ends with 3.
    assert values_of(mean) == [(1, 0.3), (3, 0.5)]
    assert values_of(beyond) == [(3, 0.4), (4, 0.5), (5, 0.6)]
    assert values_of(end) == [(3, 0.6)]
    assert beyond.get_label().startswith("_")  # not in the legend
    band = figures["accuracy.png"].axes[0].collections[0].get_paths()[0].get_extents()
    assert tuple(band.intervaly) == pytest.approx((0.2, 0.6))
    assert values_of(figures["gradient_norm.png"].axes[0].lines[0]) == [(1, 30), (3, 30)]


def test_single_model_is_drawn_with_training(tmp_path, figures):
    """Catches training under the name of validation, and a gradient norm drawn twice."""
    plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path)
    validation, training = figures["accuracy.png"].axes[0].lines
    assert validation.get_label() == "RNN-LN" != training.get_label()
    assert list(validation.get_ydata()) == pytest.approx([0.3, 0.4, 0.5])
    assert list(training.get_ydata()) == [0.1] * 3
    assert list(figures["loss.png"].axes[0].lines[1].get_ydata()) == [1] * 3
    assert len(figures["gradient_norm.png"].axes[0].lines) == 1


def test_bundled_records_are_drawn_behind(tmp_path, figures):
    """Catches a model's own curve that cannot be told from the project's."""
    plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path, bundled={"RNN-LN": [records(0.4)]})
    bundled, own = figures["accuracy.png"].axes[0].lines
    assert (bundled.get_alpha(), own.get_alpha()) == (0.35, None)
    assert bundled.get_label() != own.get_label()
    assert list(own.get_ydata()) == pytest.approx([0.3, 0.4, 0.5])


@pytest.mark.parametrize(("epochs", "marked"), [(499, {}), (500, {"RNN-LN": 0.9, "CONTROL": 0.48})])
def test_published_accuracies_are_marked(tmp_path, figures, epochs, marked):
    """Catches another model's mark, and marks far beyond the curves."""
    plots.plot_curves({"RNN-LN": [records(0.1)], "CONTROL": [records(0, epochs)]}, tmp_path)
    lines = figures["accuracy.png"].axes[0].lines
    marks = {line.get_color(): values_of(line) for line in lines if line.get_marker() == "D"}
    marks.pop("white", None)  # of the legend
    color = {name: style.curve_style(name)["color"] for name in marked}
    assert marks == {color[name]: [(1000, value)] for name, value in marked.items()}


def test_memory_figure_shows_the_trace(tmp_path, figures):
    """Catches maps or bars of another step, a wrong prediction and a target that is not shown."""
    trace = make_trace()
    plots.plot_memory(trace, tmp_path / "memory.pdf", "caption")
    *strip, _, attention, prediction = figures["memory.pdf"].axes
    assert "".join(axes.get_title() for axes in strip) == trace.text
    assert len({axes.images[0].get_clim() for axes in strip}) == 1
    for t, axes in enumerate(strip):
        np.testing.assert_array_equal(axes.images[0].get_array(), trace.fast_weights[t])
    heights = [bar.get_height() for bar in attention.patches]
    np.testing.assert_allclose(heights, trace.attention[-1].ravel())
    heights = [bar.get_height() for bar in prediction.patches]
    labels = {tick.get_position()[0]: tick.get_text() for tick in prediction.get_xticklabels()}
    tokens = trace.task.encode("".join(labels[position] for position in range(10)))
    np.testing.assert_array_equal(heights, trace.probabilities[0, tokens])
    assert heights == sorted(trace.probabilities[0], reverse=True)[:10]
    assert trace.prediction in prediction.get_title()
    assert prediction.get_title().endswith(trace.task.decode(trace.task.targets(trace.tokens)))


def test_animation_shows_each_step(tmp_path, monkeypatch):
    """Catches lost frames, another step's memory, and a prediction that is shown too early."""
    trace, frames, to_pixels = make_trace(num_pairs=1), [], style.to_pixels

    def recorded_pixels(figure):
        left, right, _ = figure.axes
        heights = [bar.get_height() for bar in right.patches]
        frames.append((left.images[0].get_array(), heights, right.get_title()))
        return to_pixels(figure)

    monkeypatch.setattr(style, "to_pixels", recorded_pixels)
    with Image.open(plots.animate_memory(trace, tmp_path / "memory.gif")) as image:
        assert image.n_frames == 5
    for t, (fast_weights, heights, title) in enumerate(frames):
        np.testing.assert_array_equal(fast_weights, trace.fast_weights[t])
        np.testing.assert_allclose(heights, memory.shares_of(trace.attention[t]).ravel())
        assert (memory._prediction(trace, 0) in title) == (t == 4)


def test_cards_show_the_trace():
    """Catches rows in place of columns, reversed time, and symbols at other positions."""
    trace = make_trace()
    shares = memory.shares_of(trace.attention.sum(axis=1))
    for figure, expected in (
        (plots.attention_figure(trace), shares),
        (plots.hidden_figure(trace), trace.hidden.T),
    ):
        axes = figure.axes[0]
        np.testing.assert_array_equal(axes.images[0].get_array(), expected)
        labels = {tick.get_position()[0]: tick.get_text() for tick in axes.get_xticklabels()}
        assert "".join(labels[t] for t in range(9)) == trace.text


def test_attention_is_drawn_by_group_beside_its_diagonal(tmp_path, figures):
    """Catches another group's map, and a query that is pale beside symbols that read themselves."""
    task = Config(num_pairs=4).make_task()
    maps = np.random.default_rng(0).uniform(size=(4, 11, 11)) + 50 * np.diag([1] * 10 + [0])
    maps[3, -1, 2] = 20
    maps[0, 0] = 0  # with the paper's recurrence, the first symbol reads nothing
    plots.plot_attention(maps, task, tmp_path / "attention.png")
    panels = figures["attention.png"].axes[:4]
    shares = maps / np.maximum(maps.sum(axis=-1, keepdims=True), 1e-9)
    np.testing.assert_allclose([axes.images[0].get_array() for axes in panels], shares)
    assert [axes.get_title()[-1] for axes in panels] == ["1", "2", "3", "4"]
    assert panels[0].images[0].get_clim() == pytest.approx((0, shares[3, -1, 2]))


def test_weights_are_drawn_before_and_after_training(tmp_path, figures):
    """Catches a wrong panel, weights that are blank on another panel's scale, and wrong gates."""
    rng, path = np.random.default_rng(0), tmp_path / "weights.png"
    before, after = ({"kernel": k * rng.uniform(size=(37, 8))} for k in (1, 9))
    blocks = ("reset", "candidate")
    plots.plot_weights(before, after, Config().make_task(), path, units=4, blocks=blocks)
    panels = figures["weights.png"].axes[:2]
    for axes, values in zip(panels, (before["kernel"], after["kernel"]), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), values)
        assert axes.images[0].get_clim() == (-values.max(), values.max())
        labels = axes.get_xticklabels()
        names = [(label.get_text(), label.get_position()[0]) for label in labels]
        assert names == [("reset", 1.5), ("candidate", 5.5)]
        assert [line.get_xdata()[0] for line in axes.lines] == [3.5]


def shown_texts(figure):
    """Returns the texts of a figure that was drawn, and their boxes in pixels."""
    figure.set_layout_engine("none")
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        shown = axis._update_ticks()  # without those beyond the limits of the axis
        for tick in {*axis.get_major_ticks(), *axis.get_minor_ticks()} - {*shown}:
            tick.label1.set_visible(False)
            tick.label2.set_visible(False)
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
    return [(one.get_text(), one.get_window_extent()) for one in texts]


RECALL = {"task": "multi-query-recall"}


@pytest.mark.parametrize(
    "settings",
    [
        {"inner_steps": 0},
        {"num_pairs": 15},
        {**RECALL, "num_pairs": 1, "sequence_length": 6},
        {**RECALL, "num_pairs": 4, "vocabulary_size": 256},
    ],
    ids=str,
)
def test_no_text_is_cut_or_covered(tmp_path, figures, settings):
    """Catches a label, a title or a caption that is cut, or that covers another text."""
    trace, caption = make_trace(**settings), "learning_rate=0.001, " * 9
    maps = np.ones((1, trace.task.length, trace.task.length))
    plots.plot_memory(trace, tmp_path / "memory.png", caption)
    plots.plot_attention(maps, trace.task, tmp_path / "attention.png", caption)
    drawn = [plots.strip_figure(trace), plots.attention_figure(trace), plots.hidden_figure(trace)]
    drawn.append(style.new_figure(8, 3.2, dpi=90))
    style.add_caption(drawn[-1], caption)
    memory._draw_frame(drawn[-1], trace, trace.positions[-1])
    for figure in drawn:
        plots.to_pixels(figure)
    for figure in [*figures.values(), *drawn]:
        texts = shown_texts(figure)
        for text, box in texts:
            assert min(box.min) > -1, text
            assert (box.max < figure.bbox.size + 1).all(), text
        for (text, box), (other, another) in itertools.combinations(texts, 2):
            width = min(box.x1, another.x1) - max(box.x0, another.x0)
            height = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert min(width, height) < 1, (text, other)


def test_figures_do_not_depend_on_the_settings_of_the_user(tmp_path):
    """Catches a figure in the user's style: large type, LaTeX, images upside down, cropped."""
    trace = make_trace(**RECALL, num_pairs=1)

    def draw():
        paths = plots.plot_curves({"RNN-LN": [records(0.1)]}, tmp_path)
        paths.append(plots.plot_memory(trace, tmp_path / "memory.png"))
        cards = (plots.strip_figure, plots.attention_figure, plots.hidden_figure)
        pixels = [plots.to_pixels(card(trace)).tobytes() for card in cards]
        return [path.read_bytes() for path in paths] + pixels

    expected = draw()
    settings = {"text.usetex": True, "image.origin": "lower", "font.size": 22}
    with matplotlib.rc_context({**settings, "savefig.bbox": "tight", "savefig.dpi": 30}):
        assert draw() == expected
        assert matplotlib.rcParams["font.size"] == 22
