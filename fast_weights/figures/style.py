"""What the figures share: size, colours, scales, and writing to a file."""

import pathlib

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fast_weights import files
from fast_weights.errors import UserError

FORMATS = ("png", "svg", "pdf")
# The original's order. Okabe and Ito's colours differ for colour-blind readers
# too; line styles tell the models apart in grey print.
STYLES = {
    "CONTROL": {"color": "#999999", "linestyle": ":"},
    "RNN-LN": {"color": "#E69F00", "linestyle": "--"},
    "RNN-LN-FW": {"color": "#0072B2", "linestyle": "-"},
    "GRU-LN": {"color": "#009E73", "linestyle": "-."},
}
ACCENT, MUTED = "#0072B2", "#BBBBBB"


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, made without a display."""
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def caption(figure: Figure, text: str) -> None:
    """Says in small type above a figure what it is of."""
    if text:
        figure.suptitle(text, fontsize=9, color="#555555")


def plain(axes) -> None:
    """A quiet frame."""
    axes.spines[["top", "right"]].set_visible(False)


def color_scale(values) -> dict:
    """`cmap` and `norm` for a map of `values`: diverging around 0 where there are signs."""
    values = np.asarray(values)
    top = max(float(np.abs(values).max()), 1e-12)
    if values.min() < 0:
        return {"cmap": "RdBu_r", "norm": Normalize(-top, top)}
    return {"cmap": "Blues", "norm": Normalize(0, top)}


def to_pixels(figure: Figure) -> np.ndarray:
    """A figure as (height, width, 3) bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def write(output_dir, name: str, save) -> pathlib.Path:
    """Writes one file through `save(path)`, in a folder that is made where it is missing.

    Raises:
        UserError: if it cannot be written; then the file is as it was.
    """
    path = pathlib.Path(output_dir) / name
    try:
        with files.replacing(path) as temporary:
            save(temporary)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path
