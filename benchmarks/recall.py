"""Compares fast weights with other recurrent layers on multi-query recall.

python -m benchmarks.recall

Each model is trained with 64 units, and with the number of units that gives it as many parameters
as fast weights with 64. For both, the learning rate is tuned on the first of `CASES` with seed 0,
and then used for three seeds of all cases. The program trains in `checkpoints/recall/`, and
writes `docs/results/recall.jsonl` and `docs/recall.png`.
"""

import argparse
import dataclasses
import functools
import json
import statistics

from benchmarks.runs import RESULTS_DIR, ROOT, Run, named_records, run_all, run_main
from benchmarks.tables import table
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model

UNITS = 64
# Units with which a model has as many parameters as fast weights with `UNITS`.
EQUAL_PARAMETERS = {"GRU": 34, "LSTM": 28, "LINEAR-ATTENTION": 46, "DELTA-RULE": 46}
# Label: settings.
RIVALS = {
    "RNN-LN-FW, original": {"model_name": "RNN-LN-FW"},
    "RNN-LN-FW, paper": {"model_name": "RNN-LN-FW", "recurrence": "paper"},
    "GRU": {"model_name": "GRU"},
    "LSTM": {"model_name": "LSTM"},
    "LINEAR-ATTENTION": {"model_name": "LINEAR-ATTENTION"},
    "DELTA-RULE": {"model_name": "DELTA-RULE"},
}
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (0, 1, 2)
# Pairs and length. The learning rate is tuned on the first.
CASES = ((4, 16), (3, 16), (2, 16), (2, 24))
STOP_AT = 0.995
SIZES = ("equal units", "equal parameters")
PATH = RESULTS_DIR / "recall.jsonl"


def make_run(label, size, case, learning_rate, seed) -> Run:
    """Returns the run of a model. `size` is one of `SIZES`, `case` one of `CASES`."""
    num_pairs, length = case
    config = Config(
        **RIVALS[label],
        task="multi-query-recall",
        num_pairs=num_pairs,
        sequence_length=length,
        units=units_of(label, size),
        learning_rate=learning_rate,
        seed=seed,
        num_epochs=20,
        batch_size=64,
        num_training=64_000,
        num_validation=2_048,
        shuffle=True,
    )
    name = f"{label.replace(', ', '-')}-{config.units}-{num_pairs}-{length}-{learning_rate}-{seed}"
    checkpoint_dir = ROOT / "checkpoints/recall" / name
    return Run(name, config, checkpoint_dir, stop_at_accuracy=STOP_AT)


@functools.cache
def num_parameters(label: str, units: int) -> int:
    """Returns the number of parameters of a model, which do not depend on the length."""
    settings = {"task": "multi-query-recall", "num_pairs": 1, "units": units}
    return build_model(Config(**RIVALS[label], **settings)).count_params()


def units_of(label: str, size: str) -> int:
    """Returns the units of a model. `size` is one of `SIZES`."""
    return UNITS if size == "equal units" else EQUAL_PARAMETERS.get(label, UNITS)


def tuning_runs() -> list[Run]:
    """Returns the runs of every model with each learning rate."""
    return _unique(
        make_run(label, size, CASES[0], rate, seed=0)
        for label in RIVALS
        for size in SIZES
        for rate in LEARNING_RATES
    )


def final_runs(rates: dict) -> list[Run]:
    """Returns the runs of all cases, with the learning rate of each label and size."""
    return _unique(
        make_run(label, size, case, rates[label, size], seed)
        for case in CASES
        for label in RIVALS
        for size in SIZES
        for seed in SEEDS
    )


def _unique(runs) -> list[Run]:
    return list({run.name: run for run in runs}.values())


def accuracy(record: dict) -> float:
    """Returns the validation accuracy at the end of a run."""
    return record["val_accuracy"][-1]


def best_rates(records: dict) -> dict:
    """Returns the best learning rate for each label and size.

    The best run reaches `STOP_AT` in the fewest epochs. If no run reaches it, the best run has the
    highest accuracy.
    """

    def score(label, size, rate):
        record = records[make_run(label, size, CASES[0], rate, seed=0).name]
        has_learned = accuracy(record) >= STOP_AT
        return has_learned, -len(record["val_accuracy"]) if has_learned else accuracy(record)

    return {
        (label, size): max(LEARNING_RATES, key=lambda rate: score(label, size, rate))
        for label in RIVALS
        for size in SIZES
    }


