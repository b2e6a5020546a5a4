"""Figures of the results, made without a display."""

import pathlib
from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fast_weights.errors import UserError
from fast_weights.results import Record

# The original's order. Okabe and Ito's colours differ for colour-blind readers
# too; line styles tell the models apart in grey print.
STYLES = {
    "CONTROL": {"color": "#999999", "linestyle": ":"},
    "RNN-LN": {"color": "#E69F00", "linestyle": "--"},
    "RNN-LN-FW": {"color": "#0072B2", "linestyle": "-"},
    "GRU-LN": {"color": "#009E73", "linestyle": "-."},
}


def plot_curves(results: dict[str, list[Record]], output_dir) -> list[pathlib.Path]:
    """Draws `accuracy.png`, `loss.png` and `gradient_norm.png`.

    Args:
        results: model name -> its records; a model without records is left out.
        output_dir: folder to write to, made where it is missing.

    Returns:
        The files written.

    Raises:
        UserError: if the folder cannot be written.
    """
    output_dir = pathlib.Path(output_dir)
    figures = {
        "accuracy.png": _curves(
            results, "Validation accuracy", "accuracy", lambda record: record.valid_accuracy
        ),
        "loss.png": _curves(
            results, "Validation loss", "cross-entropy (nats)", lambda record: record.valid_loss
        ),
        "gradient_norm.png": _curves(
            results,
            "Gradient norm before clipping",
            "global norm",
            lambda record: record.gradient_norm,
        ),
    }
    figures["accuracy.png"].axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figures["accuracy.png"].axes[0].set_ylim(0, 1.02)
    figures["loss.png"].axes[0].set_ylim(bottom=0)
    figures["gradient_norm.png"].axes[0].set_yscale("log")
    paths = []
    for name, figure in figures.items():
        path = output_dir / name
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        paths.append(path)
    return paths


def _curves(results, title: str, ylabel: str, value: Callable[[Record], float]) -> Figure:
    """One line a model over epochs."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for model_name, style in STYLES.items():
        records = results.get(model_name)
        if records:
            # A single epoch has no line to draw.
            marker = "o" if len(records) == 1 else None
            axes.plot(
                [record.epoch for record in records],
                [value(record) for record in records],
                label=model_name,
                linewidth=2,
                marker=marker,
                **style,
            )
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
