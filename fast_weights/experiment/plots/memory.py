"""Figures of the memory of one sequence, of mean attention, and of the slow weights."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fast_weights.experiment.plots import style

if TYPE_CHECKING:  # `evaluation` loads Keras, which the curves do not need
    from fast_weights.experiment.evaluation import SequenceTrace

DIGITS = "0123456789"
SECONDS_PER_STEP = 1.2
# Limits that keep figures legible: heat maps of A side by side, labels along an axis, and
# attention maps side by side.
MAX_MAPS_PER_ROW = 13
MAX_LABELS = 13
ATTENTION_MAPS_PER_ROW = 3


def plot_memory(trace: "SequenceTrace", path, caption: str = "") -> pathlib.Path:
    """Draws A after each symbol, the attention of the query, and the prediction.

    Args:
        trace: of a model with fast weights.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.

    Raises:
        UserError: if the file cannot be written.
    """
    figure = memory_figure(trace)
    style.add_caption(figure, caption)
    return style.write(path, figure.savefig)


def memory_figure(trace: "SequenceTrace") -> Figure:
    """Returns the figure of `plot_memory`."""
    rows = -(-len(trace.text) // MAX_MAPS_PER_ROW)
    figure = style.new_figure(11, 2.8 + 1.8 * rows)
    upper, lower = figure.subfigures(2, 1, height_ratios=[rows, 1.5])
    _draw_strip(upper, trace, rows)
    left, right = lower.subplots(1, 2, width_ratios=[1.4, 1])
    _draw_attention(left, trace.text, trace.attention[-1])
    left.set_ylabel("attention η λ^age (v · h)")
    left.set_title(f"attention of the query {trace.text[-1]!r}")
    _draw_prediction(right, trace)
    return figure


def strip_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of A after each symbol, one heat map each, in two rows."""
    figure = style.new_figure(6, 3)
    _draw_strip(figure, trace, rows=2)
    return figure


