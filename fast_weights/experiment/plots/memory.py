"""Figures of the memory of one sequence, of mean attention, and of the slow weights."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fast_weights.experiment.plots import style

if TYPE_CHECKING:  # `evaluation` loads Keras, which the curves do not need
    from fast_weights.experiment.evaluation import SequenceTrace
    from fast_weights.experiment.tasks import Task

SECONDS_PER_STEP = 1.2
# Keras's names of the matrices, and those of the equations.
WEIGHT_TITLES = {"kernel": "$W_x$", "recurrent_kernel": "$W_h$"}
# Limits that keep figures legible: heat maps of A side by side, labels along an axis (of a card
# for TensorBoard, single symbols), answers with a bar of their own, symbols in the header of an
# animation, and attention maps side by side.
MAX_MAPS_PER_ROW = 13
MAX_LABELS = 13
MAX_CARD_LABELS = 14
MAX_ANSWERS = 10
MAX_SYMBOLS = 21
ATTENTION_MAPS_PER_ROW = 3


def plot_memory(
    trace: "SequenceTrace", path: str | pathlib.Path, caption: str = ""
) -> pathlib.Path:
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
    rows = -(-len(trace.tokens) // MAX_MAPS_PER_ROW)
    figure = style.new_figure(11, 2.8 + 1.8 * rows)
    upper, lower = figure.subfigures(2, 1, height_ratios=[rows, 1.5])
    _draw_strip(upper, trace, rows)
    left, right = lower.subplots(1, 2, width_ratios=[1.4, 1])
    last = trace.positions[-1]
    _draw_attention(left, trace.symbols, trace.attention[last])
    left.set_ylabel("attention η λ^age (v · h)")
    left.set_title(f"attention of the query {trace.symbols[last]!r}")
    _draw_prediction(right, trace)
    return figure


def strip_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of A after each symbol, one heat map each, in rows that fill a card."""
    figure = style.new_card()
    _draw_strip(figure, trace, rows=round((len(trace.tokens) / 2) ** 0.5), fontsize=10)
    return figure


