"""Figures of the memory of one sequence, and of mean attention."""

import functools
import math
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fast_weights.experiment.plots import style

if TYPE_CHECKING:  # `evaluation` loads Keras, which the curves do not need
    from fast_weights.experiment.evaluation import SequenceTrace
    from fast_weights.experiment.tasks import Task

MILLISECONDS_PER_STEP = 1200
# The most heat maps of A and attention maps in a row that are legible.
MAX_MAPS_PER_ROW, MAX_ATTENTION_MAPS_PER_ROW = 13, 3
NUM_PREDICTIONS = 10


@style.fixed_settings()
def plot_memory(
    trace: "SequenceTrace", path: str | pathlib.Path, caption: str = ""
) -> pathlib.Path:
    """Draws A after each symbol, the attention of the query, and the prediction.

    Args:
        trace: the trace of a model with fast weights.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.
    """
    rows = math.ceil(len(trace.tokens) / MAX_MAPS_PER_ROW)
    columns = max(math.ceil(len(trace.tokens) / rows), 5)
    heights = [rows * (10 / columns + 0.6), 2.8]
    figure = style.new_figure(11, sum(heights))
    style.add_caption(figure, caption)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    _draw_strip(upper, trace, rows, columns, fontsize=15)
    left, right = lower.subplots(1, 2, width_ratios=[1.4, 1])
    last = trace.positions[-1]
    _draw_attention(left, trace, trace.attention[last], length=410)
    left.set(
        ylabel=r"$\alpha \ldots \alpha \, (k \cdot q)$"
        if trace.has_heads
        else r"$\eta \, \lambda^{\mathrm{age}} \, (v \cdot h)$",
        title=f"attention of the query {trace.symbols[last]}",
    )
    _draw_prediction(right, trace)
    return style.write(path, figure.savefig)


def _draw_strip(figure, trace: "SequenceTrace", rows: int, columns: int, fontsize: int) -> None:
    """Draws A after each symbol, with the symbol as the title."""
    scale = style.color_scale(trace.fast_weights)
    panels = [figure.add_subplot(rows, columns, t + 1) for t in range(len(trace.tokens))]
    for t, axes in enumerate(panels):
        image = axes.imshow(trace.fast_weights[t], **scale)
        axes.set_title(trace.symbols[t], fontsize=fontsize, family="monospace")
        axes.set(xticks=[], yticks=[])
    panels[0].set_ylabel("S of each head" if trace.has_heads else "A, H × H")
    style.add_color_bar(figure, image, "fast weight", ax=panels, fraction=0.02, pad=0.01)


def _draw_attention(axes, trace: "SequenceTrace", attention, length: float) -> None:
    """Draws a bar for the attention of each inner step or head to each symbol, (S, T)."""
    inner_steps, kind = len(attention), "head" if trace.has_heads else "inner step"
    width = 0.8 / max(inner_steps, 1)
    for s, values in enumerate(attention):
        positions = np.arange(len(values)) + width * (s - (inner_steps - 1) / 2)
        shade = {"color": style.ACCENT, "alpha": 1 - 0.5 * s / inner_steps}
        axes.bar(positions, values, width, label=f"{kind} {s + 1}", **shade)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("symbol whose vector is read")
    style.label_symbols(axes.xaxis, trace.symbols, length)
    style.remove_frame(axes)
    if inner_steps > 1:
        axes.legend(frameon=False)


def _draw_prediction(axes, trace: "SequenceTrace") -> None:
    """Draws a bar for the probability of each of the most likely symbols."""
    probabilities = trace.probabilities[-1]
    likeliest = np.argsort(-probabilities, kind="stable")[:NUM_PREDICTIONS]
    colors = [style.ACCENT, *[style.MUTED] * (len(likeliest) - 1)]
    axes.bar(range(len(likeliest)), probabilities[likeliest], color=colors)
    symbols = [trace.task.vocabulary[token] for token in likeliest]
    style.label_symbols(axes.xaxis, symbols, length=290)
    axes.set(ylim=(0, 1), ylabel="probability", xlabel="symbol", title=_prediction(trace, -1))
    style.remove_frame(axes)


def _prediction(trace: "SequenceTrace", query: int) -> str:
    """Returns the prediction of a query and its target, if the task knows it, as text."""
    probabilities, vocabulary = trace.probabilities[query], trace.task.vocabulary
    text = f"prediction: {vocabulary[probabilities.argmax()]} ({probabilities.max():.1%})"
    targets = trace.task.targets(trace.tokens)
    return text if targets is None else f"{text}, target: {vocabulary[targets[query]]}"


