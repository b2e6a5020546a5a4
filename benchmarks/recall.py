"""Compares fast weights with GRU and LSTM on multi-query recall.

python -m benchmarks.recall

Each model is trained with 64 units, and with the number of units that gives it as many parameters
as fast weights with 64. For both, the learning rate was tuned on the first of `CASES` with seed 0.
The best rate reaches `STOP_AT` in the fewest epochs, or else the highest accuracy. With it, all
cases are trained with three seeds. Writes `docs/results/recall.jsonl` and `docs/recall.png`.
"""

import statistics

from benchmarks.study import Study
from benchmarks.tables import mean_and_range, part, table
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model

STOP_AT = 0.995
STUDY = Study(__doc__, "recall", columns=("val_accuracy",), stop_at_accuracy=STOP_AT)
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (0, 1, 2)
# Pairs and length. The learning rate is tuned on the first.
CASES = ((4, 16), (3, 16), (2, 16), (2, 24))
SIZES = ("equal units", "equal parameters")
# Model, and recurrence of RNN-LN-FW -> units and best learning rate of each of `SIZES`.
MODELS = {
    "RNN-LN-FW, original": ((64, 1e-3), (64, 1e-3)),
    "RNN-LN-FW, paper": ((64, 3e-3), (64, 3e-3)),
    "GRU": ((64, 3e-3), (34, 3e-3)),
    "LSTM": ((64, 1e-2), (28, 1e-2)),
}


def add(study: Study, sizes: tuple[int, int], **settings) -> Config:
    """Adds a run with numbers of pairs and symbols, and returns it."""
    num_pairs, length = sizes
    defaults = {
        "task": "multi-query-recall",
        "num_pairs": num_pairs,
        "sequence_length": length,
        "num_epochs": 20,
        "batch_size": 64,
        "num_training": 64_000,
        "num_validation": 2_048,
        "shuffle": True,
    }
    return study.add(**{**defaults, **settings})


def _add(label: str, units: int, sizes: tuple[int, int], rate: float, seed: int = 0) -> Config:
    """Adds the run of a model of `MODELS`, and returns it."""
    name, _, recurrence = label.partition(", ")
    changes = {"recurrence": recurrence} if recurrence else {}
    return add(STUDY, sizes, model_name=name, units=units, learning_rate=rate, seed=seed, **changes)


# Size and label -> the runs with each learning rate; size, label and case -> those with each seed.
TUNING, RUNS = {}, {}
for label, sizes in MODELS.items():
    for size, (units, best) in zip(SIZES, sizes, strict=True):
        TUNING[size, label] = [_add(label, units, CASES[0], rate) for rate in RATES]
        for case in CASES:
            RUNS[size, label, case] = [_add(label, units, case, best, seed) for seed in SEEDS]


def accuracies(cases: list[Config]) -> list[float]:
    """Returns the validation accuracies at the end of runs."""
    return [STUDY[case]["val_accuracy"][-1] for case in cases]


def table_of_accuracies(size: str) -> str:
    """Returns a table of the accuracies of all models and cases."""
    rows = []
    for label, sizes in MODELS.items():
        units, rate = sizes[SIZES.index(size)]
        num_parameters = build_model(TUNING[size, label][0]).count_params()
        seeds = [accuracies(RUNS[size, label, case]) for case in sorted(CASES)]
        cells = (mean_and_range(values, ".1%") for values in seeds)
        rows.append([label, units, f"{num_parameters:,}", f"{rate:g}", *cells])
    heads = [f"K = {pairs}, T = {length}" for pairs, length in sorted(CASES)]
    return table(["model", "units", "parameters", "learning rate", *heads], rows)


part("recall_equal_units")(lambda: table_of_accuracies("equal units"))
part("recall_equal_parameters")(lambda: table_of_accuracies("equal parameters"))


@STUDY.figure("recall.png", 11, 3.6)
def draw(figure) -> None:
    """Draws accuracy by model, a panel for each case: the mean and the range over the seeds."""
    panels = figure.subplots(1, len(CASES), sharey=True)
    figure.get_layout_engine().set(wspace=0.06)
    # In its own row, a model hides no other. Full marks have 64 units.
    looks = {"equal units": (0.15, "o", "#0072B2"), "equal parameters": (-0.15, "D", "white")}
    for axes, case in zip(panels, sorted(CASES), strict=True):
        for size, (shift, marker, color) in looks.items():
            seeds = [accuracies(RUNS[size, label, case]) for label in MODELS]
            rows = [shift - row for row in range(len(MODELS))]
            means = [statistics.mean(values) for values in seeds]
            axes.hlines(rows, list(map(min, seeds)), list(map(max, seeds)), "#0072B2")
            look = {"color": color, "edgecolor": "#0072B2", "clip_on": False, "zorder": 3}
            axes.scatter(means, rows, 30, marker=marker, label=size, **look)
        pairs, length = case
        axes.axvline(1 / pairs, color="black", linestyle=":", label="guessing")
        axes.set_title(f"K = {pairs}, T = {length}")
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.5, 1), ("0", "50%", "100%"))
        axes.set_xlabel("validation accuracy")
    panels[0].set_yticks([-row for row in range(len(MODELS))], list(MODELS))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


if __name__ == "__main__":
    STUDY.main()
