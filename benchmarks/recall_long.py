"""Compares the layers with a linear memory with fast weights and GRU on longer sequences.

python -m benchmarks.recall_long

Each network has 64 units. Its learning rate was tuned on the first of `CASES` with seed 0: the best
reaches `recall.STOP_AT` in the fewest epochs, or else the highest accuracy. With it, all cases are
trained with three seeds. Writes `docs/results/recall_long.jsonl`.
"""

from benchmarks import recall
from benchmarks.study import Study
from benchmarks.tables import first_epoch, mean_and_range, part, table
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model

STUDY = Study(__doc__, "recall_long", columns=("val_accuracy",), stop_at_accuracy=recall.STOP_AT)
RATES = (1e-3, 3e-3, 1e-2)
# Pairs and length.
CASES = ((4, 64), (8, 64), (16, 64))
# Label -> the settings of a network, and its best learning rate.
NETWORKS = {
    "linear attention": ({"model_name": "LINEAR-ATTENTION"}, 1e-2),
    "delta rule": ({"model_name": "DELTA-RULE"}, 3e-3),
    "gated delta rule": ({"model_name": "GATED-DELTA-RULE"}, 3e-3),
    "fast weights, λ = 1": ({"model_name": "RNN-LN-FW", "decay_rate": 1.0}, 3e-3),
    "GRU": ({"model_name": "GRU"}, 3e-3),
}


def _add(label: str, case: tuple[int, int], rate: float, seed: int = 0) -> Config:
    settings, _ = NETWORKS[label]
    settings = {**settings, "units": 64, "num_epochs": 5, "learning_rate": rate, "seed": seed}
    return recall.add(STUDY, case, **settings)


TUNING = {label: [_add(label, CASES[0], rate) for rate in RATES] for label in NETWORKS}
# Label -> for each case, its runs.
RUNS = {
    label: [[_add(label, case, rate, seed) for seed in recall.SEEDS] for case in CASES]
    for label, (_, rate) in NETWORKS.items()
}


@part("recall_long")
def table_of_accuracies() -> str:
    """Returns a table of the accuracies of all networks and cases."""
    rows = []
    for label, runs in RUNS.items():
        seeds = ([STUDY[run]["val_accuracy"][-1] for run in case] for case in runs)
        cells = (mean_and_range(values, ".1%") for values in seeds)
        number = build_model(runs[0][0]).count_params()
        rows.append([label, f"{number:,}", f"{NETWORKS[label][1]:g}", *cells])
    heads = [f"K = {pairs}" for pairs, _ in CASES]
    return table(["network", "parameters", "learning rate", *heads], rows)


@part("recall_long_rates")
def table_of_rates() -> str:
    """Returns a table of the accuracy with each learning rate, and of the first epoch with 99%."""
    rows = []
    for label, runs in TUNING.items():
        cells = (f"{STUDY[run]['val_accuracy'][-1]:.1%} ({_epoch(run)})" for run in runs)
        rows.append([label, *cells])
    return table(["network", *(f"{rate:g}" for rate in RATES)], rows)


def _epoch(run: Config) -> str:
    epoch = first_epoch(STUDY[run], 0.99)
    return "-" if epoch is None else str(epoch)


if __name__ == "__main__":
    STUDY.main()
