"""Shows where the networks of table 1 fail: with fewer units, and with more pairs.

python -m benchmarks.harder_than_paper

Trains each network with seed 0, its tuned learning rate and as many epochs as in the tuning, first
with the sizes in `UNITS`, then with 50 units and the numbers of pairs in `PAIRS`. Fast weights are
also trained with the best settings of `benchmarks/beyond_paper.py`, and, with 8 pairs, with each of
these settings alone. Records and the meaning of the test error are those of
`benchmarks/reproduce_paper.py`. A run that has a record is not trained again. Draws
`docs/paper_limits.png`.
"""

import argparse
import pathlib

from benchmarks import beyond_paper, reproduce_paper
from benchmarks.reproduce_paper import FAST, NETWORKS, TUNING_UNITS, best_rate, test_error
from benchmarks.runs import ROOT, Run, run_main
from benchmarks.tables import table

BEST = "Fast weights, best"
# Label: network, and settings that differ from those of table 1.
LINES = {**{label: (label, {}) for label in NETWORKS}, BEST: (FAST, beyond_paper.BEST)}
UNITS = (10, 15, 20, 30, 50)
PAIRS = (4, 8, 16, 26)
# The case (TUNING_UNITS, PAIRS[0]) is a run of the tuning, except for `BEST`.
CASES = [(units, PAIRS[0]) for units in UNITS] + [(TUNING_UNITS, pairs) for pairs in PAIRS[1:]]
# Changes from table 1's settings to the best ones of fast weights: none, each alone, all.
PARTS = {
    "as in table 1": {},
    "λ = 1": {"decay_rate": beyond_paper.BEST["decay_rate"]},
    "original recurrence": {"recurrence": beyond_paper.BEST["recurrence"]},
    f"weight decay {beyond_paper.WEIGHT_DECAY}": {"weight_decay": beyond_paper.WEIGHT_DECAY},
    "all three": beyond_paper.BEST,
}
PAIRS_OF_PARTS = 8


def make_run(records: dict, label: str, units: int, pairs: int) -> Run | None:
    """Returns the run of a line, a key of `LINES`, and a case.

    `None` before the network has been tuned, for an odd number of units of A-LSTM, which pairs
    them, and for 26 pairs of all but the best line, which is the only one below 25% with 16.
    """
    network, settings = LINES[label]
    if best_rate(records, network) is None or (network == "A-LSTM" and units % 2):
        return None
    if pairs == PAIRS[-1] and label != BEST:
        return None
    others = settings if pairs == PAIRS[0] else {**settings, "num_pairs": pairs}
    return _make_run(records, network, units, **others)


def _make_run(records, network, units, **settings) -> Run:
    num_epochs = reproduce_paper.tuning_epochs(network)
    rate = best_rate(records, network)
    return reproduce_paper.make_run(network, units, rate, 0, num_epochs, **settings)


def run_of_part(records: dict, part: str) -> Run:
    """Returns the run of fast weights with the settings of a part, a key of `PARTS`."""
    settings = {**PARTS[part], "num_pairs": PAIRS_OF_PARTS}
    return _make_run(records, FAST, TUNING_UNITS, **settings)


def runs(records: dict, networks=NETWORKS) -> list[Run]:
    """Returns the runs of all cases, and those of the parts."""
    labels = [label for label, (network, _) in LINES.items() if network in networks]
    found = [make_run(records, label, *case) for case in CASES for label in labels]
    if FAST in networks:
        found += [run_of_part(records, part) for part in PARTS]
    return list({run.name: run for run in found if run}.values())


def error(records: dict, label: str, case: tuple[int, int]) -> float | None:
    """Returns the test error of a line and a case in percent, or `None` without a record."""
    run = make_run(records, label, *case)
    return test_error(records[run.name]) if run and run.name in records else None


def table_of_limits(records: dict) -> str:
    """Returns a table of the test errors of all cases."""
    rows = []
    for label in LINES:
        found = [error(records, label, case) for case in CASES]
        rows.append([label, *("-" if one is None else f"{one:.2f}%" for one in found)])
    heads = [f"R = {units}" if pairs == PAIRS[0] else f"K = {pairs}" for units, pairs in CASES]
    return table(["network", *heads], rows)


def table_of_parts(records: dict) -> str:
    """Returns a table of the test errors of the parts."""
    found = [records.get(run_of_part(records, part).name) for part in PARTS]
    errors = [f"{test_error(record):.2f}%" if record else "-" for record in found]
    return table(["settings", "test error"], zip(PARTS, errors, strict=True))


def draw() -> pathlib.Path:
    """Draws the test error over the units, and over the pairs."""
    from fast_weights.experiment.plots import style  # loads Matplotlib

    records = reproduce_paper.read_records()
    figure = style.new_figure(9, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    panels = (
        (left, "units, with 4 pairs", UNITS, [(units, PAIRS[0]) for units in UNITS]),
        (right, "pairs, with 50 units", PAIRS, [(TUNING_UNITS, pairs) for pairs in PAIRS]),
    )
    for axes, name, places, cases in panels:
        for label, (network, _) in LINES.items():
            errors = [error(records, label, case) for case in cases]
            shown = [(x, y) for x, y in zip(places, errors, strict=True) if y is not None]
            look = reproduce_paper.look(network)
            if label == BEST:
                look["linestyle"] = "--"
            axes.plot(*zip(*shown, strict=True), marker="o", label=label, **look)
        axes.set_xlabel(name)
        axes.set_xticks(places)
        axes.grid(alpha=0.3)
        style.remove_frame(axes)
    left.set_ylim(bottom=0)
    left.set_ylabel("test error in percent")
    right.legend(frameon=False, loc="center right")  # only one line goes on to 26 pairs
    return style.write(ROOT / "docs/paper_limits.png", figure.savefig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--networks", default=",".join(NETWORKS), help="default: all four")
    add("--jobs", type=int, help="runs at a time; default: one on each core")
    flags = parser.parse_args()
    labels = reproduce_paper.labels_of(flags.networks)
    records = reproduce_paper.train(reproduce_paper.tuning_runs(labels), flags.jobs)
    records = reproduce_paper.train(runs(records, labels), flags.jobs)
    if set(labels) == set(NETWORKS):
        print(table_of_limits(records))
        print(table_of_parts(records))
        print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
