"""The style that all figures share: size, color scales, and writing to a file."""

import pathlib

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fast_weights.experiment import storage
from fast_weights.experiment.models import MODELS

ACCENT, MUTED, TRAINING = "#0072B2", "#BBBBBB", "#56B4E9"
# TensorBoard scales images without smoothing, which breaks letters and thin lines. Its Images page
# scales them to a width of 350 pixels, and its Time Series page to a height of 215.
CARD_WIDTH, CARD_HEIGHT, CARD_DPI = 350, 215, 72
# The color and the line style of each model. Okabe and Ito's colors can be told apart by
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
}


def curve_style(model_name: str) -> dict:
    """Returns `color` and `linestyle` of a model's curves.

    A model without an entry in `CURVES` gets one of Matplotlib's colors by its place in `MODELS`.
    """
    place = [*MODELS, model_name].index(model_name)
    color, linestyle = CURVES.get(model_name, (f"C{place}", "-"))
    return {"color": color, "linestyle": linestyle}


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of a size in inches. It needs no display."""
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def new_card() -> Figure:
    """Returns a figure for TensorBoard, of the size at which both of its pages show it."""
    size = (CARD_WIDTH / CARD_DPI, CARD_HEIGHT / CARD_DPI)
    return Figure(figsize=size, dpi=CARD_DPI, layout="constrained")


def add_caption(figure: Figure, text: str) -> None:
    """Adds a caption in small type above a figure."""
    if text:
        figure.suptitle(text, fontsize=9, color="#555555")


def remove_frame(axes) -> None:
    """Removes the upper and the right spine."""
    axes.spines[["top", "right"]].set_visible(False)


def color_scale(values) -> dict:
    """Returns `cmap` and `norm` for an image of `values`: symmetric if some are negative."""
    values = np.asarray(values)
    if values.min() < 0:
        return signed_scale(values)
    return {"cmap": "Blues", "norm": Normalize(0, _top(values))}


def signed_scale(values) -> dict:
    """Returns `cmap` and `norm` for an image of `values`, symmetric whatever their signs."""
    top = _top(values)
    return {"cmap": "RdBu_r", "norm": Normalize(-top, top)}


def _top(values) -> float:
    """Returns the largest magnitude of `values`, or a little if all are zero."""
    return max(float(np.abs(values).max()), 1e-12)


def to_pixels(figure: Figure) -> np.ndarray:
    """Returns a figure as an image, (height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def write(path, save) -> pathlib.Path:
    """Writes one file through `save(file, format="png")`, by its suffix, and returns its path.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    path = pathlib.Path(path)
    with storage.atomic_write(path) as file:
        save(file, format=path.suffix.removeprefix("."))
    return path
