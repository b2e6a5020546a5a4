"""Trains variants of the blog's models, most of them for 200 epochs.

python -m benchmarks.variants

- RNN-LN-FW with one setting changed at a time, and GRU-LN with the standard gates.
- Causes of differences from the published curves: normalization over the batch, as in the
  original's code, and the sequences of another seed.
- The original's recurrence and the paper's at two learning rates and three seeds.
- The four models on sequences of 26 pairs, which is 55 symbols.

A variant with the blog's settings is not trained again: it is the start of a run of
`benchmarks/reproduce_blog.py`. Writes `docs/results/variants.jsonl` and the figures
`docs/ablations.png`, `docs/recurrences.png` and `docs/long_sequences.png`.
"""

import dataclasses

from matplotlib.ticker import MultipleLocator, PercentFormatter, StrMethodFormatter

from benchmarks import reproduce_blog
from benchmarks.study import Study
from benchmarks.tables import Record, cells, part, table, table_of_runs
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import BLOG_MODELS
from fast_weights.experiment.plots import style

COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gradient_norm")
STUDY = Study(__doc__, "variants", columns=COLUMNS)


def in_full(case: Config) -> Config:
    """Returns a case with the number of epochs of the blog's runs."""
    return dataclasses.replace(case, num_epochs=Config().num_epochs)


def variant(num_epochs: int = 200, **settings) -> Config:
    """Returns a case, and adds it to the study unless it is the start of a run of the blog's."""
    case = Config(num_epochs=num_epochs, **settings)
    return case if in_full(case) in reproduce_blog.STUDY.cases else STUDY.add(**vars(case))


def record_of(case: Config) -> Record:
    """Returns the results of every epoch of a case."""
    if case in STUDY.cases:
        return STUDY[case]
    record = reproduce_blog.STUDY[in_full(case)]
    return {column: record[column][: case.num_epochs] for column in COLUMNS}


DEFAULTS = variant()
# Panel of the figure -> label -> case.
PANELS = {
    "inner steps S": {f"S = {steps}": variant(inner_steps=steps) for steps in range(4)},
    "decay rate λ, and η = 0": {
        "η = 0": variant(fast_learning_rate=0.0),
        **{f"λ = {rate}": variant(decay_rate=rate) for rate in (0.5, 0.8, 0.95, 1.0)},
    },
    "layer normalization": {
        "with layer normalization": DEFAULTS,
        "without layer normalization, 1000 epochs": variant(1000, normalization="none"),
    },
}
GATES = {
    gates: variant(1000, model_name="GRU-LN", gates=gates) for gates in ("original", "standard")
}
SEEDS = (0, 1, 2)
OVER_THE_BATCH = [variant(normalization="batch", seed=seed) for seed in SEEDS]
# Each variant follows the run that it is compared with.
COMPARED = {}
for seed, case in enumerate(OVER_THE_BATCH):
    COMPARED[f"RNN-LN-FW-seed{seed}, 200 epochs"] = variant(seed=seed)
    COMPARED[f"over-the-batch-seed{seed}, 200 epochs"] = case
for seed, other in ((1, 6), (6, 1)):
    for label, data_seed in (("", None), (f"-data-of-{other}", other)):
        case = variant(1000, model_name="RNN-LN", seed=seed, data_seed=data_seed)
        COMPARED[f"RNN-LN-seed{seed}{label}, 1000 epochs"] = case
# Recurrence and learning rate -> color and line style.
LOOKS = {
    ("original", "1e-4"): ("#0072B2", "-"),
    ("paper", "1e-4"): ("#D55E00", "--"),
    ("original", "1e-3"): ("#0072B2", "-."),
    ("paper", "1e-3"): ("#D55E00", ":"),
}
# The same -> the cases of the seeds.
RECURRENCES = {
    (recurrence, rate): [
        variant(recurrence=recurrence, learning_rate=float(rate), seed=seed) for seed in SEEDS
    ]
    for recurrence, rate in LOOKS
}
LONG_SEQUENCES = {name: variant(model_name=name, num_pairs=26) for name in BLOG_MODELS}


def table_of_cases(head: str, cases: dict[str, Config], *columns: str) -> str:
    """Returns a table with a row for each case."""
    runs = {label: [record_of(case)] for label, case in cases.items()}
    return table_of_runs(head, runs, *columns)


@part("ablations")
def table_of_ablations() -> str:
    """Returns the accuracy of RNN-LN-FW with each setting."""
    cases = {
        "defaults" if case == DEFAULTS else label: case
        for panel in PANELS.values()
        for label, case in panel.items()
    }
    columns = ["epoch of 99%", "accuracy at 200", "loss at 200", "best accuracy"]
    return table_of_cases("RNN-LN-FW", cases, *columns)


