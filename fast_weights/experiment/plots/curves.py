"""Accuracy, loss and gradient norm over epochs."""

import functools
import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from fast_weights.experiment.models import MODELS
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

Records = list[EpochRecord]
# The published accuracies of `MODELS` were read off the blog's plot at this epoch.
PUBLISHED_EPOCH = 1000
# A larger legend would hide the curves.
MAX_LABELS, MAX_LABEL_LENGTH = 8, 60


def plot_curves(
    results: dict[str, list[Records]],
    output_dir,
    format: str = "png",
    log_epochs: bool = False,
    bundled: dict[str, list[Records]] | None = None,
    mark_published: bool = True,
) -> list[pathlib.Path]:
    """Draws `accuracy`, `loss` and `gradient_norm`.

    Several seeds of a model are drawn as their mean with a band from the lowest to the highest
    value, up to the last epoch that all of them have; seeds that go further continue as thin
    lines. The mean of the gradient norm is geometric, since its axis is logarithmic. If there is
    only one model, accuracy and loss on the training sequences are drawn too.

    Args:
        results: the records of each seed, by label: a model name, which settings can follow after
            a comma. A label without records is omitted.
        output_dir: the directory to write to. It is created if it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        log_epochs: whether the axis of epochs is logarithmic.
        bundled: records of each seed, by model name, that are drawn in pale colors behind the
            others. Default `None`: no such records.
        mark_published: whether to mark the accuracies of the blog post, which hold for the
            default settings.

    Returns:
        The paths of the files.

    Raises:
        UserError: if a file cannot be written.
    """
    results = {label: seeds for label, seeds in results.items() if seeds}
    curves = functools.partial(_curves, results, bundled or {})
    accuracy = curves("Validation accuracy", "accuracy", "val_accuracy", "train_accuracy")
    if mark_published:
        _mark_published(accuracy.axes[0], results)
    accuracy.axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracy.axes[0].set_ylim(0, 1.02)
    loss = curves("Validation loss", "cross-entropy (nats)", "val_loss", "train_loss")
    loss.axes[0].set_ylim(bottom=0)
    norm = curves("Gradient norm before clipping", "global norm", "gradient_norm")
    norm.axes[0].set_yscale("log")
    paths = []
    for name, figure in {"accuracy": accuracy, "loss": loss, "gradient_norm": norm}.items():
        if log_epochs:
            figure.axes[0].set_xscale("log")
            figure.axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        _add_legend(figure)
        paths.append(style.write(f"{output_dir}/{name}.{format}", figure.savefig))
    return paths


def _mark_published(axes, results) -> None:
    """Marks the blog's accuracies if a run has at least half of `PUBLISHED_EPOCH` epochs."""
    epochs = [len(records) for seeds in results.values() for records in seeds]
    if 2 * max(epochs) < PUBLISHED_EPOCH:
        return
    for name, model in MODELS.items():
        if results.get(name) and model.published is not None:
            color = style.curve_style(name)["color"]
            axes.plot(PUBLISHED_EPOCH, model.published, "D", color=color, markeredgecolor="black")
    # Each mark has the color of its model, so the legend shows one without a color.
    axes.plot([], [], "D", color="white", markeredgecolor="black", label="published")


def _geometric_mean(values, axis):
    """Returns the geometric mean; zero if one value is zero."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(values).mean(axis=axis))


def _curves(
    results: dict[str, list[Records]],
    bundled: dict[str, list[Records]],
    title: str,
    ylabel: str,
    metric: str,
    training_metric: str | None = None,
) -> Figure:
    """Returns a figure with one line per model.

    Args:
        results, bundled: as for `plot_curves`.
        title, ylabel: of the figure.
        metric: an attribute of `EpochRecord`.
        training_metric: of a second line, if there is only one model.
    """
    figure = style.new_figure(8, 4.5)
    axes = figure.subplots()
    mean = _geometric_mean if metric == "gradient_norm" else np.mean
    for name, seeds in bundled.items():
        look = {**_look(name, [name]), "alpha": 0.35, "linewidth": 1.5}
        _draw_seeds(axes, seeds, metric, mean, look, f"{name}, bundled")
    names = list(MODELS)
    labels = sorted(results, key=lambda label: names.index(_model_name(label)))
    for label in labels:
        _draw_seeds(axes, results[label], metric, mean, _look(label, labels), label)
    if training_metric and len(results) == 1 and not bundled:
        ((name, seeds),) = results.items()
        title = f"{name}: {title.partition(' ')[2]}"
        axes.lines[0].set_label("validation")
        look = {"color": style.TRAINING, "linestyle": "--"}
        _draw_seeds(axes, seeds, training_metric, mean, look, "training")
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    style.remove_frame(axes)
    return figure


def _look(label: str, labels: list[str]) -> dict:
    """Returns the look of a model, or one of a scale of colors if several labels have its name."""
    of_model = [one for one in labels if _model_name(one) == _model_name(label)]
    if len(of_model) == 1 and _model_name(label) in MODELS:
        return style.curve_style(_model_name(label))
    position = labels.index(label) / max(len(labels) - 1, 1)
    return {"color": colormaps["viridis"](0.9 * position), "linestyle": "-"}


def _model_name(label: str) -> str:
    """Returns the name of the model of a label, which settings can follow."""
    return label.partition(",")[0]


def _add_legend(figure: Figure) -> None:
    """Adds a legend, below the axes if its labels are many or long."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    if len(labels) <= MAX_LABELS and max(map(len, labels)) <= MAX_LABEL_LENGTH:
        figure.axes[0].legend(frameon=False)
    else:
        figure.set_figheight(figure.get_figheight() + 0.18 * len(labels))
        figure.legend(loc="outside lower left", frameon=False, fontsize=7)


def _draw_seeds(axes, seeds: list[Records], metric: str, mean, look: dict, label: str) -> None:
    """Draws the mean and the range of a metric over the seeds of one model."""
    by_epoch = [{record.epoch: getattr(record, metric) for record in records} for records in seeds]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    values = np.array([[one[epoch] for epoch in epochs] for one in by_epoch])
    marker = "o" if len(epochs) == 1 else None  # a line of one point is invisible
    if len(seeds) > 1:
        label += f" ({len(seeds)} seeds)"
    look = {"linewidth": 2, **look}
    axes.plot(epochs, mean(values, axis=0), label=label, marker=marker, **look)
    if len(by_epoch) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        alpha = 0.2 * look.get("alpha", 1)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=alpha, linewidth=0)
        for one in by_epoch:
            beyond = sorted(epoch for epoch in one if epoch >= max(epochs, default=1))
            axes.plot(beyond, [one[epoch] for epoch in beyond], **{**look, "linewidth": 0.8})
