"""Measures the layers with a linear memory on longer multi-query recall.

python -m benchmarks.recall_long

Linear attention and the delta rules have 64 units, and are trained with one seed. Writes
`docs/results/recall_long.jsonl`.
"""

from benchmarks import recall
from benchmarks.study import Study
from benchmarks.tables import first_epoch, part, table
from fast_weights.experiment.models import build_model

STUDY = Study(__doc__, "recall_long", columns=("val_accuracy",), stop_at_accuracy=recall.STOP_AT)
UNITS, LEARNING_RATE = 64, 3e-3
# Pairs and length. The first is that of `benchmarks/recall.py`.
CASES = ((4, 16), (4, 64), (8, 64))
MODELS = "LINEAR-ATTENTION", "DELTA-RULE", "GATED-DELTA-RULE"
RUNS = {
    case: [recall.add(STUDY, label, UNITS, case, LEARNING_RATE) for label in MODELS]
    for case in CASES
}


@part("recall_long")
def table_of_accuracies() -> str:
    """Returns a table of the accuracies of all models and cases, and of their first epochs."""
    rows = []
    for label, runs in zip(MODELS, zip(*RUNS.values(), strict=True), strict=True):
        cells = []
        for run in runs:
            epoch = first_epoch(STUDY[run], 0.99)
            cells.append(f"{STUDY[run]['val_accuracy'][-1]:.1%} ({epoch or '-'})")
        rows.append([label, f"{build_model(runs[0]).count_params():,}", *cells])
    heads = [f"K = {pairs}, T = {length}" for pairs, length in CASES]
    return table(["model", "parameters", *heads], rows)


if __name__ == "__main__":
    STUDY.main()
