"""Shows where the networks of table 1 fail: with fewer units, and with more pairs.

python -m benchmarks.harder_than_paper

Trains each network with seed 0, its tuned learning rate and as many epochs as in the tuning, first
with the sizes in `UNITS`, then with 50 units and the numbers of pairs in `PAIRS`. Records and the
meaning of the test error are those of `benchmarks/reproduce_paper.py`. Draws
`docs/paper_limits.png`.
"""

import argparse
import pathlib

from benchmarks import reproduce_paper
from benchmarks.reproduce_paper import NETWORKS, TUNING_UNITS, best_rate, test_error
from benchmarks.runs import ROOT, Run, run_main
from benchmarks.tables import table

UNITS = (10, 15, 20, 30, 50)
PAIRS = (4, 8, 16)
# The case of `TUNING_UNITS` and the first number of pairs is a run of the tuning.
CASES = [(units, PAIRS[0]) for units in UNITS] + [(TUNING_UNITS, pairs) for pairs in PAIRS[1:]]


def make_run(records: dict, label: str, units: int, pairs: int) -> Run | None:
    """Returns the run of a network and a case.

    `None` before the network has been tuned, and for an odd number of units of A-LSTM, which pairs
    them.
    """
    rate = best_rate(records, label)
    if rate is None or (label == "A-LSTM" and units % 2):
        return None
    others = {} if pairs == PAIRS[0] else {"num_pairs": pairs}
    num_epochs = reproduce_paper.tuning_epochs(label)
    return reproduce_paper.make_run(label, units, rate, 0, num_epochs, **others)


def runs(records: dict, labels) -> list[Run]:
    """Returns the runs of all cases."""
    found = [make_run(records, label, *case) for case in CASES for label in labels]
    return [run for run in found if run]


def error(records: dict, label: str, case: tuple[int, int]) -> float | None:
    """Returns the test error of a network and a case in percent, or `None` without a record."""
    run = make_run(records, label, *case)
    return test_error(records[run.name]) if run and run.name in records else None


def table_of_limits(records: dict) -> str:
    """Returns a table of the test errors of all cases."""
    rows = []
    for label in NETWORKS:
        found = [error(records, label, case) for case in CASES]
        rows.append([label, *("-" if one is None else f"{one:.2f}%" for one in found)])
    heads = [f"R = {units}" if pairs == PAIRS[0] else f"K = {pairs}" for units, pairs in CASES]
    return table(["network", *heads], rows)


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
        for label in NETWORKS:
            errors = [error(records, label, case) for case in cases]
            shown = [(x, y) for x, y in zip(places, errors, strict=True) if y is not None]
            look = reproduce_paper.look(label)
            axes.plot(*zip(*shown, strict=True), marker="o", label=label, **look)
        axes.set_xlabel(name)
        axes.set_xticks(places)
        axes.grid(alpha=0.3)
        style.remove_frame(axes)
    left.set_ylim(bottom=0)
    left.set_ylabel("test error in percent")
    left.legend(frameon=False)
    return style.write(ROOT / "docs/paper_limits.png", figure.savefig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--networks", default=",".join(NETWORKS), help="default: all four")
    add("--jobs", type=int, help="runs at a time; default: one on each core")
    flags = parser.parse_args()
    labels = flags.networks.split(",")
    records = reproduce_paper.train(reproduce_paper.tuning_runs(labels), flags.jobs)
    records = reproduce_paper.train(runs(records, labels), flags.jobs)
    if set(labels) == set(NETWORKS):
        print(table_of_limits(records))
        print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
