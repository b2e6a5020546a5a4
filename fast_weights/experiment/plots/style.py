"""The style that all figures share: settings, colors, labels, and writing to a file."""

import contextlib
import itertools
import math
import pathlib
import textwrap
from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fast_weights.experiment import storage
from fast_weights.experiment.models import MODELS

ACCENT, MUTED, TRAINING = "#0072B2", "#BBBBBB", "#56B4E9"
# The color and the line style of each model. Okabe and Ito's colors are distinguishable for
# color-blind readers, and the lines in a gray print.
CURVES = {
    "CONTROL": ("#999999", ":"),
    "RNN-LN": ("#E69F00", "--"),
    "RNN-LN-FW": ("#0072B2", "-"),
    "GRU-LN": ("#009E73", "-."),
    "GRU": ("#D55E00", "-."),
    "LSTM": ("#CC79A7", "--"),
    "IRNN": ("#999999", "--"),
    "A-LSTM": ("#8B6914", "-."),
    "LINEAR-ATTENTION": ("#56B4E9", ":"),
    "DELTA-RULE": ("#000000", ":"),
    "GATED-DELTA-RULE": ("#000000", "-."),
}
# TensorBoard scales images without smoothing, which breaks letters and thin lines. Its Images page
# scales them to a width of 350 pixels, and its Time Series page to a height of 215.
CARD_WIDTH, CARD_HEIGHT, CARD_DPI = 350, 215, 72
# The width of a monospace character and the height of a line, relative to the size of the type.
CHARACTER, LINE = 0.62, 1.25


@contextlib.contextmanager
def fixed_settings() -> Iterator[None]:
    """Sets Matplotlib's defaults, so that a figure does not depend on the user's `matplotlibrc`.

    Decorate every function that draws or writes a figure with it. Matplotlib reads some settings
    when text or an image is added, and others when the figure is written.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def curve_style(model_name: str) -> dict:
    """Returns `color` and `linestyle` of a model's curves.

    For a model without an entry in `CURVES`, its place in `MODELS` decides its color.
    """
    place = [*MODELS, model_name].index(model_name)
    color, linestyle = CURVES.get(model_name, (f"C{place}", "-"))
    return {"color": color, "linestyle": linestyle}


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """Returns a figure with a size in inches. It needs no display."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def new_card() -> Figure:
    """Returns a figure for TensorBoard, of the size at which both of its pages show it."""
    return new_figure(CARD_WIDTH / CARD_DPI, CARD_HEIGHT / CARD_DPI, CARD_DPI)


def add_caption(figure: Figure, text: str) -> None:
    """Adds a caption in a small font above a figure, in as many lines as necessary."""
    lines = textwrap.wrap(text, width=int(12 * figure.get_figwidth()))
    if lines:
        figure.suptitle("\n".join(lines), fontsize=9, color="#555555")


def remove_frame(axes) -> None:
    """Removes the upper and the right spine."""
    axes.spines[["top", "right"]].set_visible(False)


def label_symbols(axis, symbols: Sequence[str], length: float, size: float = 13) -> None:
    """Labels the positions 0, 1, … of an axis with symbols that do not cover each other.

    Labels that are too wide are rotated. If they still do not fit, the font gets smaller, down to
    a size of 7. If that is not enough, some labels are omitted.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`.
        symbols: a symbol for each position.
        length: the length of the axis, in points.
        size: the largest font size.
    """
    pairs = itertools.pairwise([symbols[0], *symbols])
    width = CHARACTER * (max(len(one) + len(other) for one, other in pairs) / 2 + 1)
    is_rotated = axis.axis_name == "x" and width > max(LINE, length / (size * len(symbols)))
    size = max(7, min(size, length / (LINE * len(symbols))))
    # An odd step: keys and values alternate, and both get labels.
    step = math.ceil(LINE * size * len(symbols) / length) | 1
    ticks = range(len(symbols))[::-step]  # from the end, where a query is
    labels = [symbols[i] for i in ticks]
    rotation = 90 if is_rotated else 0
    axis.set_ticks(ticks, labels, family="monospace", fontsize=size, rotation=rotation)


def color_scale(values) -> dict:
    """Returns `cmap` and `norm` for an image of `values`: symmetric if some are negative."""
    if np.min(values) < 0:
        return signed_scale(values)
    return {"cmap": "Blues", "norm": Normalize(0, _top(values))}


def signed_scale(values) -> dict:
    """Returns `cmap` and `norm` for an image of `values`, symmetric whatever their signs."""
    return {"cmap": "RdBu_r", "norm": Normalize(-_top(values), _top(values))}


def add_color_bar(figure: Figure, image, label: str, **place) -> None:
    """Adds a color bar beside the axes of an image."""
    # By default, the number of ticks depends on the height of the bar, which changes after the
    # layout is decided. A longer number would then push the label out of the figure.
    figure.colorbar(image, label=label, ticks=MaxNLocator(4), **place)


def _top(values) -> float:
    """Returns the largest magnitude of `values`, or a small number if all are zero."""
    return max(float(np.abs(values).max()), 1e-12)


@fixed_settings()
def to_pixels(figure: Figure) -> np.ndarray:
    """Returns a figure as an image, (height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


@fixed_settings()
def write(path, save) -> pathlib.Path:
    """Writes a file with `save(file, format=...)`, in the format of its suffix. Returns its path.

    If the file cannot be written, an old file is unchanged.
    """
    path = pathlib.Path(path)
    with storage.atomic_write(path) as file:
        save(file, format=path.suffix.removeprefix("."))
    return path