def read_records() -> dict[str, dict]:
    """Returns the saved records by the name of the run."""
    return named_records(PATH)


def train(runs: list[Run], jobs: int | None) -> dict[str, dict]:
    """Trains the runs that have no record, saves their records and returns all records."""
    records = read_records()
    missing = [run for run in runs if run.name not in records]
    if missing:
        run_all(missing, jobs)
    for run in missing:
        epochs = results.read(run.run_dir.results_path)
        records[run.name] = {
            "name": run.name,
            **dataclasses.asdict(run.config),
            "val_accuracy": [round(epoch.val_accuracy, 5) for epoch in epochs],
            "seconds": round(sum(epoch.seconds for epoch in epochs), 1),
        }
    storage.write_text(PATH, "".join(f"{json.dumps(one)}\n" for one in records.values()))
    return records


def accuracies(records, label, size, case) -> list[float]:
    """Returns the accuracies of the seeds."""
    rate = best_rates(records)[label, size]
    return [accuracy(records[make_run(label, size, case, rate, seed).name]) for seed in SEEDS]


def table_of(records: dict, size: str) -> str:
    """Returns a table of the accuracies of all models and cases."""
    cases = sorted(CASES)
    rates = best_rates(records)
    rows = []
    for label in RIVALS:
        units = units_of(label, size)
        row = [label, units, f"{num_parameters(label, units):,}", f"{rates[label, size]:g}"]
        for case in cases:
            values = accuracies(records, label, size, case)
            mean, low, high = statistics.mean(values), min(values), max(values)
            row.append(f"{mean:.1%} ({low:.1%} to {high:.1%})")
        rows.append(row)
    heads = ["model", "units", "parameters", "learning rate"]
    return table([*heads, *(f"K = {pairs}, T = {length}" for pairs, length in cases)], rows)


def draw():
    """Draws accuracy by number of pairs and by length, with one row for each of `SIZES`."""
    from matplotlib.ticker import PercentFormatter

    from fast_weights.experiment.plots import style  # loads Matplotlib

    records = read_records()
    figure = style.new_figure(10, 7.5)
    panels = figure.subplots(2, 2, sharey=True)
    axis_of = ("pairs K, with T = 16 symbols", "symbols T, with K = 2 pairs")
    for row, size in zip(panels, SIZES, strict=True):
        for axes, varied, label in zip(row, (0, 1), axis_of, strict=True):
            cases = sorted(case for case in CASES if case[1 - varied] == (2, 16)[1 - varied])
            _draw_panel(axes, records, size, cases, varied)
            axes.set_xlabel(label)
            axes.set_title(size)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        row[0].set_ylabel("validation accuracy")
    panels[0, 0].legend(frameon=False, fontsize=8)
    return style.write(ROOT / "docs/recall.png", figure.savefig)


def _draw_panel(axes, records, size, cases, varied):
    from fast_weights.experiment.plots import style

    for label, settings in RIVALS.items():
        look = style.curve_style(settings["model_name"])
        if "recurrence" in settings:
            look["linestyle"] = (0, (1, 1))
        seeds = [accuracies(records, label, size, case) for case in cases]
        positions = [case[varied] for case in cases]
        means = [statistics.mean(one) for one in seeds]
        axes.plot(positions, means, label=label, marker="o", markersize=4, **look)
        lows, highs = [min(one) for one in seeds], [max(one) for one in seeds]
        axes.fill_between(positions, lows, highs, color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(positions, positions)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one per core")
    jobs = parser.parse_args().jobs
    rates = best_rates(train(tuning_runs(), jobs))
    for case in CASES:
        train([run for run in final_runs(rates) if _case(run) == case], jobs)
    print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


def _case(run: Run) -> tuple[int, int]:
    return run.config.num_pairs, run.config.sequence_length


if __name__ == "__main__":
    run_main(main)
