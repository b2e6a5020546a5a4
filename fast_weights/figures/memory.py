"""One sequence's memory: what is written, what is read, and the weights behind it.

The functions take a `sampling.Watched`: what a model did with one sequence.
"""

import pathlib

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fast_weights.figures import style

DIGITS = "0123456789"
SECONDS_A_STEP = 1.2
# Heat maps of A side by side, and names of steps along a map, that can still be seen.
MAX_IN_A_ROW = 13
MAX_NAMES = 13
MAPS_IN_A_ROW = 3


def plot_memory(watched, output_dir, format: str = "png", caption: str = "") -> pathlib.Path:
    """Draws `memory`: A after each symbol, what the query attends to, the prediction.

    Args:
        watched: a `sampling.Watched`.
        output_dir: folder to write to, made where it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        caption: what it is of, such as "RNN-LN-FW, seed 0". Default: nothing.

    Returns:
        The file written.

    Raises:
        UserError: if the folder cannot be written.
    """
    figure = memory_figure(watched)
    style.caption(figure, caption)
    return style.write(output_dir, f"memory.{format}", figure.savefig)


def memory_figure(watched) -> Figure:
    """The figure of `plot_memory`."""
    rows = -(-len(watched.text) // MAX_IN_A_ROW)
    figure = style.new_figure(11, 2.8 + 1.8 * rows)
    upper, lower = figure.subfigures(2, 1, height_ratios=[rows, 1.5])
    _draw_strip(upper, watched, rows)
    left, right = lower.subplots(1, 2, width_ratios=[1.4, 1])
    _draw_attention(left, watched.text, watched.attention[-1])
    left.set_ylabel("attention η λ^age (v · h)")
    left.set_title(f"what the query {watched.text[-1]!r} reads")
    _draw_prediction(right, watched)
    return figure


def strip_figure(watched) -> Figure:
    """A after each symbol, a heat map each, in two rows."""
    figure = style.new_figure(6, 3)
    _draw_strip(figure, watched, rows=2)
    return figure


def _draw_strip(figure, watched, rows: int = 1) -> None:
    """A after each symbol; the symbols stand above."""
    length = len(watched.text)
    panels = np.ravel(figure.subplots(rows, -(-length // rows)))
    strip, spare = panels[:length], panels[length:]
    for axes in spare:
        axes.set_visible(False)
    scale = style.color_scale(watched.fast_weights)
    for t, axes in enumerate(strip):
        image = axes.imshow(watched.fast_weights[t], **scale)
        axes.set_title(watched.text[t], fontsize=15, family="monospace")
        axes.set_xticks([])
        axes.set_yticks([])
    strip[0].set_ylabel("A, H × H")
    figure.colorbar(image, ax=panels, label="fast weight", fraction=0.02, pad=0.01)


def attention_figure(watched) -> Figure:
    """What each step reads of what was written at each step, T × T."""
    figure = style.new_figure(4.6, 4)
    axes = figure.subplots()
    shares = shares_of(watched.attention.sum(axis=1))
    size = 10 if len(watched.text) <= MAX_NAMES else 7
    image = _draw_map(axes, shares, list(watched.text), style.color_scale(shares))
    axes.tick_params(labelsize=size, labelfontfamily="monospace")
    axes.set_ylabel("read at")
    figure.colorbar(image, ax=axes, label="share of what is read")
    return figure


def hidden_figure(watched) -> Figure:
    """The hidden state after each symbol, H × T."""
    figure = style.new_figure(4.6, 4)
    axes = figure.subplots()
    scale = style.color_scale(watched.hidden)
    image = axes.imshow(watched.hidden.T, aspect="auto", interpolation="nearest", **scale)
    axes.set_xticks(range(len(watched.text)), list(watched.text), family="monospace")
    axes.set_ylabel("unit of $h_t$")
    figure.colorbar(image, ax=axes, label="hidden state")
    return figure


def _draw_map(axes, shares, names, scale, **turn):
    """A T × T map of shares, by the names of the steps, empty or not; returns the image."""
    image = axes.imshow(shares, **scale)
    named = [i for i, name in enumerate(names) if name]
    axes.set_xticks(named, [names[i] for i in named], **turn)
    axes.set_yticks(named, [names[i] for i in named])
    axes.set_xlabel("vector of")
    return image


def _draw_attention(axes, text: str, attention) -> None:
    """Bars: how much of the vector written at each symbol each inner step reads, (S, T)."""
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
    style.plain(axes)


def _draw_prediction(axes, watched) -> None:
    """Bars: the probability of each digit, and of all else; the likeliest stands out."""
    values = [watched.probability_of(digit) for digit in DIGITS]
    values.append(max(0.0, 1 - sum(values)))
    likeliest = DIGITS.find(watched.prediction)  # -1, the last, of a symbol that is no digit
    colors = [style.MUTED] * len(values)
    colors[likeliest] = style.ACCENT
    axes.bar(range(11), values, color=colors)
    axes.set_xticks(range(11), [*DIGITS, "else"], family="monospace")
    axes.set_ylim(0, 1)
    axes.set_xlabel("answer")
    axes.set_ylabel("probability")
    share = watched.probability_of(watched.prediction)
    axes.set_title(f"answer: {watched.prediction!r} at {share:.1%}")
    style.plain(axes)


def animate_memory(watched, output_dir, caption: str = "") -> pathlib.Path:
    """Writes `memory.gif`: the sequence symbol by symbol, A as it is written and read.

    Args:
        watched: a `sampling.Watched`.
        output_dir: folder to write to, made where it is missing.
        caption: what it is of, such as "RNN-LN-FW, seed 0". Default: nothing.

    Returns:
        The file written.

    Raises:
        UserError: if the folder cannot be written.
    """

    def save(path):
        figure = style.new_figure(8, 3.6)
        FigureCanvasAgg(figure)
        writer = PillowWriter(fps=1 / SECONDS_A_STEP)
        with writer.saving(figure, str(path), dpi=90):
            for t in range(len(watched.text)):
                figure.clear()
                style.caption(figure, caption)
                _draw_frame(figure, watched, t)
                # The answer stays to be read.
                for _ in range(3 if t == len(watched.text) - 1 else 1):
                    writer.grab_frame()

    return style.write(output_dir, "memory.gif", save)


def _draw_frame(figure, watched, t: int) -> None:
    """One step: the sequence with the symbol at hand, A, attention, at last the answer."""
    length = len(watched.text)
    width = min(0.05, 0.7 / length)  # of a symbol, as a share of the picture
    header, body = figure.subfigures(2, 1, height_ratios=[1, 5])
    for i, symbol in enumerate(watched.text):
        now = i == t
        color = style.ACCENT if now else ("black" if i < t else style.MUTED)
        look = {"fontsize": 400 * width, "weight": "bold" if now else "normal"}
        place = (0.45 + width * (i - (length - 1) / 2), 0.45)
        header.text(*place, symbol, color=color, family="monospace", ha="center", **look)
    if t == length - 1:
        share = watched.probability_of(watched.prediction)
        answer = f"→ {watched.prediction}  {share:.0%}"
        header.text(0.47 + width * length / 2, 0.45, answer, color=style.ACCENT, fontsize=18)
    left, right = body.subplots(1, 2, width_ratios=[1, 1.5])
    image = left.imshow(watched.fast_weights[t], **style.color_scale(watched.fast_weights))
    left.set_title("fast weights A")
    left.set_xticks([])
    left.set_yticks([])
    body.colorbar(image, ax=left, label="fast weight", fraction=0.05)
    shares = shares_of(watched.attention[t])
    _draw_attention(right, watched.text, shares)
    right.set_ylim(1.05 * shares.min(initial=0), 1.05)
    right.set_ylabel("share")
    right.set_title(f"what {watched.text[t]!r} reads")


def shares_of(attention):
    """Attention as shares of what a step reads: divided by the sum over what was written."""
    sums = np.abs(attention).sum(axis=-1, keepdims=True)
    return attention / np.maximum(sums, 1e-12)


def plot_attention(maps, output_dir, format: str = "png", caption: str = "") -> pathlib.Path:
    """Draws `attention`: the mean T × T map of the sequences that ask for each pair.

    Each row is drawn as shares of what its step reads: digits read themselves so
    strongly that the query's row would not be seen beside theirs.

    Args:
        maps: (K, T, T): for each pair asked for, how much step t (row) reads of the
            vector of symbol τ (column).
        output_dir: folder to write to, made where it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        caption: what it is of, such as "RNN-LN-FW, seed 0". Default: nothing.

    Returns:
        The file written.

    Raises:
        UserError: if the folder cannot be written.
    """
    columns = min(len(maps), MAPS_IN_A_ROW)
    rows = -(-len(maps) // columns)
    figure = style.new_figure(11, 4 * rows)
    panels = np.ravel(figure.subplots(rows, columns))
    shares = shares_of(np.asarray(maps))
    scale = style.color_scale(shares)
    style.caption(figure, caption)
    for pair, values in enumerate(shares):
        axes = panels[pair]
        image = _draw_map(axes, values, place_names(len(values), pair), scale, rotation=90)
        axes.set_title(f"asked for pair {pair + 1}")
        if pair % columns == 0:
            axes.set_ylabel("read at")
    for spare in panels[len(maps) :]:
        spare.set_visible(False)
    figure.colorbar(image, ax=panels, label="share of what is read", fraction=0.02)
    return style.write(output_dir, f"attention.{format}", figure.savefig)


def place_names(length: int, asked: int) -> list[str]:
    """What stands at each place of a sequence; the pair asked for is marked.

    Where there is no room for all, the letter of that pair and the query; the others are "".
    """
    num_pairs = (length - 3) // 2
    if length > MAX_NAMES:
        names = [f"pair {pair + 1} ◂" if pair == asked else "" for pair in range(num_pairs)]
        return [name for pair in names for name in (pair, "")] + ["", "", "query"]
    names = []
    for pair in range(num_pairs):
        mark = " ◂" if pair == asked else ""
        names += [f"letter {pair + 1}{mark}", f"digit {pair + 1}{mark}"]
    return [*names, "?", "?", "query"]


def plot_weights(
    before, after, output_dir, format: str = "png", caption: str = "", blocks=("h",)
) -> pathlib.Path:
    """Draws `weights`: W_h and W_x before training and after.

    Args:
        before: (W_h, W_x) as drawn from the seed, (H, n·H) and (37, n·H).
        after: the same, trained.
        output_dir: folder to write to, made where it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        caption: what it is of, such as "RNN-LN-FW, seed 0". Default: nothing.
        blocks: what each of the n blocks of columns makes. Default: the hidden state.

    Returns:
        The file written.

    Raises:
        UserError: if the folder cannot be written.
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
            _name_blocks(axes, values[row].shape[1] // len(blocks), blocks)
        panels[row, 0].set_ylabel("unit of $h_{t-1}$" if name == "W_h" else "symbol of $x_t$")
        figure.colorbar(image, ax=panels[row], label="weight", fraction=0.03)
    for axes in panels[1]:
        axes.set_yticks([12.5, 30.5, 36], ["a-z", "0-9", "?"])
    style.caption(figure, caption)
    return style.write(output_dir, f"weights.{format}", figure.savefig)


def _name_blocks(axes, units: int, blocks) -> None:
    """Names blocks of `units` columns each and draws a line between two."""
    if len(blocks) == 1:
        axes.set_xlabel("unit of $h_t$")
        return
    axes.set_xticks([(i + 0.5) * units - 0.5 for i in range(len(blocks))], blocks)
    axes.set_xlabel(f"{units} units each")
    for i in range(1, len(blocks)):
        axes.axvline(i * units - 0.5, color="black", linewidth=0.8)
