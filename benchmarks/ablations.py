"""Trains RNN-LN-FW with one setting changed at a time, and other variants of the blog's models.

python -m benchmarks.ablations

The runs in `variants/` test causes of differences from the published curves: normalization over the
batch, as in the original's code, and the sequences of another seed. Writes
`docs/results/ablations/`, `docs/results/variants/` and `docs/ablations.png`.
"""

import pathlib

from benchmarks import reproduce_blog
from benchmarks.study import Study
from benchmarks.tables import Record, part, table_of_runs
from fast_weights.experiment.config import Config

NUM_EPOCHS = 200
LONG = 1000
STUDY = Study(__doc__)


def _add(name: str, num_epochs: int = NUM_EPOCHS, **settings) -> str:
    return STUDY.add(name, Config(num_epochs=num_epochs, **settings))


DEFAULTS = _add("ablations/defaults")
# The runs of RNN-LN-FW: panel of the figure -> label -> name.
PANELS = {
    "inner steps S": {
        "S = 0": _add("ablations/S0", inner_steps=0),
        "S = 1": DEFAULTS,
        "S = 2": _add("ablations/S2", inner_steps=2),
        "S = 3": _add("ablations/S3", inner_steps=3),
    },
    "decay rate λ, and η = 0": {
        "η = 0": _add("ablations/eta0", fast_learning_rate=0),
        "λ = 0.5": _add("ablations/lambda0.5", decay_rate=0.5),
        "λ = 0.8": _add("ablations/lambda0.8", decay_rate=0.8),
        "λ = 0.95": DEFAULTS,
        "λ = 1.0": _add("ablations/lambda1.0", decay_rate=1),
    },
    "layer normalization": {
        "with layer normalization": DEFAULTS,
        "without layer normalization": _add(
            "ablations/without-layer-normalization", LONG, normalization="none"
        ),
    },
}
GATES = {
    "original": "GRU-LN-seed0",
    "standard": _add(
        "ablations/GRU-LN-standard-gates", LONG, model_name="GRU-LN", gates="standard"
    ),
}
# Variant -> the blog's run that it is compared with.
OVER_THE_BATCH = {
    _add(f"variants/over-the-batch-seed{seed}", normalization="batch", seed=seed): (
        f"RNN-LN-FW-seed{seed}"
    )
    for seed in (0, 1, 2)
}
OTHER_DATA = {
    _add(
        f"variants/RNN-LN-seed{seed}-data-of-{other}",
        LONG,
        model_name="RNN-LN",
        seed=seed,
        data_seed=other,
    ): f"RNN-LN-seed{seed}"
    for seed, other in ((1, 6), (6, 1))
}


def lists_of(name: str) -> Record:
    """Returns the results of every epoch of a run of this study or of the blog's."""
    record = (STUDY if name in STUDY.runs else reproduce_blog.STUDY)[name]
    return {column: values for column, values in record.items() if isinstance(values, list)}


SPLITS = (("validation", "val_accuracy", 2.5), ("training", "train_accuracy", 1))


@part("ablations")
def table_of_ablations() -> str:
    """Returns the accuracy of RNN-LN-FW with each setting."""
    runs = {}
    for label, name in (
        (label, name) for panel in PANELS.values() for label, name in panel.items()
    ):
        label = "defaults" if name == DEFAULTS else label
        num_epochs = STUDY.runs[name].config.num_epochs
        label += f", {num_epochs} epochs" if num_epochs > NUM_EPOCHS else ""
        runs[label] = [STUDY[name]]
    columns = ["epoch of 99%", "accuracy at 200", "loss at 200", "best accuracy"]
    return table_of_runs("RNN-LN-FW", runs, *columns)


@part("variants")
def table_of_variants() -> str:
    """Returns each variant below the run that it is compared with, up to the same epoch."""
    runs = {}
    for variant, other in {**OVER_THE_BATCH, **OTHER_DATA}.items():
        epochs = STUDY.runs[variant].config.num_epochs
        for name in (other, variant):
            kept = {column: values[:epochs] for column, values in lists_of(name).items()}
            runs[f"{pathlib.PurePath(name).name}, {epochs} epochs"] = [kept]
    columns = ["epoch of 45%", "epoch of 99%", "final accuracy", "best accuracy"]
    return table_of_runs("run", runs, *columns, "training accuracy")


@part("over_the_batch_at_150")
def over_the_batch() -> str:
    """Returns the range over the seeds."""
    accuracies = [STUDY[name]["val_accuracy"][149] for name in OVER_THE_BATCH]
    return f"{min(accuracies):.2%} to {max(accuracies):.2%}"


@part("gates")
def table_of_gates() -> str:
    """Returns the accuracy of GRU-LN with each kind of gates."""
    runs = {gates: [lists_of(name)] for gates, name in GATES.items()}
    return table_of_runs("gates", runs, "training accuracy", "final accuracy", "best accuracy")


@STUDY.figure("ablations.png", 9, 7)
def draw(figure) -> None:
    """Draws accuracy over epochs, a panel for each question. The default settings have a color."""
    from benchmarks import figures  # loads Matplotlib
    from fast_weights.experiment.plots import style

    *panels, last = figure.subplots(2, 2).flat
    for axes, (title, panel) in zip(panels, PANELS.items(), strict=True):
        dashes = iter(figures.DASHES)
        for label, name in panel.items():
            if name == DEFAULTS:
                look = {**style.curve_style("RNN-LN-FW"), "linewidth": 2.5}
            else:
                look = {"color": "black", "linestyle": next(dashes)}
            figures.draw_curve(axes, STUDY[name]["val_accuracy"], label=label, **look)
        figures.label_accuracy(axes, f"RNN-LN-FW: {title}")
    for gates, look in (
        ("original", style.curve_style("GRU-LN")),
        ("standard", {"color": "black", "linestyle": "--"}),
    ):
        for split, column, width in SPLITS:
            label = f"{gates} gates, {split}"
            values = lists_of(GATES[gates])[column]
            figures.draw_curve(last, values, label=label, linewidth=width, **look)
    figures.label_accuracy(last, "GRU-LN: gates", "accuracy")
    for axes in figure.axes:
        axes.legend(frameon=False, loc="best")


if __name__ == "__main__":
    STUDY.main()
