"""Accuracy, loss and gradient norm over epochs."""

import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from fast_weights.figures import style
from fast_weights.results import Record

# Validation accuracy after 1000 epochs, read off the original's plot.
PUBLISHED_EPOCHS = 1000
PUBLISHED = {"RNN-LN-FW": 1.0, "GRU-LN": 0.93, "RNN-LN": 0.90, "CONTROL": 0.48}


def plot_curves(
    results: dict[str, list[list[Record]]], output_dir, format: str = "png", log_epochs=False
) -> list[pathlib.Path]:
    """Draws `accuracy`, `loss` and `gradient_norm`.

    Args:
        results: model name -> the records of each of its seeds; a model without
            records is left out. Of several seeds the mean is drawn (of the gradient norm,
            on its logarithmic axis, the geometric mean), with a band from the lowest to the
            highest, as far as all of them are; seeds that are further on go on as thin lines.
        output_dir: folder to write to, made where it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        log_epochs: whether the axis of epochs is logarithmic.

    Returns:
        The files written.

    Raises:
        UserError: if the folder cannot be written.
    """
    accuracy = _curves(results, "Validation accuracy", "accuracy", lambda r: r.valid_accuracy)
    axes = accuracy.axes[0]
    epochs = [len(records) for seeds in results.values() for records in seeds]
    # An axis of short runs is not drawn out to 1000 epochs for them.
    if 2 * max(epochs) >= PUBLISHED_EPOCHS:
        for name in (name for name in PUBLISHED if results.get(name)):
            look = {"color": style.STYLES[name]["color"], "markeredgecolor": "black"}
            axes.plot(PUBLISHED_EPOCHS, PUBLISHED[name], "D", **look)
        # Every model's mark has its colour, so the key has none.
        axes.plot([], [], "D", color="white", markeredgecolor="black", label="published")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1.02)
    loss = _curves(results, "Validation loss", "cross-entropy (nats)", lambda r: r.valid_loss)
    loss.axes[0].set_ylim(bottom=0)
    title, label = "Gradient norm before clipping", "global norm"
    norm = _curves(results, title, label, lambda r: r.gradient_norm, _geometric_mean)
    norm.axes[0].set_yscale("log")
    paths = []
    for name, figure in {"accuracy": accuracy, "loss": loss, "gradient_norm": norm}.items():
        if log_epochs:
            figure.axes[0].set_xscale("log")
            figure.axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        figure.axes[0].legend(frameon=False)
        paths.append(style.write(output_dir, f"{name}.{format}", figure.savefig))
    return paths


def _geometric_mean(values, axis):
    """The mean on a logarithmic axis; zero if one value is."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(values).mean(axis=axis))


def _curves(
    results, title: str, ylabel: str, value: Callable[[Record], float], mean=np.mean
) -> Figure:
    """One line a model over epochs, counted from 1."""
    figure = style.new_figure(8, 4.5)
    axes = figure.subplots()
    for model_name, look in style.STYLES.items():
        seeds = [records for records in results.get(model_name, []) if records]
        if not seeds:
            continue
        by_epoch = [{record.epoch + 1: value(record) for record in records} for records in seeds]
        epochs = sorted(set.intersection(*map(set, by_epoch)))
        values = np.array([[one[epoch] for epoch in epochs] for one in by_epoch])
        label = model_name if len(seeds) == 1 else f"{model_name} ({len(seeds)} seeds)"
        # A single epoch has no line to draw.
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, mean(values, axis=0), label=label, linewidth=2, marker=marker, **look)
        if len(seeds) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(epochs, low, high, color=look["color"], alpha=0.2, linewidth=0)
            for one in by_epoch:
                beyond = sorted(epoch for epoch in one if epoch >= max(epochs, default=1))
                axes.plot(beyond, [one[epoch] for epoch in beyond], linewidth=0.8, **look)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    style.plain(axes)
    return figure