@part("variants")
def table_of_variants() -> str:
    """Returns each variant below the run that it is compared with, up to the same epoch."""
    columns = ["epoch of 45%", "epoch of 99%", "final accuracy", "best accuracy"]
    return table_of_cases("run", COMPARED, *columns, "training accuracy")


@part("over_the_batch_at_150")
def over_the_batch() -> str:
    """Returns the range over the seeds."""
    accuracies = [STUDY[case]["val_accuracy"][149] for case in OVER_THE_BATCH]
    return f"{min(accuracies):.2%} to {max(accuracies):.2%}"


@part("gates")
def table_of_gates() -> str:
    """Returns the accuracy of GRU-LN with each kind of gates."""
    columns = ["training accuracy", "final accuracy", "best accuracy"]
    return table_of_cases("gates", GATES, *columns)


@part("recurrences")
def table_of_recurrences() -> str:
    """Returns a row for each setting, in which a cell lists the seeds."""
    columns = ["epoch of 99%", "epoch of 99.9%", "accuracy at 200", "loss at 200"]
    rows = []
    for setting, cases in RECURRENCES.items():
        of_seeds = [cells([record_of(case)], columns) for case in cases]
        rows.append([*setting, *map(", ".join, zip(*of_seeds, strict=True))])
    return table(["recurrence", "learning rate", *columns], rows)


@part("long_sequences")
def table_of_long_sequences() -> str:
    """Returns the accuracy of each model with 26 pairs."""
    columns = ["accuracy at 200", "best accuracy", "epoch of best", "training accuracy"]
    return table_of_cases("model", LONG_SEQUENCES, *columns)


def draw_curve(axes, case: Config, column: str = "val_accuracy", **look) -> None:
    """Draws a result of every epoch of a case."""
    values = record_of(case)[column]
    axes.plot(range(1, len(values) + 1), values, **look)


def label_axes(axes, title: str, ylabel: str = "validation accuracy", top: float = 1.02) -> None:
    """Labels axes of accuracy over epochs, and adds a legend."""
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False)


@STUDY.figure("ablations.png", 9, 7)
def draw_ablations(figure) -> None:
    """Draws a panel for each question. The default settings have a color."""
    *panels, last = figure.subplots(2, 2).flat
    for axes, (title, panel) in zip(panels, PANELS.items(), strict=True):
        dashes = iter(("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1))))
        for label, case in panel.items():
            if case == DEFAULTS:
                look = {**style.curve_style("RNN-LN-FW"), "linewidth": 2.5}
            else:
                look = {"color": "black", "linestyle": next(dashes)}
            draw_curve(axes, case, label=label, **look)
        label_axes(axes, f"RNN-LN-FW: {title}")
    looks = (style.curve_style("GRU-LN"), {"color": "black", "linestyle": "--"})
    for (gates, case), look in zip(GATES.items(), looks, strict=True):
        draw_curve(last, case, label=f"{gates} gates, validation", linewidth=2.5, **look)
        label = f"{gates} gates, training"
        draw_curve(last, case, "train_accuracy", label=label, linewidth=1, **look)
    label_axes(last, "GRU-LN: gates", "accuracy")


@STUDY.figure("recurrences.png", 8, 4.5)
def draw_recurrences(figure) -> None:
    """Draws a color for each recurrence."""
    axes = figure.subplots()
    for (recurrence, rate), (color, linestyle) in LOOKS.items():
        look = {"color": color, "linestyle": linestyle, "linewidth": 1.5}
        for case in RECURRENCES[recurrence, rate]:
            label = None if case.seed else f"{recurrence}, Adam {rate}"
            draw_curve(axes, case, label=label, **look)
    label_axes(axes, "RNN-LN-FW: the original's recurrence and the paper's, three seeds each")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


@STUDY.figure("long_sequences.png", 8, 4.5)
def draw_long_sequences(figure) -> None:
    """Draws a curve for each model with 26 pairs."""
    axes = figure.subplots()
    for name, case in LONG_SEQUENCES.items():
        draw_curve(axes, case, label=name, **style.curve_style(name))
    axes.axhline(0.1, color="black", linewidth=0.8)
    axes.annotate("chance", (200, 0.1), (0, -4), textcoords="offset points", ha="right", va="top")
    label_axes(axes, "26 pairs, 55 symbols", top=0.22)
    axes.yaxis.set_major_locator(MultipleLocator(0.05))


if __name__ == "__main__":
    STUDY.main()