@style.fixed_settings()
def animate_memory(trace: "SequenceTrace", path, caption: str = "") -> pathlib.Path:
    """Writes an animation of the sequence, symbol by symbol, with A and the attention.

    Args:
        trace: the trace of a model with fast weights.
        path: of the file to write, which ends in `.gif`. Its directory is created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.
    """
    figure, frames = style.new_figure(8, 3.2, dpi=90), []
    for t in range(len(trace.tokens)):
        figure.clear()
        style.add_caption(figure, caption)
        _draw_frame(figure, trace, t)
        frames.append(Image.fromarray(style.to_pixels(figure)))
    frames += 2 * frames[-1:]  # shows the prediction for longer
    # Matplotlib's own writer of GIFs accepts no open file.
    save = functools.partial(
        frames[0].save,
        save_all=True,
        append_images=frames[1:],
        duration=MILLISECONDS_PER_STEP,
        loop=0,
    )
    return style.write(path, save)


def _draw_frame(figure, trace: "SequenceTrace", t: int) -> None:
    """Draws one step: A, the attention, the sequence, and the prediction if the step has one."""
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.6])
    image = left.imshow(trace.fast_weights[t], **style.color_scale(trace.fast_weights))
    left.set(title="memory S" if trace.has_heads else "fast weights A", xticks=[], yticks=[])
    style.add_color_bar(figure, image, "fast weight", ax=left, fraction=0.05)
    shares = shares_of(trace.attention[t])
    _draw_attention(right, trace, shares, length=290)
    for position, label in zip(right.get_xticks(), right.get_xticklabels(), strict=True):
        label.set_color("black" if position < t else style.MUTED)
        if position == t:
            label.set(color=style.ACCENT, weight="bold")
    right.set(ylabel="share of attention", ylim=(1.05 * shares.min(initial=0), 1.05))
    if t in trace.positions:
        prediction = _prediction(trace, list(trace.positions).index(t))
        right.set_title(f"{trace.symbols[t]} → {prediction}", fontsize=11, color=style.ACCENT)
    else:
        right.set_title(f"attention of {trace.symbols[t]}")


def shares_of(attention):
    """Returns attention divided by the sum of its magnitudes over the last axis."""
    sums = np.abs(attention).sum(axis=-1, keepdims=True)
    return attention / np.maximum(sums, 1e-12)


@style.fixed_settings()
def strip_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure with a heat map of A after each symbol, in rows that fill a card."""
    figure = style.new_card()
    rows = round((len(trace.tokens) / 2) ** 0.5)
    _draw_strip(figure, trace, rows, math.ceil(len(trace.tokens) / rows), fontsize=10)
    return figure


@style.fixed_settings()
def attention_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the attention of each step to each symbol, T × T."""
    figure = style.new_card()
    shares = shares_of(trace.attention.sum(axis=1))
    _draw_maps(figure, [figure.subplots()], shares[None], trace.symbols, 165, 10)
    return figure


@style.fixed_settings()
def hidden_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the hidden state after each symbol, H × T."""
    figure = style.new_card()
    axes = figure.subplots()
    scale = style.color_scale(trace.hidden)
    image = axes.imshow(trace.hidden.T, aspect="auto", interpolation="nearest", **scale)
    style.label_symbols(axes.xaxis, trace.symbols, length=240, size=10)
    axes.set_ylabel("unit of $h_t$")
    style.add_color_bar(figure, image, "hidden state", ax=axes)
    return figure


@style.fixed_settings()
def plot_attention(maps, task: "Task", path, caption: str = "") -> pathlib.Path:
    """Draws the mean T × T map of the sequences of each group of a task.

    Each row shows shares of the attention of its step. The color scale ignores the diagonal:
    digits read themselves so strongly that the row of the query would be pale.

    Args:
        maps: (G, T, T). For each group, the weight of the vector of symbol τ (column) in step t
            (row).
        task: the task of the sequences.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.
    """
    columns = min(len(maps), MAX_ATTENTION_MAPS_PER_ROW)
    rows = math.ceil(len(maps) / columns)
    figure = style.new_figure(max(11 * columns / MAX_ATTENTION_MAPS_PER_ROW, 5), 4 * rows)
    style.add_caption(figure, caption)
    panels = [figure.add_subplot(rows, columns, group + 1) for group in range(len(maps))]
    _draw_maps(figure, panels, shares_of(np.asarray(maps)), task.position_labels, 165, 10)
    if len(maps) > 1:
        for group, axes in enumerate(panels, start=1):
            axes.set_title(f"query of {task.group} {group}")
    return style.write(path, figure.savefig)


def _draw_maps(figure, panels, shares, labels, length: float, size: float) -> None:
    """Draws T × T maps, (G, T, T), on a color scale that ignores the diagonal."""
    scale = style.color_scale(shares * (1 - np.eye(shares.shape[-1])))
    for axes, values in zip(panels, shares, strict=True):
        image = axes.imshow(values, **scale)
        for axis in (axes.xaxis, axes.yaxis):
            style.label_symbols(axis, labels, length, size)
        axes.set_xlabel("vector of")
    for axes in panels[::MAX_ATTENTION_MAPS_PER_ROW]:
        axes.set_ylabel("read at")
    # A step reads mostly itself, so the diagonal exceeds the scale.
    extend = "max" if image.get_clim()[0] == 0 else "both"
    label = "share of attention\n(scale without the diagonal)"
    style.add_color_bar(figure, image, label, ax=panels, extend=extend, fraction=0.02)
