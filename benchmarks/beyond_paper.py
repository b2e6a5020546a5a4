"""Trains the networks of table 1 with other settings, and shows where they fail.

python -m benchmarks.beyond_paper --missing

- Settings of fast weights with 20 units. The best have a lower test error than the paper's.
- The four networks with weight decay, so that they can be compared under equal conditions.
- The four networks and the best settings with other numbers of units, and with 50 units and more
  pairs: seed 0, the tuned learning rate and as many epochs as in the tuning. With 8 pairs, fast
  weights are also trained with each of the best settings alone.

Records and the meaning of the test error are those of `benchmarks/reproduce_paper.py`. Draws
`docs/paper_limits.png`.
"""

import statistics

from benchmarks import reproduce_paper
from benchmarks.reproduce_paper import LABELS, SEEDS, TUNING_EPOCHS, add_case, errors
from benchmarks.study import Study
from benchmarks.tables import error, part, table
from fast_weights.experiment import paper
from fast_weights.experiment.config import Config
from fast_weights.experiment.plots import style

STUDY = Study(__doc__, "paper", columns=reproduce_paper.COLUMNS)
UNITS = 20
WEIGHT_DECAY = 0.1
EARLIER = {"recurrence": "original", "decay_rate": 0.95, "weight_decay": WEIGHT_DECAY}
BEST = {**EARLIER, "decay_rate": 1.0}
# Label -> settings that differ from those of table 1, and the number of seeds.
SETTINGS = {
    "as in table 1": ({}, 5),
    "λ = 0.95, original recurrence, weight decay 0.1": (EARLIER, 5),
    "λ = 0.95, twice the updates": ({**EARLIER, "num_epochs": 2 * paper.NUM_EPOCHS[UNITS]}, 2),
    "best: λ = 1, original recurrence, weight decay 0.1": (BEST, 5),
    "best, but the paper's recurrence": ({"decay_rate": 1.0, "weight_decay": WEIGHT_DECAY}, 1),
    "best, but no weight decay": ({"recurrence": "original", "decay_rate": 1.0}, 1),
    "best, but S = 2": ({**BEST, "inner_steps": 2}, 1),
    "best, but η = 1": ({**BEST, "fast_learning_rate": 1.0}, 1),
    "best, but learning rate 2e-3": ({**BEST, "learning_rate": 2e-3}, 1),
}
# Label -> the cases with each seed.
CASES = {
    label: [add_case(STUDY, "RNN-LN-FW", UNITS, seed, **settings) for seed in SEEDS[:num_seeds]]
    for label, (settings, num_seeds) in SETTINGS.items()
}
# Row -> the cases of seed 0 with each number of units.
WITH_AND_WITHOUT = {
    label + suffix: [add_case(STUDY, name, units, **settings) for units in paper.UNITS]
    for name, label in LABELS.items()
    for suffix, settings in (
        ("", {}),
        (f", weight decay {WEIGHT_DECAY}", {"weight_decay": WEIGHT_DECAY}),
    )
}
# Row of the table of limits -> model, and settings that differ from those of table 1.
BEST_LABEL = "Fast weights, best"
ROWS = {**{label: (name, {}) for name, label in LABELS.items()}, BEST_LABEL: ("RNN-LN-FW", BEST)}
# Its columns: units and pairs.
COLUMNS = [*((units, 4) for units in (10, 15, 20, 30, 50)), *((50, pairs) for pairs in (8, 16, 26))]


def add_short_case(name: str, units: int, pairs: int, **settings) -> Config:
    """Adds a case with as many epochs as in the tuning, and returns it."""
    epochs = TUNING_EPOCHS[name]
    return add_case(STUDY, name, units, num_epochs=epochs, num_pairs=pairs, **settings)


# Row, units and pairs -> case. A-LSTM pairs its units. With 26 pairs, there is only the best row,
# which is the only one below 25% with 16.
LIMITS = {
    (label, units, pairs): add_short_case(name, units, pairs, **settings)
    for label, (name, settings) in ROWS.items()
    for units, pairs in COLUMNS
    if not (label == "A-LSTM" and units % 2) and (pairs < 26 or label == BEST_LABEL)
}


