"""The figure of the slow weights before and after training."""

import pathlib
from typing import TYPE_CHECKING

from fast_weights.experiment.plots import style

if TYPE_CHECKING:
    from fast_weights.experiment.tasks import Task

# By Keras's name of a matrix: its name in the equations, and the label of its rows.
MATRICES = {
    "kernel": ("$W_x$", "input to the layer"),
    "recurrent_kernel": ("$W_h$", "unit of $h_{t-1}$"),
}


@style.fixed_settings()
def plot_weights(
    before, after, task: "Task", path, caption: str = "", units: int = 0, blocks=("h",)
) -> pathlib.Path:
    """Draws the matrices of a recurrent layer before and after training.

    Each panel has its own color scale: the largest weight grows so much that the weights before
    training would be blank on the scale of those after.

    Args:
        before: the matrices before training, by name.
        after: the matrices after training, by name.
        task: the task that the model was trained on.
        path: of the file to write, which ends in `.png`, `.svg` or `.pdf`. Its directory is
            created if it is missing.
        caption: of the figure, such as `"RNN-LN-FW, seed 0"`. Default: no caption.
        units: H. Default: blocks of columns are not labeled.
        blocks: the names of the n blocks of H columns of a matrix, (·, n·H). Default: one block,
            the hidden state.

    Returns:
        The path of the file.
    """
    figure = style.new_figure(10, 3.5 * len(before))
    style.add_caption(figure, caption)
    panels = figure.subplots(len(before), 2, squeeze=False)
    for row, name in zip(panels, before, strict=True):
        symbol, rows = MATRICES.get(name, (name, "row"))
        for axes, weights, when in zip(row, (before, after), ("before", "after"), strict=True):
            values = weights[name]
            scale = style.signed_scale(values)  # W_h starts as a multiple of the identity
            image = axes.imshow(values, aspect="auto", interpolation="nearest", **scale)
            style.add_color_bar(figure, image, "weight (own color scale)", ax=axes, fraction=0.05)
            axes.set_title(f"{symbol} {when} training")
            has_blocks = values.shape[1] == units * len(blocks)
            _label_columns(axes, units, blocks if has_blocks else ())
            if len(values) == len(task.vocabulary):
                style.label_symbols(axes.yaxis, task.vocabulary, length=190, size=10)
                rows = "symbol of $x_t$"
        row[0].set_ylabel(rows)
    return style.write(path, figure.savefig)


def _label_columns(axes, units: int, blocks) -> None:
    """Labels blocks of `units` columns each, with a line between them."""
    if len(blocks) < 2:
        axes.set_xlabel("unit of $h_t$" if blocks else "column")
        return
    axes.set_xticks([(i + 0.5) * units - 0.5 for i in range(len(blocks))], blocks)
    axes.set_xlabel(f"{units} units each")
    for i in range(1, len(blocks)):
        axes.axvline(i * units - 0.5, color="black", linewidth=0.8)
