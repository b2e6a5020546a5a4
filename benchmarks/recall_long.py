"""Compares fast weights, GRU and LSTM with the layers of a linear memory on longer recall.

python -m benchmarks.recall_long

Multi-query recall with sequences of 64 symbols. Each model has 64 units. The learning rates of fast
weights, GRU and LSTM are those of `benchmarks/recall.py`, the others were tuned here with seed 0 on
the first of `CASES`. Writes `docs/results/recall_long.jsonl`. To omit the runs that have a record:
`--missing`.
"""

from benchmarks import recall
from benchmarks.study import Study
from benchmarks.tables import mean_and_range, part, table
from fast_weights.experiment.models import build_model

STUDY = Study(__doc__, "recall_long", columns=("val_accuracy",), stop_at_accuracy=recall.STOP_AT)
UNITS = 64
# Pairs and length.
CASES = ((4, 64), (8, 64), (16, 64))
# Model with a linear memory -> best learning rate.
LINEAR_MODELS = {"LINEAR-ATTENTION": 3e-3, "DELTA-RULE": 3e-3, "GATED-DELTA-RULE": 3e-3}
# Model -> learning rate.
MODELS = {
    **{label: recall.MODELS[label][0][1] for label in ("RNN-LN-FW, original", "GRU", "LSTM")},
    **LINEAR_MODELS,
}
RUNS = {
    (label, case): [recall.add(STUDY, label, UNITS, case, rate, seed) for seed in recall.SEEDS]
    for case in CASES
    for label, rate in MODELS.items()
}
# One seed of each comes first, so that there are results early.
STUDY.cases.sort(key=lambda case: (case.seed, case.num_pairs, case.model_name not in LINEAR_MODELS))
TUNING = {
    label: [recall.add(STUDY, label, UNITS, CASES[0], rate) for rate in recall.RATES]
    for label in LINEAR_MODELS
}


@part("recall_long")
def table_of_accuracies() -> str:
    """Returns a table of the accuracies of all models and cases, by the seeds that have run."""
    rows = []
    for label, rate in MODELS.items():
        num_parameters = build_model(RUNS[label, CASES[0]][0]).count_params()
        rows.append([label, f"{num_parameters:,}", f"{rate:g}"])
        for case in CASES:
            done = [
                STUDY[run]["val_accuracy"][-1] for run in RUNS[label, case] if run in STUDY.records
            ]
            seeds = f", {len(done)} of {len(recall.SEEDS)} seeds"
            cell = mean_and_range(done, ".1%") if done else "-"
            rows[-1].append(cell + seeds if 0 < len(done) < len(recall.SEEDS) else cell)
    heads = [f"K = {pairs}, T = {length}" for pairs, length in CASES]
    return table(["model", "parameters", "learning rate", *heads], rows)


if __name__ == "__main__":
    STUDY.main()