def _draw_strip(figure, trace: "SequenceTrace", rows: int, fontsize: int = 15) -> None:
    """Draws A after each symbol, with the symbol as the title."""
    length = len(trace.tokens)
    panels = np.ravel(figure.subplots(rows, -(-length // rows)))
    strip, unused = panels[:length], panels[length:]
    for axes in unused:
        axes.set_visible(False)
    scale = style.color_scale(trace.fast_weights)
    for t, axes in enumerate(strip):
        image = axes.imshow(trace.fast_weights[t], **scale)
        axes.set_title(trace.symbols[t], fontsize=fontsize, family="monospace")
        axes.set_xticks([])
        axes.set_yticks([])
    strip[0].set_ylabel("A, H × H")
    figure.colorbar(image, ax=panels, label="fast weight", fraction=0.02, pad=0.01)


def attention_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the attention of each step to each symbol, T × T."""
    figure = style.new_card()
    axes = figure.subplots()
    shares = shares_of(trace.attention.sum(axis=1))
    size = 10 if len(trace.tokens) <= MAX_LABELS else 7
    image = _draw_map(axes, shares, _thinned(trace.symbols), _scale_beside_diagonal(shares))
    axes.tick_params(labelsize=size, labelfontfamily="monospace")
    axes.set_ylabel("read at")
    _add_attention_bar(figure, image, shares, ax=axes)
    return figure


def hidden_figure(trace: "SequenceTrace") -> Figure:
    """Returns a figure of the hidden state after each symbol, H × T."""
    figure = style.new_card()
    axes = figure.subplots()
    scale = style.color_scale(trace.hidden)
    image = axes.imshow(trace.hidden.T, aspect="auto", interpolation="nearest", **scale)
    labels = _thinned(trace.symbols)
    axes.set_xticks(range(len(labels)), labels, family="monospace")
    axes.set_ylabel("unit of $h_t$")
    figure.colorbar(image, ax=axes, label="hidden state")
    return figure


def _thinned(symbols: list[str]) -> list[str]:
    """Returns the symbols as labels. If all would overlap in a card, some are empty."""
    every = -(-len(symbols) * max(map(len, symbols)) // MAX_CARD_LABELS)
    return [symbol if age % every == 0 else "" for age, symbol in enumerate(symbols[::-1])][::-1]


def _draw_map(axes, shares, labels: list[str], scale: dict, **rotation):
    """Draws a T × T map and returns the image. An empty label leaves its tick out."""
    image = axes.imshow(shares, **scale)
    ticks = [i for i, label in enumerate(labels) if label]
    axes.set_xticks(ticks, [labels[i] for i in ticks], **rotation)
    axes.set_yticks(ticks, [labels[i] for i in ticks])
    axes.set_xlabel("vector of")
    return image


def _draw_attention(axes, symbols: list[str], attention) -> None:
    """Draws a bar for the attention of each inner step to each symbol, (S, T)."""
    inner_steps, length = attention.shape
    width = 0.8 / max(inner_steps, 1)
    for s in range(inner_steps):
        positions = np.arange(length) + width * (s - (inner_steps - 1) / 2)
        label = f"inner step {s + 1}" if inner_steps > 1 else None
        shade = 1 - 0.5 * s / inner_steps
        axes.bar(positions, attention[s], width, color=style.ACCENT, alpha=shade, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    long = {"fontsize": 6, "rotation": 90} if length > MAX_SYMBOLS else {"fontsize": 13}
    axes.set_xticks(range(length), symbols, family="monospace", **long)
    axes.set_xlabel("symbol whose vector is read")
    if inner_steps > 1:
        axes.legend(frameon=False)
    elif not inner_steps:
        axes.text(0.5, 0.5, "nothing is read (S = 0)", transform=axes.transAxes, ha="center")
    style.remove_frame(axes)


def _draw_prediction(axes, trace: "SequenceTrace") -> None:
    """Draws a bar for the probability of each likely answer, and one for all other symbols."""
    probabilities, answers = trace.probabilities[-1], np.array(trace.task.answers)
    # The likeliest of them, in the order of the vocabulary.
    shown = np.sort(answers[np.argsort(-probabilities[answers], kind="stable")[:MAX_ANSWERS]])
    values = [*probabilities[shown], max(0.0, 1 - probabilities[shown].sum())]
    answer = probabilities.argmax()
    colors = [style.ACCENT if token == answer else style.MUTED for token in shown]
    axes.bar(range(len(values)), values, color=[*colors, style.MUTED])
    labels = [trace.task.vocabulary[token] for token in shown]
    axes.set_xticks(range(len(values)), [*labels, "else"], family="monospace")
    axes.set_ylim(0, 1)
    axes.set_xlabel("answer")
    axes.set_ylabel("probability")
    axes.set_title(f"answer: {trace.task.vocabulary[answer]!r} at {probabilities[answer]:.1%}")
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

    figure, frames = style.new_figure(8, 3.6), []
    figure.set_dpi(90)
    for t in range(len(trace.tokens)):
        figure.clear()
        style.add_caption(figure, caption)
        _draw_frame(figure, trace, t)
        frames.append(Image.fromarray(style.to_pixels(figure)))
    # The answer stays long enough to be read.
    frames += 2 * frames[-1:]

    # Matplotlib's own writer of GIFs accepts no open file.
    def save(file, format):
        frames[0].save(
            file,
            format,
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 * SECONDS_PER_STEP),
            loop=0,
        )

    return style.write(path, save)


def _draw_frame(figure, trace: "SequenceTrace", t: int) -> None:
    """Draws one step: the sequence around it, A, the attention, and the answer if there is one."""
    header, body = figure.subfigures(2, 1, height_ratios=[1, 5])
    _draw_symbols(header, trace, t)
    left, right = body.subplots(1, 2, width_ratios=[1, 1.5])
    image = left.imshow(trace.fast_weights[t], **style.color_scale(trace.fast_weights))
    left.set_title("fast weights A")
    left.set_xticks([])
    left.set_yticks([])
    body.colorbar(image, ax=left, label="fast weight", fraction=0.05)
    shares = shares_of(trace.attention[t])
    _draw_attention(right, trace.symbols, shares)
    right.set_ylim(1.05 * shares.min(initial=0), 1.05)
    right.set_ylabel("share")
    right.set_title(f"attention of {trace.symbols[t]!r}")


def _draw_symbols(header, trace: "SequenceTrace", t: int) -> None:
    """Draws the symbols around step t as text, and the answer at t if one is due."""
    longest = max(map(len, trace.symbols))
    length = min(len(trace.tokens), 2 * MAX_SYMBOLS // (1 + longest))
    start = min(max(t - length // 2, 0), len(trace.tokens) - length)
    width = min(0.025 * (1 + longest), 0.7 / length)  # as a fraction of the figure
    center = min(0.45, 0.76 - width * length / 2)
    for step in range(start, start + length):
        color = style.ACCENT if step == t else ("black" if step < t else style.MUTED)
        header.text(
            center + width * (step - start - (length - 1) / 2),
            0.45,
            trace.symbols[step],
            color=color,
            family="monospace",
            ha="center",
            fontsize=800 * width / (1 + longest),
            weight="bold" if step == t else "normal",
        )
    if t in trace.positions:
        probabilities = trace.probabilities[list(trace.positions).index(t)]
        answer = trace.task.vocabulary[probabilities.argmax()]
        text = f"→ {answer}  {probabilities.max():.0%}"
        size = 18 if len(answer) == 1 else 14
        position = (center + 0.02 + width * length / 2, 0.45)
        header.text(*position, text, color=style.ACCENT, fontsize=size)


def shares_of(attention):
    """Returns attention divided by the sum of its magnitudes over the last axis."""
    sums = np.abs(attention).sum(axis=-1, keepdims=True)
    return attention / np.maximum(sums, 1e-12)


def plot_attention(maps, task: "Task", path, caption: str = "") -> pathlib.Path:
    """Draws the mean T × T map of the sequences of each group of a task.

    Each row shows shares of the attention of its step. Digits read themselves so strongly that
    the row of the query would be pale beside them, so the diagonal may exceed the color scale.

    Args:
        maps: (G, T, T), for each group, how much step t (row) reads of the vector of symbol τ
            (column).
        task: the task of the sequences.
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
    figure = style.new_figure(max(11 * columns / ATTENTION_MAPS_PER_ROW, 5), 4 * rows)
    panels = np.ravel(figure.subplots(rows, columns))
    shares = shares_of(np.asarray(maps))
    scale = _scale_beside_diagonal(shares)
    style.add_caption(figure, caption)
    for group, values in enumerate(shares):
        axes = panels[group]
        image = _draw_map(axes, values, task.position_labels(group), scale, rotation=90)
        if len(maps) > 1:
            axes.set_title(f"query of {task.group} {group + 1}")
        if group % columns == 0:
            axes.set_ylabel("read at")
    for unused in panels[len(maps) :]:
        unused.set_visible(False)
    _add_attention_bar(figure, image, shares, ax=panels, fraction=0.02)
    return style.write(path, figure.savefig)


def _scale_beside_diagonal(shares) -> dict:
    """Returns the color scale of the values of T × T maps that are not on a diagonal."""
    return style.color_scale(shares * (1 - np.eye(shares.shape[-1])))


def _add_attention_bar(figure, image, shares, **place) -> None:
    """Adds a color bar that points on where `shares` exceed the scale."""
    low, high = image.get_clim()
    exceeded = (bool(shares.min() < low), bool(shares.max() > high))
    arrows = {(True, True): "both", (True, False): "min", (False, True): "max"}
    label = "share of attention"
    if any(exceeded):
        label += "\n(scale without the diagonal)"
    figure.colorbar(image, label=label, extend=arrows.get(exceeded, "neither"), **place)


def plot_weights(
    before, after, task: "Task", path, caption: str = "", units: int = 0, blocks=("h",)
) -> pathlib.Path:
    """Draws the matrices of a recurrent layer before and after training.

    Each panel has its own color scale: the largest weight grows so much that the weights before
    training would be blank on the scale of those after.

    Args:
        before: the matrices as drawn from the seed, by name.
        after: the same, trained.
        task: the task that the model was trained on.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.
        units: H. Default: the columns are not labeled.
        blocks: the names of the n blocks of H columns of a matrix, (·, n·H). Default: the hidden
            state.

    Returns:
        The path of the file.

    Raises:
        UserError: if the file cannot be written.
    """
    figure = style.new_figure(10, 3.5 * len(before))
    panels = figure.subplots(len(before), 2, squeeze=False)
    for row, name in zip(panels, before, strict=True):
        title = WEIGHT_TITLES.get(name, name)
        for axes, values, when in zip(
            row, (before[name], after[name]), ("before", "after"), strict=True
        ):
            scale = style.signed_scale(values)  # W_h starts as a multiple of the identity
            image = axes.imshow(values, aspect="auto", interpolation="nearest", **scale)
            axes.set_title(f"{title} {when} training")
            figure.colorbar(image, ax=axes, label="weight (own color scale)", fraction=0.05)
            if values.shape[1] == units * len(blocks):
                _label_blocks(axes, units, blocks)
            else:
                axes.set_xlabel("column")
            if len(values) == len(task.vocabulary):
                ranges = task.symbol_ranges
                axes.set_yticks([np.mean(ends) for ends in ranges.values()], ranges)
        inputs = {"kernel": "symbol of $x_t$", "recurrent_kernel": "unit of $h_{t-1}$"}
        row[0].set_ylabel(inputs.get(name, "row"))
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
