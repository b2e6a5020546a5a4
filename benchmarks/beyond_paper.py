"""Looks for settings of fast weights with a lower test error than the paper's, with 20 units.

python -m benchmarks.beyond_paper

Runs, records and the meaning of the test error are those of `benchmarks/reproduce_paper.py`.
"""

import argparse
import statistics

from benchmarks import reproduce_paper
from benchmarks.reproduce_paper import FAST, SEEDS, test_error
from benchmarks.runs import Run, run_main
from benchmarks.tables import table

UNITS = 20
NUM_EPOCHS = reproduce_paper.NUM_EPOCHS[UNITS]
RATE = 1e-3
EARLIER = {"recurrence": "original", "decay_rate": 0.95, "weight_decay": 0.1}
BEST = {**EARLIER, "decay_rate": 1.0}
# Label: settings that differ from those of table 1, and the number of seeds.
VARIANTS = {
    "as in table 1": ({}, 5),
    "λ = 0.95, original recurrence, weight decay 0.1": (EARLIER, 5),
    "λ = 0.95, twice the updates": ({**EARLIER, "num_epochs": 2 * NUM_EPOCHS}, 2),
    "best: λ = 1, original recurrence, weight decay 0.1": (BEST, 5),
    "best, but the paper's recurrence": ({"decay_rate": 1.0, "weight_decay": 0.1}, 1),
    "best, but no weight decay": ({"recurrence": "original", "decay_rate": 1.0}, 1),
    "best, but S = 2": ({**BEST, "inner_steps": 2}, 1),
    "best, but η = 1": ({**BEST, "fast_learning_rate": 1.0}, 1),
    "best, but learning rate 2e-3": ({**BEST, "learning_rate": 2e-3}, 1),
}


def make_runs(label: str) -> list[Run]:
    """Returns the runs of a variant, a key of `VARIANTS`."""
    settings, num_seeds = VARIANTS[label]
    others = dict(settings)
    rate, num_epochs = others.pop("learning_rate", RATE), others.pop("num_epochs", NUM_EPOCHS)
    return [
        reproduce_paper.make_run(FAST, UNITS, rate, seed, num_epochs, **others)
        for seed in SEEDS[:num_seeds]
    ]


def runs() -> list[Run]:
    """Returns the runs of all variants."""
    return [run for label in VARIANTS for run in make_runs(label)]


def table_of_variants(records: dict) -> str:
    """Returns a table of the test errors of the variants, and of their final training loss."""
    rows = []
    for label in VARIANTS:
        found = [records[run.name] for run in make_runs(label) if run.name in records]
        if not found:
            continue
        errors = [test_error(record) for record in found]
        loss = statistics.mean(record["train_loss"][-1] for record in found)
        listed = ", ".join(f"{error:.2f}%" for error in errors)
        rows.append([label, f"{statistics.mean(errors):.2f}%", listed, f"{loss:.4f}"])
    return table(["settings", "mean test error", "by seed", "training loss at the end"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one on each core")
    records = reproduce_paper.train(runs(), parser.parse_args().jobs)
    print(table_of_variants(records))
    print("To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
