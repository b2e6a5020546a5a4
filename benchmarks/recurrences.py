"""Compares the original's recurrence and the paper's at two learning rates and three seeds.

python -m benchmarks.recurrences

Trains RNN-LN-FW twelve times for 200 epochs, with the default settings except for these. Writes
`docs/results/recurrences/` and `docs/recurrences.png`.
"""

from benchmarks.study import Study
from benchmarks.tables import cells, part, table
from fast_weights.experiment.config import Config

STUDY = Study(__doc__)
SEEDS = (0, 1, 2)
# Recurrence and learning rate -> color and line style.
SETTINGS = {
    ("original", "1e-4"): ("#0072B2", "-"),
    ("paper", "1e-4"): ("#D55E00", "--"),
    ("original", "1e-3"): ("#0072B2", "-."),
    ("paper", "1e-3"): ("#D55E00", ":"),
}
# The names of the seeds' runs.
RUNS = {
    (recurrence, rate): [
        STUDY.add(
            f"recurrences/{recurrence}-{rate}-seed{seed}",
            Config(num_epochs=200, recurrence=recurrence, learning_rate=float(rate), seed=seed),
        )
        for seed in SEEDS
    ]
    for recurrence, rate in SETTINGS
}


@part("recurrences")
def table_of_recurrences() -> str:
    """Returns a row for each setting, in which a cell lists the seeds."""
    columns = ["epoch of 99%", "epoch of 99.9%", "accuracy at 200", "loss at 200"]
    rows = []
    for setting, names in RUNS.items():
        of_seeds = [cells([STUDY[name]], columns) for name in names]
        rows.append([*setting, *map(", ".join, zip(*of_seeds, strict=True))])
    return table(["recurrence", "learning rate", *columns], rows)


@STUDY.figure("recurrences.png", 8, 4.5)
def draw(figure) -> None:
    """Draws validation accuracy over epochs: a color for each recurrence."""
    from matplotlib.ticker import StrMethodFormatter

    from benchmarks import figures  # loads Matplotlib

    axes = figure.subplots()
    for (recurrence, rate), (color, linestyle) in SETTINGS.items():
        label = f"{recurrence}, Adam {rate}"
        for name in RUNS[recurrence, rate]:
            look = {"color": color, "linestyle": linestyle, "linewidth": 1.5, "label": label}
            figures.draw_curve(axes, STUDY[name]["val_accuracy"], **look)
            label = None
    title = "RNN-LN-FW: the original's recurrence and the paper's, three seeds each"
    figures.label_accuracy(axes, title)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    STUDY.main()
