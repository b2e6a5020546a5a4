"""Accuracy, loss and gradient norm over epochs."""

import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from fast_weights.experiment.models import MODELS
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

Records = list[EpochRecord]
# The title, the label of the axis, and the attribute of `EpochRecord` of each figure.
FIGURES = {
    "accuracy": ("Validation accuracy", "accuracy", "val_accuracy"),
    "loss": ("Validation loss", "cross-entropy (nats)", "val_loss"),
    "gradient_norm": ("Gradient norm before clipping", "global norm", "gradient_norm"),
}
# The published accuracies of `MODELS` were read off the blog's plot at this epoch.
PUBLISHED_EPOCH = 1000
# A larger legend would hide the curves.
MAX_LABELS, MAX_LABEL_LENGTH = 8, 60


@style.fixed_settings()
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
    only one model, its accuracy and loss on the training sequences are drawn too.

    Args:
        results: the records of each seed, by label. A label is a model name, or a model name, a
            comma and settings. A label without records is omitted.
        output_dir: the directory to write to. It is created if it is missing.
        format: `"png"`, `"svg"` or `"pdf"`.
        log_epochs: whether the axis of epochs is logarithmic.
        bundled: records of each seed, by model name, that are drawn in pale colors behind the
            others. Default `None`: no such records.
        mark_published: whether to mark the accuracies of the blog post, which hold for the
            default settings.

    Returns:
        The paths of the files.
    """
    names = list(MODELS)
    labels = sorted(results, key=lambda label: names.index(_model_name(label)))
    results = {label: results[label] for label in labels if results[label]}
    paths = []
    for name, (title, ylabel, metric) in FIGURES.items():
        figure = style.new_figure(8, 4.5)
        axes = figure.subplots()
        for label, seeds in (bundled or {}).items():
            look = {**style.curve_style(label), "alpha": 0.35, "linewidth": 1.5}
            _draw_seeds(axes, seeds, metric, look, f"{label}, bundled")
        for label, seeds in results.items():
            _draw_seeds(axes, seeds, metric, _look(label, results), label)
        if metric.startswith("val_") and len(results) == 1 and not bundled:
            look = {"color": style.TRAINING, "linestyle": "--"}
            metric = metric.replace("val_", "train_")
            _draw_seeds(axes, seeds, metric, look, f"{label}, training")
        if name == "accuracy" and mark_published:
            _mark_published(axes, results)
        axes.set(title=title, xlabel="epoch", ylabel=ylabel)
        if name == "gradient_norm":
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.02 if name == "accuracy" else None)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        if log_epochs:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.grid(alpha=0.3)
        style.remove_frame(axes)
        _add_legend(figure)
        paths.append(style.write(f"{output_dir}/{name}.{format}", figure.savefig))
    return paths


def _draw_seeds(axes, seeds: list[Records], metric: str, look: dict, label: str) -> None:
    """Draws the mean and the range of a metric over the seeds of one model."""
    by_epoch = [{record.epoch: getattr(record, metric) for record in records} for records in seeds]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    values = np.array([[one[epoch] for epoch in epochs] for one in by_epoch])
    with np.errstate(divide="ignore"):  # the axis of norms is logarithmic and omits zero
        mean = np.exp(np.log(values).mean(0)) if metric == "gradient_norm" else values.mean(0)
    marker = "o" if len(epochs) == 1 else None  # a line of one point is invisible
    if len(seeds) > 1:
        label += f" ({len(seeds)} seeds)"
    look = {"linewidth": 2, **look}
    axes.plot(epochs, mean, label=label, marker=marker, **look)
    if len(seeds) > 1:
        band = {"color": look["color"], "alpha": 0.2 * look.get("alpha", 1), "linewidth": 0}
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), **band)
        for one in by_epoch:
            beyond = sorted(epoch for epoch in one if epoch >= max(epochs, default=1))
            axes.plot(beyond, [one[epoch] for epoch in beyond], **{**look, "linewidth": 0.8})


def _look(label: str, labels) -> dict:
    """Returns the model's style, or a color of a scale if several labels have the same model."""
    if [_model_name(one) for one in labels].count(_model_name(label)) == 1:
        return style.curve_style(_model_name(label))
    position = list(labels).index(label) / (len(labels) - 1)
    return {"color": colormaps["viridis"](0.9 * position), "linestyle": "-"}


def _model_name(label: str) -> str:
    """Returns the model name with which a label starts."""
    return label.partition(",")[0]


def _mark_published(axes, results) -> None:
    """Marks the blog's accuracies if a run has at least half of `PUBLISHED_EPOCH` epochs."""
    epochs = [len(records) for seeds in results.values() for records in seeds]
    if 2 * max(epochs) < PUBLISHED_EPOCH:
        return
    for name, model in MODELS.items():
        if name in results and model.published is not None:
            color = style.curve_style(name)["color"]
            axes.plot(PUBLISHED_EPOCH, model.published, "D", color=color, markeredgecolor="black")
    # Each mark has the color of its model, so the legend shows a white one.
    axes.plot([], [], "D", color="white", markeredgecolor="black", label="published")


def _add_legend(figure: Figure) -> None:
    """Adds a legend, below the axes if its labels are many or long."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    if len(labels) <= MAX_LABELS and max(map(len, labels)) <= MAX_LABEL_LENGTH:
        figure.axes[0].legend(frameon=False)
    else:
        figure.set_figheight(figure.get_figheight() + 0.18 * len(labels))
        figure.legend(loc="outside lower left", frameon=False, fontsize=7)
