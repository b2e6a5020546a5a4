"""Looks for settings of fast weights with a lower test error than the paper's, with 20 units.

python -m benchmarks.beyond_paper

Also trains the four networks with weight decay, so that they can be compared under equal
conditions. Runs, records and the meaning of the test error are those of
`benchmarks/reproduce_paper.py`. A run that has a record is not trained again.
"""

import argparse
import statistics

from benchmarks import reproduce_paper
from benchmarks.reproduce_paper import FAST, NETWORKS, SEEDS, best_rate, test_error
from benchmarks.runs import Run, run_main
from benchmarks.tables import table

UNITS = 20
NUM_EPOCHS = reproduce_paper.NUM_EPOCHS[UNITS]
RATE = 1e-3
WEIGHT_DECAY = 0.1
EARLIER = {"recurrence": "original", "decay_rate": 0.95, "weight_decay": WEIGHT_DECAY}
BEST = {**EARLIER, "decay_rate": 1.0}
# Label: settings that differ from those of table 1, and the number of seeds.
VARIANTS = {
    "as in table 1": ({}, 5),
    "λ = 0.95, original recurrence, weight decay 0.1": (EARLIER, 5),
    "λ = 0.95, twice the updates": ({**EARLIER, "num_epochs": 2 * NUM_EPOCHS}, 2),
    "best: λ = 1, original recurrence, weight decay 0.1": (BEST, 5),
    "best, but the paper's recurrence": ({"decay_rate": 1.0, "weight_decay": WEIGHT_DECAY}, 1),
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


def decayed_runs(records: dict, label: str) -> list[Run]:
    """Returns the runs of a row of table 1 with seed 0, and with weight decay."""
    rate = best_rate(records, label)
    return [
        reproduce_paper.make_run(label, units, rate, SEEDS[0], weight_decay=WEIGHT_DECAY)
        for units in reproduce_paper.UNITS
    ]


def runs(records: dict) -> list[Run]:
    """Returns the runs of all variants, and those without and with weight decay."""
    return [
        *(run for label in VARIANTS for run in make_runs(label)),
        *reproduce_paper.table_runs(records, NETWORKS, SEEDS[:1]),
        *(run for label in NETWORKS for run in decayed_runs(records, label)),
    ]


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


def table_of_weight_decay(records: dict) -> str:
    """Returns a table of the test errors of seed 0 without and with weight decay."""
    rows = []
    for label in NETWORKS:
        plain = reproduce_paper.table_runs(records, [label], SEEDS[:1])
        decayed = decayed_runs(records, label)
        for name, runs in ((label, plain), (f"{label}, weight decay {WEIGHT_DECAY}", decayed)):
            found = [records.get(run.name) for run in runs]
            rows.append([name, *(f"{test_error(one):.2f}%" if one else "-" for one in found)])
    return table(["network", *(f"R = {units}" for units in reproduce_paper.UNITS)], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one on each core")
    jobs = parser.parse_args().jobs
    records = reproduce_paper.train(reproduce_paper.tuning_runs(NETWORKS), jobs)
    records = reproduce_paper.train(runs(records), jobs)
    print(table_of_variants(records))
    print(table_of_weight_decay(records))
    print("To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
