"""Shows where the networks of table 1 fail: with fewer units, and with more pairs.

python -m benchmarks.harder_than_paper --missing

Trains each network with seed 0, its tuned learning rate and as many epochs as in the tuning, first
with other numbers of units, then with 50 units and more pairs. Fast weights are also trained with
the best settings of `benchmarks/beyond_paper.py`, and, with 8 pairs, with each of these settings
alone. Records and the meaning of the test error are those of `benchmarks/reproduce_paper.py`. Draws
`docs/paper_limits.png`.
"""

from benchmarks import reproduce_paper
from benchmarks.beyond_paper import BEST, WEIGHT_DECAY
from benchmarks.reproduce_paper import LABELS, TUNING_EPOCHS, TUNING_UNITS, add_run
from benchmarks.study import Study
from benchmarks.tables import error, part, table

STUDY = Study(__doc__, "paper", columns=reproduce_paper.COLUMNS)
BEST_LABEL = "Fast weights, best"
# Label -> model, and settings that differ from those of table 1.
LINES = {**{label: (name, {}) for name, label in LABELS.items()}, BEST_LABEL: ("RNN-LN-FW", BEST)}
PAIRS = 4
BY_UNITS = {f"R = {units}": (units, PAIRS) for units in (10, 15, 20, 30, 50)}
BY_PAIRS = {f"K = {pairs}": (TUNING_UNITS, pairs) for pairs in (8, 16, 26)}
CASES = {**BY_UNITS, **BY_PAIRS}
# Changes from table 1's settings to the best ones of fast weights: none, each alone, all.
PARTS = {
    "as in table 1": {},
    "λ = 1": {"decay_rate": 1.0},
    "original recurrence": {"recurrence": "original"},
    f"weight decay {WEIGHT_DECAY}": {"weight_decay": WEIGHT_DECAY},
    "all three": BEST,
}


def _add(model_name: str, units: int, pairs: int, settings: dict) -> str:
    others = settings if pairs == PAIRS else {**settings, "num_pairs": pairs}
    num_epochs = TUNING_EPOCHS[model_name]
    return add_run(STUDY, model_name, units, num_epochs=num_epochs, **others)


def _is_possible(label: str, units: int, pairs: int) -> bool:
    """Returns whether there is such a run. A-LSTM pairs its units.

    With 26 pairs, there is only the best line, which is the only one below 25% with 16.
    """
    return not (label == "A-LSTM" and units % 2) and (pairs < 26 or label == BEST_LABEL)


# Label, units and pairs -> name. The first case of 50 units and 4 pairs is a run of the tuning.
RUNS = {
    (label, *case): _add(model_name, *case, settings)
    for label, (model_name, settings) in LINES.items()
    for case in CASES.values()
    if _is_possible(label, *case)
}
RUNS_OF_PARTS = {part: _add("RNN-LN-FW", TUNING_UNITS, 8, PARTS[part]) for part in PARTS}


def errors_of(label: str, cases) -> list[float | None]:
    """Returns the test error of each case, or `None`."""
    names = [RUNS.get((label, *case)) for case in cases]
    return [error(STUDY[name]) if name else None for name in names]


@part("paper_limits")
def table_of_limits() -> str:
    """Returns a table of the test errors of all cases."""
    rows = []
    for label in LINES:
        found = errors_of(label, CASES.values())
        rows.append([label, *("-" if one is None else f"{one:.2%}" for one in found)])
    return table(["network", *CASES], rows)


@part("paper_parts")
def table_of_parts() -> str:
    """Returns a table of the test errors with 8 pairs."""
    rows = [[label, f"{error(STUDY[name]):.2%}"] for label, name in RUNS_OF_PARTS.items()]
    return table(["settings", "test error"], rows)


@STUDY.figure("paper_limits.png", 9, 4)
def draw(figure) -> None:
    """Draws the test error over the units, and over the pairs."""
    from fast_weights.experiment.plots import style  # loads Matplotlib

    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, varied, cases in (
        (left, "units, with 4 pairs", 0, [*BY_UNITS.values()]),
        (right, "pairs, with 50 units", 1, [(TUNING_UNITS, PAIRS), *BY_PAIRS.values()]),
    ):
        places = [case[varied] for case in cases]
        for (label, (model_name, _)), marker in zip(LINES.items(), "sv^oo", strict=True):
            look = {**style.curve_style(model_name), "marker": marker, "clip_on": False}
            if label == BEST_LABEL:
                look |= {"linestyle": "--", "markerfacecolor": "white"}
            # A case without a run is left out.
            found = dict(zip(places, errors_of(label, cases), strict=True))
            found = {place: value for place, value in found.items() if value is not None}
            axes.plot(found.keys(), found.values(), label=label, zorder=3, **look)
        axes.set_xlabel(name)
        axes.set_xticks(places)
    # Below 0.01%, the axis is linear down to 0, which is a result: no error in 20,000 sequences.
    left.set_yscale("symlog", linthresh=1e-4)
    left.set_ylim(0, 1)
    ticks = (0, 1e-4, 1e-3, 0.01, 0.1, 1)
    left.set_yticks(ticks, [f"{100 * tick:g}%" for tick in ticks])
    left.set_ylabel("test error")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)


if __name__ == "__main__":
    STUDY.main()
