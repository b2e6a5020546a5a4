"""Repeats table 1 of the paper: the test error of four networks with 20, 50 and 100 units.

python -m benchmarks.reproduce_paper

The settings are in `fast_weights/experiment/paper.py`. The learning rate of each network was tuned
with 50 units and seed 0, on validation sequences. Each network is trained with every size and
seed. IRNN, which does not learn the task, is also trained with other learning rates and for longer.
The test error of a run is that of its best validation epoch.

Trains in `checkpoints/paper/`, writes a line to `docs/results/paper.jsonl` after each run,
overwrites the bundled weights (`fast_weights/experiment/pretrained/paper/`) and draws
`docs/paper.png`. The same command resumes after an interruption. With `--missing`, it trains only
the runs that have no line.
"""

import numpy as np
from matplotlib.ticker import StrMethodFormatter

from benchmarks.study import Study
from benchmarks.tables import error, mean_and_range, part, table
from fast_weights.experiment import paper
from fast_weights.experiment.config import Config
from fast_weights.experiment.plots import style

# Model -> its name in the paper.
LABELS = {"IRNN": "IRNN", "LSTM": "LSTM", "A-LSTM": "A-LSTM", "RNN-LN-FW": "Fast weights"}
SEEDS = (0, 1, 2, 3, 4)
TUNING_UNITS = 50
TUNING_EPOCHS = {"IRNN": 48, "LSTM": 48, "A-LSTM": 12, "RNN-LN-FW": 48}
# The lowest test error that we know of from another implementation of fast weights, with 20 units.
BEST_OTHER = 3.78
COLUMNS = ("train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy")


def add_case(study: Study, model_name: str, units: int, seed: int = 0, **settings) -> Config:
    """Adds a case to a study, and returns it.

    Args:
        study: to add to.
        model_name: a key of `LABELS`.
        units: R.
        seed: of weights and sequences.
        **settings: others than those of the network's cells of table 1.
    """
    by_units = paper.A_LSTM_NUM_EPOCHS if model_name == "A-LSTM" else paper.NUM_EPOCHS
    of_cell = {
        "learning_rate": paper.BEST_LEARNING_RATES[model_name],
        "num_epochs": by_units.get(units),
    }
    of_run = {"model_name": model_name, "units": units, "seed": seed}
    return study.add(network="paper", **of_run, **{**of_cell, **settings})


STUDY = Study(__doc__, "paper", columns=COLUMNS)
# The row of a table -> the cases with each learning rate.
TUNING = {
    (model_name, units): [
        add_case(STUDY, model_name, units, learning_rate=rate, num_epochs=TUNING_EPOCHS[model_name])
        for rate in paper.LEARNING_RATES
    ]
    for model_name, units in [*((name, TUNING_UNITS) for name in LABELS), ("IRNN", 100)]
}
# Model, units -> the cases with each seed.
CELLS = {
    (model_name, units): [add_case(STUDY, model_name, units, seed) for seed in SEEDS]
    for model_name in LABELS
    for units in paper.UNITS
}
# IRNN with 100 units and as many epochs as with 20, to see if these help.
LONG_CASE = add_case(STUDY, "IRNN", 100, num_epochs=paper.NUM_EPOCHS[20])
BUNDLED = {model_name: CELLS[model_name, TUNING_UNITS][0] for model_name in LABELS}
STUDY.bundled = BUNDLED.values()


def errors(cases: list[Config]) -> list[float]:
    """Returns the test errors of cases, as fractions."""
    return [error(STUDY[case]) for case in cases]


def errors_by_units(model_name: str) -> list[list[float]]:
    """Returns the test errors of the seeds for each number of units."""
    return [errors(CELLS[model_name, units]) for units in paper.UNITS]


@part("paper")
def table_of_errors() -> str:
    """Returns the table: ours, mean and range, and the paper's."""
    rows = []
    for model_name, label in LABELS.items():
        row = [label, f"{paper.BEST_LEARNING_RATES[model_name]:g}"]
        published = paper.PUBLISHED_ERRORS[model_name]
        for ours, theirs in zip(errors_by_units(model_name), published, strict=True):
            row += [mean_and_range(ours, ".2%"), f"{theirs:g}%"]
        rows.append(row)
    rows.append(["Fast weights, best reimplementation", "-", f"{BEST_OTHER:g}%", *"-----"])
    heads = ["network", "learning rate"]
    for units in paper.UNITS:
        heads += [f"R = {units}", "paper"]
    return table(heads, rows)


@part("paper_means")
def table_of_means() -> str:
    """Returns a table of the mean test errors, each with the paper's in brackets."""
    rows = []
    for model_name, label in LABELS.items():
        means = [f"{np.mean(ours):.2%}" for ours in errors_by_units(model_name)]
        published = paper.PUBLISHED_ERRORS[model_name]
        cells = (f"{mean} ({theirs:g}%)" for mean, theirs in zip(means, published, strict=True))
        rows.append([label, *cells])
    return table(["network", *(f"R = {units}" for units in paper.UNITS)], rows)


@part("paper_tuning")
def table_of_tuning() -> str:
    """Returns a table of the lowest validation error with each learning rate."""
    rows = []
    for (model_name, units), cases in TUNING.items():
        lowest = (f"{1 - max(STUDY[case]['val_accuracy']):.2%}" for case in cases)
        rows.append([f"{LABELS[model_name]}, R = {units}", *lowest])
    return table(["network", *(f"{rate:g}" for rate in paper.LEARNING_RATES)], rows)


@part("paper_hours")
def hours() -> str:
    """Returns the sum of the times of all runs of this benchmark, in hours."""
    return f"{sum(STUDY[case]['seconds'] for case in STUDY.cases) / 3600:.0f}"


@part("paper_long_irnn")
def error_of_long_run() -> str:
    """Returns the test error of IRNN with more updates."""
    return f"{error(STUDY[LONG_CASE]):.0%}"


@STUDY.figure("paper.png", 7, 4.5)
def draw(figure) -> None:
    """Draws the test loss over updates with 50 units, as figure 2 of the paper."""
    axes = figure.subplots()
    for model_name, label in LABELS.items():
        for case in CELLS[model_name, TUNING_UNITS]:
            losses = STUDY[case]["test_loss"]
            updates = np.linspace(0, case.num_updates / 1000, len(losses) + 1)[1:]
            axes.plot(updates, losses, label=label, **style.curve_style(model_name))
            label = None
    axes.set_title(f"Test loss with R = {TUNING_UNITS}, one curve for each seed")
    axes.set_xlabel("updates in thousands")
    axes.set_ylabel("negative log-likelihood in nats")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.legend(frameon=False)


if __name__ == "__main__":
    STUDY.main()
