"""Looks for settings of fast weights with a lower test error than the paper's, with 20 units.

python -m benchmarks.beyond_paper --missing

Also trains the four networks with weight decay, so that they can be compared under equal
conditions. Records and the meaning of the test error are those of `benchmarks/reproduce_paper.py`.
"""

import statistics

from benchmarks import reproduce_paper
from benchmarks.reproduce_paper import LABELS, SEEDS, add_run, errors
from benchmarks.study import Study
from benchmarks.tables import part, table
from fast_weights.experiment import paper

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
# Label -> the runs with each seed.
RUNS = {
    label: [add_run(STUDY, "RNN-LN-FW", UNITS, seed, **settings) for seed in SEEDS[:num_seeds]]
    for label, (settings, num_seeds) in SETTINGS.items()
}
# Row -> the runs of seed 0 with each number of units.
WITH_AND_WITHOUT = {}
for _name, _label in LABELS.items():
    for _row, _settings in (
        (_label, {}),
        (f"{_label}, weight decay {WEIGHT_DECAY}", {"weight_decay": WEIGHT_DECAY}),
    ):
        WITH_AND_WITHOUT[_row] = [
            add_run(STUDY, _name, units, **_settings) for units in paper.UNITS
        ]


@part("paper_variants")
def table_of_settings() -> str:
    """Returns a table of the test errors with each setting, and of the final training loss."""
    rows = []
    for label, names in RUNS.items():
        loss = statistics.mean(STUDY[name]["train_loss"][-1] for name in names)
        listed = ", ".join(f"{one:.2%}" for one in errors(names))
        rows.append([label, f"{statistics.mean(errors(names)):.2%}", listed, f"{loss:.4f}"])
    return table(["settings", "mean test error", "by seed", "training loss at the end"], rows)


@part("paper_weight_decay")
def table_of_weight_decay() -> str:
    """Returns a table of the test errors of seed 0 without and with weight decay."""
    rows = [
        [row, *(f"{one:.2%}" for one in errors(names))] for row, names in WITH_AND_WITHOUT.items()
    ]
    return table(["network", *(f"R = {units}" for units in paper.UNITS)], rows)


if __name__ == "__main__":
    STUDY.main()
