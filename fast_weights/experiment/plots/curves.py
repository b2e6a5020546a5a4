"""Accuracy, loss and gradient norm over epochs."""

import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from fast_weights.experiment.models import MODELS
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

# The published accuracies of `MODELS` were read off the blog's plot at this epoch.
PUBLISHED_EPOCH = 1000


def plot_curves(
    results: dict[str, list[list[EpochRecord]]],
    output_dir,
    format: str = "png",
    log_epochs: bool = False,
) -> list[pathlib.Path]:
    """Draws `accuracy`, `loss` and `gradient_norm`.

    Several seeds of a model are drawn as their mean with a band from the lowest to the highest
    value, up to the last epoch that all of them have; seeds that go further continue as thin
    lines. The mean of the gradient norm is geometric, since its axis is logarithmic.

    Args:
        results: the records of each seed, by model name or by another label of the runs. A
            label without records is omitted.
        output_dir: the directory to write to. It is created if it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        log_epochs: whether the axis of epochs is logarithmic.

    Returns:
        The paths of the files.

    Raises:
        UserError: if a file cannot be written.
    """
    accuracy = _curves(results, "Validation accuracy", "accuracy", lambda r: r.val_accuracy)
    _mark_published(accuracy.axes[0], results)
    accuracy.axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracy.axes[0].set_ylim(0, 1.02)
    loss = _curves(results, "Validation loss", "cross-entropy (nats)", lambda r: r.val_loss)
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
        paths.append(style.write(f"{output_dir}/{name}.{format}", figure.savefig))
    return paths


def _mark_published(axes, results) -> None:
    """Marks the blog's accuracies if a run has at least half of `PUBLISHED_EPOCH` epochs."""
    epochs = [len(records) for seeds in results.values() for records in seeds]
    if 2 * max(epochs) < PUBLISHED_EPOCH:
        return
    for name, model in MODELS.items():
        if results.get(name) and model.published is not None:
            axes.plot(
                PUBLISHED_EPOCH, model.published, "D", color=model.color, markeredgecolor="black"
            )
    # Each mark has the color of its model, so the legend shows one without a color.
    axes.plot([], [], "D", color="white", markeredgecolor="black", label="published")


def _geometric_mean(values, axis):
    """Returns the geometric mean; zero if one value is zero."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(values).mean(axis=axis))


def _curves(
    results, title: str, ylabel: str, value: Callable[[EpochRecord], float], mean=np.mean
) -> Figure:
    """Returns a figure with one line per model."""
    figure = style.new_figure(8, 4.5)
    axes = figure.subplots()
    others = [name for name in results if name not in MODELS]
    for name in [*MODELS, *others]:
        seeds = results.get(name)
        if seeds:
            look = _look(name, others)
            label = name if len(seeds) == 1 else f"{name} ({len(seeds)} seeds)"
            by_epoch = [{record.epoch: value(record) for record in records} for records in seeds]
            _draw_seeds(axes, by_epoch, mean, look, label)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    style.remove_frame(axes)
    return figure


def _look(name: str, others: list[str]) -> dict:
    """Returns the color and the line of a model, or a color of a scale for another label."""
    if name in MODELS:
        return {"color": MODELS[name].color, "linestyle": MODELS[name].linestyle}
    position = others.index(name) / max(len(others) - 1, 1)
    return {"color": colormaps["viridis"](0.9 * position), "linestyle": "-"}


def _draw_seeds(axes, by_epoch: list[dict[int, float]], mean, look: dict, label: str) -> None:
    """Draws the mean and the range of the seeds of one model."""
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    values = np.array([[one[epoch] for epoch in epochs] for one in by_epoch])
    marker = "o" if len(epochs) == 1 else None  # a line of one point is invisible
    axes.plot(epochs, mean(values, axis=0), label=label, linewidth=2, marker=marker, **look)
    if len(by_epoch) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.2, linewidth=0)
        for one in by_epoch:
            beyond = sorted(epoch for epoch in one if epoch >= max(epochs, default=1))
            axes.plot(beyond, [one[epoch] for epoch in beyond], linewidth=0.8, **look)