# Changes from table 1's settings to the best ones, with 8 pairs: none, each alone, all.
PARTS = {
    "as in table 1": LIMITS["Fast weights", 50, 8],
    "λ = 1": add_short_case("RNN-LN-FW", 50, 8, decay_rate=1.0),
    "original recurrence": add_short_case("RNN-LN-FW", 50, 8, recurrence="original"),
    f"weight decay {WEIGHT_DECAY}": add_short_case("RNN-LN-FW", 50, 8, weight_decay=WEIGHT_DECAY),
    "all three": LIMITS[BEST_LABEL, 50, 8],
}


@part("paper_variants")
def table_of_settings() -> str:
    """Returns a table of the test errors with each setting, and of the final training loss."""
    rows = []
    for label, cases in CASES.items():
        loss = statistics.mean(STUDY[case]["train_loss"][-1] for case in cases)
        listed = ", ".join(f"{one:.2%}" for one in errors(cases))
        rows.append([label, f"{statistics.mean(errors(cases)):.2%}", listed, f"{loss:.4f}"])
    return table(["settings", "mean test error", "by seed", "training loss at the end"], rows)


@part("paper_weight_decay")
def table_of_weight_decay() -> str:
    """Returns a table of the test errors of seed 0 without and with weight decay."""
    rows = (
        [row, *(f"{one:.2%}" for one in errors(cases))] for row, cases in WITH_AND_WITHOUT.items()
    )
    return table(["network", *(f"R = {units}" for units in paper.UNITS)], rows)


@part("paper_limits")
def table_of_limits() -> str:
    """Returns a table of the test errors by units and by pairs."""
    rows = []
    for label in ROWS:
        cases = [LIMITS.get((label, *column)) for column in COLUMNS]
        rows.append([label, *(f"{error(STUDY[case]):.2%}" if case else "-" for case in cases)])
    heads = [f"R = {units}" if pairs == 4 else f"K = {pairs}" for units, pairs in COLUMNS]
    return table(["network", *heads], rows)


@part("paper_parts")
def table_of_parts() -> str:
    """Returns a table of the test errors with 8 pairs."""
    rows = ([label, f"{error(STUDY[case]):.2%}"] for label, case in PARTS.items())
    return table(["settings", "test error"], rows)


@STUDY.figure("paper_limits.png", 9, 4)
def draw(figure) -> None:
    """Draws the test error over the units, and over the pairs."""
    left, right = figure.subplots(1, 2, sharey=True)
    for (label, (model_name, _)), marker in zip(ROWS.items(), "sv^oo", strict=True):
        look = {**style.curve_style(model_name), "marker": marker, "clip_on": False}
        if label == BEST_LABEL:
            look |= {"linestyle": "--", "markerfacecolor": "white"}
        found = {case[1:]: error(STUDY[name]) for case, name in LIMITS.items() if case[0] == label}
        by_units = {units: value for (units, pairs), value in found.items() if pairs == 4}
        by_pairs = {pairs: value for (units, pairs), value in found.items() if units == 50}
        for axes, values in ((left, by_units), (right, by_pairs)):
            axes.plot(values.keys(), values.values(), label=label, zorder=3, **look)
            axes.set_xticks(list(values))
    left.set_xlabel("units, with 4 pairs")
    right.set_xlabel("pairs, with 50 units")
    # Below 0.01%, the axis is linear down to 0, which is a result: no error in 20,000 sequences.
    left.set_yscale("symlog", linthresh=1e-4)
    left.set_ylim(0, 1)
    ticks = (0, 1e-4, 1e-3, 0.01, 0.1, 1)
    left.set_yticks(ticks, [f"{100 * tick:g}%" for tick in ticks])
    left.set_ylabel("test error")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)


if __name__ == "__main__":
    STUDY.main()