def _draw_strip(figure, trace: "SequenceTrace", rows: int = 1) -> None:
    """Draws A after each symbol, with the symbol as the title."""
    length = len(trace.text)
    panels = np.ravel(figure.subplots(rows, -(-length // rows)))
    strip, unused = panels[:length], panels[length:]
    for axes in unused:
        axes.set_visible(False)
    scale = style.color_scale(trace.fast_weights)
    for t, axes in enumerate(strip):
        image = axes.imshow(trace.fast_weights[t], **scale)
        axes.set_title(trace.text[t], fontsize=15, family="monospace")
        axes.set_xticks([])
        axes.set_yticks([])
    strip[0].set_ylabel("A, H × H")
    figure.colorbar(image, ax=panels, label="fast weight", fraction=0.02, pad=0.01)


def attention_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the attention of each step to each symbol, T × T."""
    figure = style.new_figure(4.6, 4)
    axes = figure.subplots()
    shares = shares_of(trace.attention.sum(axis=1))
    size = 10 if len(trace.text) <= MAX_LABELS else 7
    image = _draw_map(axes, shares, list(trace.text), style.color_scale(shares))
    axes.tick_params(labelsize=size, labelfontfamily="monospace")
    axes.set_ylabel("read at")
    figure.colorbar(image, ax=axes, label="share of attention")
    return figure


def hidden_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the hidden state after each symbol, H × T."""
    figure = style.new_figure(4.6, 4)
    axes = figure.subplots()
    scale = style.color_scale(trace.hidden)
    image = axes.imshow(trace.hidden.T, aspect="auto", interpolation="nearest", **scale)
    axes.set_xticks(range(len(trace.text)), list(trace.text), family="monospace")
    axes.set_ylabel("unit of $h_t$")
    figure.colorbar(image, ax=axes, label="hidden state")
    return figure


def _draw_map(axes, shares, labels: list[str], scale: dict, **rotation):
    """Draws a T × T map and returns the image. An empty label leaves its tick out."""
    image = axes.imshow(shares, **scale)
    ticks = [i for i, label in enumerate(labels) if label]
    axes.set_xticks(ticks, [labels[i] for i in ticks], **rotation)
    axes.set_yticks(ticks, [labels[i] for i in ticks])
    axes.set_xlabel("vector of")
    return image


def _draw_attention(axes, text: str, attention) -> None:
    """Draws a bar for the attention of each inner step to each symbol, (S, T)."""
    inner_steps, length = attention.shape
    width = 0.8 / max(inner_steps, 1)
    for s in range(inner_steps):
        positions = np.arange(length) + width * (s - (inner_steps - 1) / 2)
        label = f"inner step {s + 1}" if inner_steps > 1 else None
        shade = 1 - 0.5 * s / inner_steps
        axes.bar(positions, attention[s], width, color=style.ACCENT, alpha=shade, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(length), list(text), family="monospace", fontsize=13)
    axes.set_xlabel("symbol whose vector is read")
    if inner_steps > 1:
        axes.legend(frameon=False)
    elif not inner_steps:
        axes.text(0.5, 0.5, "nothing is read (S = 0)", transform=axes.transAxes, ha="center")
    style.remove_frame(axes)


def _draw_prediction(axes, trace: "SequenceTrace") -> None:
    """Draws a bar for the probability of each digit, and one for all other symbols."""
    values = [trace.probability_of(digit) for digit in DIGITS]
    values.append(max(0.0, 1 - sum(values)))
    # `find` returns -1, the index of the last bar, for a symbol that is not a digit.
    likeliest = DIGITS.find(trace.prediction)
    colors = [style.MUTED] * len(values)
    colors[likeliest] = style.ACCENT
    axes.bar(range(len(values)), values, color=colors)
    axes.set_xticks(range(len(values)), [*DIGITS, "else"], family="monospace")
    axes.set_ylim(0, 1)
    axes.set_xlabel("answer")
    axes.set_ylabel("probability")
    share = trace.probability_of(trace.prediction)
    axes.set_title(f"answer: {trace.prediction!r} at {share:.1%}")
    style.remove_frame(axes)


def animate_memory(trace: "SequenceTrace", path, caption: str = "") -> pathlib.Path:
    """Writes an animation of the sequence, symbol by symbol, with A and the attention.

    Args:
        trace: of a model with fast weights.
        path: of the file to write, which ends in `.gif`. Its directory is created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.

    Raises:
        UserError: if the file cannot be written.
    """

    def save(path):
        figure = style.new_figure(8, 3.6)
        FigureCanvasAgg(figure)
        writer = PillowWriter(fps=1 / SECONDS_PER_STEP)
        with writer.saving(figure, str(path), dpi=90):
            for t in range(len(trace.text)):
                figure.clear()
                style.add_caption(figure, caption)
                _draw_frame(figure, trace, t)
                # The answer stays long enough to be read.
                for _ in range(3 if t == len(trace.text) - 1 else 1):
                    writer.grab_frame()

    return style.write(path, save)


def _draw_frame(figure, trace: "SequenceTrace", t: int) -> None:
    """Draws one step: the sequence up to it, A, the attention, and at the end the answer."""
    length = len(trace.text)
    width = min(0.05, 0.7 / length)  # of a symbol, as a fraction of the figure
    header, body = figure.subfigures(2, 1, height_ratios=[1, 5])
    for i, symbol in enumerate(trace.text):
        color = style.ACCENT if i == t else ("black" if i < t else style.MUTED)
        font = {"fontsize": 400 * width, "weight": "bold" if i == t else "normal"}
        position = (0.45 + width * (i - (length - 1) / 2), 0.45)
        header.text(*position, symbol, color=color, family="monospace", ha="center", **font)
    if t == length - 1:
        share = trace.probability_of(trace.prediction)
        answer = f"→ {trace.prediction}  {share:.0%}"
        header.text(0.47 + width * length / 2, 0.45, answer, color=style.ACCENT, fontsize=18)
    left, right = body.subplots(1, 2, width_ratios=[1, 1.5])
    image = left.imshow(trace.fast_weights[t], **style.color_scale(trace.fast_weights))
    left.set_title("fast weights A")
    left.set_xticks([])
    left.set_yticks([])
    body.colorbar(image, ax=left, label="fast weight", fraction=0.05)
    shares = shares_of(trace.attention[t])
    _draw_attention(right, trace.text, shares)
    right.set_ylim(1.05 * shares.min(initial=0), 1.05)
    right.set_ylabel("share")
    right.set_title(f"attention of {trace.text[t]!r}")


def shares_of(attention):
    """Returns attention divided by the sum of its magnitudes over the last axis."""
    sums = np.abs(attention).sum(axis=-1, keepdims=True)
    return attention / np.maximum(sums, 1e-12)


def plot_attention(maps, path, caption: str = "") -> pathlib.Path:
    """Draws the mean T × T map of the sequences that query each pair.

    Each row shows shares of the attention of its step. Digits read themselves so strongly that
    the row of the query would be invisible beside theirs.

    Args:
        maps: (K, T, T), for each queried pair, how much step t (row) reads of the vector of
            symbol τ (column).
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.

    Returns:
        The path of the file.

    Raises:
        UserError: if the file cannot be written.
    """
    columns = min(len(maps), ATTENTION_MAPS_PER_ROW)
    rows = -(-len(maps) // columns)
    figure = style.new_figure(11, 4 * rows)
    panels = np.ravel(figure.subplots(rows, columns))
    shares = shares_of(np.asarray(maps))
    scale = style.color_scale(shares)
    style.add_caption(figure, caption)
    for pair, values in enumerate(shares):
        axes = panels[pair]
        image = _draw_map(axes, values, position_labels(len(values), pair), scale, rotation=90)
        axes.set_title(f"query of pair {pair + 1}")
        if pair % columns == 0:
            axes.set_ylabel("read at")
    for unused in panels[len(maps) :]:
        unused.set_visible(False)
    figure.colorbar(image, ax=panels, label="share of attention", fraction=0.02)
    return style.write(path, figure.savefig)


def position_labels(length: int, queried: int) -> list[str]:
    """Returns a label for each position of a sequence, with a mark at the queried pair.

    A long sequence has labels only at that pair and at the query; the others are empty.
    """
    num_pairs = (length - 3) // 2
    if length > MAX_LABELS:
        labels = [f"pair {pair + 1} ◂" if pair == queried else "" for pair in range(num_pairs)]
        return [label for pair in labels for label in (pair, "")] + ["", "", "query"]
    labels = []
    for pair in range(num_pairs):
        mark = " ◂" if pair == queried else ""
        labels += [f"letter {pair + 1}{mark}", f"digit {pair + 1}{mark}"]
    return [*labels, "?", "?", "query"]


def plot_weights(before, after, path, caption: str = "", blocks=("h",)) -> pathlib.Path:
    """Draws W_h and W_x before and after training.

    Args:
        before: (W_h, W_x) as drawn from the seed, (H, n·H) and (37, n·H).
        after: the same, trained.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.
        blocks: the names of the n blocks of columns. Default: the hidden state.

    Returns:
        The path of the file.

    Raises:
        UserError: if the file cannot be written.
    """
    figure = style.new_figure(9, 7)
    panels = figure.subplots(2, 2)
    for row, name in enumerate(("W_h", "W_x")):
        scale = style.color_scale(np.stack([before[row], after[row]]))
        for axes, values, when in zip(
            panels[row], (before, after), ("before", "after"), strict=True
        ):
            image = axes.imshow(values[row], aspect="auto", interpolation="nearest", **scale)
            axes.set_title(f"${name}$ {when} training")
            _label_blocks(axes, values[row].shape[1] // len(blocks), blocks)
        panels[row, 0].set_ylabel("unit of $h_{t-1}$" if name == "W_h" else "symbol of $x_t$")
        figure.colorbar(image, ax=panels[row], label="weight", fraction=0.03)
    for axes in panels[1]:
        axes.set_yticks([12.5, 30.5, 36], ["a-z", "0-9", "?"])
    style.add_caption(figure, caption)
    return style.write(path, figure.savefig)


def _label_blocks(axes, units: int, blocks) -> None:
    """Labels blocks of `units` columns each, with a line between them."""
    if len(blocks) == 1:
        axes.set_xlabel("unit of $h_t$")
        return
    axes.set_xticks([(i + 0.5) * units - 0.5 for i in range(len(blocks))], blocks)
    axes.set_xlabel(f"{units} units each")
    for i in range(1, len(blocks)):
        axes.axvline(i * units - 0.5, color="black", linewidth=0.8)
