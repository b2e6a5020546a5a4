"""Reproduces table 1 of the paper: the test error of four networks with 20, 50 and 100 units.

python benchmarks/reproduce_paper.py
python benchmarks/reproduce_paper.py --quick

The learning rate of each network is tuned with 50 units and seed 0: `RATES`, on validation
sequences. Then each network is trained with every size and seed. IRNN, which does not learn the
task, is also trained with other learning rates and for longer. The test error of a run is that of
its best validation epoch. Trains in `checkpoints/paper/`, writes a line to
`docs/results/paper.jsonl` after each run and overwrites the bundled weights
(`fast_weights/experiment/pretrained/paper/`). Draws `docs/paper.png` after the runs of all four
networks. The same command resumes after an interruption. With `--missing`, it trains only the runs
that have no line in that file.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys

# A script finds only the modules of its own directory. The project is one directory up.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.runs import RESULTS_DIR, ROOT, Run, named_records, run_all, run_main
from benchmarks.tables import table
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord

FAST = "Fast weights"
# Label: model.
NETWORKS = {"IRNN": "IRNN", "LSTM": "LSTM", "A-LSTM": "A-LSTM", FAST: "RNN-LN-FW"}
UNITS = (20, 50, 100)
SEEDS = (0, 1, 2, 3, 4)
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
TUNING_UNITS = 50
# By the number of units: a large network learns in fewer updates, and each takes longer.
NUM_EPOCHS = {20: 192, 50: 96, 100: 48}
TUNING_EPOCHS = 48
# An update of A-LSTM takes about five times as long as one of LSTM.
A_LSTM_EPOCHS = {20: 24, 50: 12, 100: 8}
A_LSTM_TUNING_EPOCHS = 12
QUICK_EPOCHS = 24
BUNDLED_UNITS = 50
# Test error in percent, from the paper.
PUBLISHED = {
    "IRNN": (62.11, 60.23, 0.34),
    "LSTM": (60.81, 1.85, 0),
    "A-LSTM": (60.13, 1.62, 0),
    FAST: (1.81, 0, 0),
}
# The lowest test error that we know of from another implementation of fast weights, with 20 units.
BEST_OTHER = 3.78
PATH = RESULTS_DIR / "paper.jsonl"
SAVED = ("train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy")


def make_run(label, units, rate, seed, num_epochs=None, **settings) -> Run:
    """Returns the run of a network, a key of `NETWORKS`.

    Args:
        label: of the network.
        units: R.
        rate: the learning rate.
        seed: of weights and sequences.
        num_epochs: default: the number for the network's cells of the table.
        **settings: others than the defaults of the network of the paper.
    """
    epochs_by_units = A_LSTM_EPOCHS if label == "A-LSTM" else NUM_EPOCHS
    num_epochs = num_epochs or epochs_by_units[units]
    config = Config.with_defaults(
        network="paper",
        model_name=NETWORKS[label],
        units=units,
        learning_rate=rate,
        seed=seed,
        num_epochs=num_epochs,
        **settings,
    )
    others = [f"{name}-{value}" for name, value in settings.items()]
    name = "-".join([config.model_name, str(units), f"{rate:g}", str(num_epochs), *others])
    return Run(f"{name}-seed{seed}", config, ROOT / "checkpoints/paper" / f"{name}-{seed}")


def tuning_epochs(label: str) -> int:
    """Returns the number of epochs of the tuning of a network."""
    return A_LSTM_TUNING_EPOCHS if label == "A-LSTM" else TUNING_EPOCHS


def tuning_runs(labels, units=TUNING_UNITS) -> list[Run]:
    """Returns a run of each network with each learning rate."""
    return [
        make_run(label, units, rate, seed=0, num_epochs=tuning_epochs(label))
        for label in labels
        for rate in RATES
    ]


def best_rate(records: dict, label: str) -> float | None:
    """Returns the learning rate with the highest validation accuracy, or `None` before tuning."""
    runs = tuning_runs([label])
    if any(run.name not in records for run in runs):
        return None
    best = max(runs, key=lambda run: max(records[run.name]["val_accuracy"]))
    return best.config.learning_rate


def table_runs(records: dict, labels, seeds) -> list[Run]:
    """Returns the runs of the cells of the table, those of the first seed first."""
    return [
        make_run(label, units, best_rate(records, label), seed)
        for seed in seeds
        for label in labels
        for units in UNITS
    ]


def long_run(records: dict) -> Run:
    """Returns a run of IRNN with 100 units and as many epochs as with 20, to see if these help."""
    return make_run("IRNN", 100, best_rate(records, "IRNN"), SEEDS[0], NUM_EPOCHS[20])


def irnn_runs(records: dict) -> list[Run]:
    """Returns runs of IRNN with 100 units: with each learning rate, and the long one."""
    return [*tuning_runs(["IRNN"], units=100), long_run(records)]


def bundled_runs() -> list[Run]:
    """Returns the runs of the table whose weights are bundled."""
    records = read_records()
    tuned = [label for label in NETWORKS if best_rate(records, label)]
    return [
        run for run in table_runs(records, tuned, SEEDS[:1]) if run.config.units == BUNDLED_UNITS
    ]


def read_records() -> dict[str, dict]:
    """Returns the saved records by the name of the run."""
    return named_records(PATH)


def train(runs: list[Run], jobs: int | None, only_missing: bool = True) -> dict[str, dict]:
    """Trains or resumes runs, writes their records, and returns all records.

    Args:
        runs: to train.
        jobs: how many to train at a time. Default: one on each core.
        only_missing: whether to leave out the runs that have a record.
    """
    records = read_records()

    def save(run):
        epochs = results.read(run.run_dir.results_path)
        records[run.name] = {
            "name": run.name,
            **dataclasses.asdict(run.config),
            **record_of(epochs),
            "seconds": round(sum(epoch.seconds for epoch in epochs), 1),
        }
        storage.write_text(PATH, "".join(f"{json.dumps(one)}\n" for one in records.values()))

    wanted = [run for run in runs if not (only_missing and run.name in records)]
    if wanted:
        run_all(wanted, jobs, on_end=save)
    return records


def record_of(epochs: list[EpochRecord]) -> dict[str, list[float]]:
    """Returns the losses and the accuracies of a run, one number for each epoch."""
    return {name: [round(getattr(one, name), 6) for one in epochs] for name in SAVED}


def labels_of(names: str) -> list[str]:
    """Returns the networks of a list with commas, such as `"IRNN,LSTM"`.

    Raises:
        UserError: if a name is not a key of `NETWORKS`.
    """
    labels = names.split(",")
    unknown = [label for label in labels if label not in NETWORKS]
    if unknown:
        raise UserError(
            f"--networks must be some of {','.join(NETWORKS)}. Received: {','.join(unknown)}"
        )
    return labels


def test_error(record: dict) -> float:
    """Returns the test error in the best validation epoch, in percent."""
    scores = zip(record["val_accuracy"], record["val_loss"], strict=True)
    _, _, epoch = max((accuracy, -loss, i) for i, (accuracy, loss) in enumerate(scores))
    return 100 * (1 - record["test_accuracy"][epoch])


def hours(records: dict) -> float:
    """Returns the sum of the times of all runs of this benchmark, in hours."""
    runs = [
        *tuning_runs(NETWORKS),
        *table_runs(records, NETWORKS, SEEDS),
        *irnn_runs(records),
    ]
    return sum(records[name]["seconds"] for name in {run.name for run in runs}) / 3600


def errors(records: dict, label: str, units: int) -> list[float]:
    """Returns the test errors of the seeds that have been trained."""
    rate = best_rate(records, label)
    names = [make_run(label, units, rate, seed).name for seed in SEEDS] if rate else []
    return [test_error(records[name]) for name in names if name in records]


def table_of_errors(records: dict) -> str:
    """Returns the table: ours, mean and range, and the paper's."""
    rows = []
    for label, published in PUBLISHED.items():
        rate = best_rate(records, label)
        row = [label, f"{rate:g}" if rate else "-"]
        for units, theirs in zip(UNITS, published, strict=True):
            found = errors(records, label, units)
            ours = "-"
            if found:
                mean, low, high = statistics.mean(found), min(found), max(found)
                ours = f"{mean:.2f}% ({low:.2f} to {high:.2f})"
            row += [ours, f"{theirs:g}%"]
        rows.append(row)
    rows.append([f"{FAST}, best reimplementation", "-", f"{BEST_OTHER:g}%", *"-----"])
    heads = ["network", "learning rate"]
    for units in UNITS:
        heads += [f"R = {units}", "paper"]
    return table(heads, rows)


def table_of_means(records: dict) -> str:
    """Returns a table of the mean test errors, each with the paper's in brackets."""
    rows = []
    for label, published in PUBLISHED.items():
        found = [errors(records, label, units) for units in UNITS]
        means = [f"{statistics.mean(one):.2f}%" if one else "-" for one in found]
        rows.append([label, *(f"{m} ({p:g}%)" for m, p in zip(means, published, strict=True))])
    return table(["network", *(f"R = {units}" for units in UNITS)], rows)


def table_of_tuning(records: dict) -> str:
    """Returns a table of the lowest validation error with each learning rate."""
    rows = []
    for label, units in [*((label, TUNING_UNITS) for label in NETWORKS), ("IRNN", 100)]:
        found = [records.get(run.name) for run in tuning_runs([label], units)]
        cells = [f"{100 * (1 - max(one['val_accuracy'])):.2f}%" if one else "-" for one in found]
        rows.append([f"{label}, R = {units}", *cells])
    return table(["network", *(f"{rate:g}" for rate in RATES)], rows)


def look(label: str) -> dict:
    """Returns how figures draw the curve of a network."""
    from fast_weights.experiment.plots import style  # loads Matplotlib

    return style.curve_style(NETWORKS[label])


def draw() -> pathlib.Path:
    """Draws the test loss over updates with 50 units, as figure 2 of the paper."""
    from matplotlib.ticker import StrMethodFormatter

    from fast_weights.experiment.plots import style  # loads Matplotlib

    records = read_records()
    figure = style.new_figure(7, 4.5)
    axes = figure.subplots()
    for label in NETWORKS:
        rate = best_rate(records, label)
        runs = [make_run(label, TUNING_UNITS, rate, seed) for seed in SEEDS] if rate else []
        for run in runs:
            if run.name not in records:
                continue
            losses = records[run.name]["test_loss"]
            steps = run.config.num_updates // run.config.num_epochs
            updates = [steps * epoch / 1000 for epoch in range(1, len(losses) + 1)]
            axes.plot(updates, losses, label=label if run is runs[0] else None, **look(label))
    axes.set_title(f"Test loss with R = {TUNING_UNITS}, one curve for each seed")
    axes.set_xlabel("updates in thousands")
    axes.set_ylabel("negative log-likelihood in nats")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
    style.remove_frame(axes)
    axes.legend(frameon=False)
    return style.write(ROOT / "docs/paper.png", figure.savefig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--networks", default=",".join(NETWORKS), help="default: all four")
    add(
        "--seeds",
        type=int,
        default=len(SEEDS),
        choices=range(1, len(SEEDS) + 1),
        help="default: all five",
    )
    add("--jobs", type=int, help="runs at a time; default: one on each core")
    add("--missing", action="store_true", help="train only the runs without a record")
    add("--quick", action="store_true", help="three networks with R = 50, a few epochs")
    flags = parser.parse_args()
    labels = labels_of(flags.networks)
    if flags.quick:
        runs = [
            make_run(label, TUNING_UNITS, 2e-3, seed=0, num_epochs=QUICK_EPOCHS)
            for label in ("IRNN", "LSTM", FAST)
        ]
        run_all(runs, flags.jobs)
        for run in runs:
            epochs = results.read(run.run_dir.results_path)
            print(f"{run.config.model_name}: test error {test_error(record_of(epochs)):.2f}%")
        return
    records = train(tuning_runs(labels), flags.jobs, flags.missing)
    cells = table_runs(records, labels, SEEDS[: flags.seeds])
    records = train(cells, flags.jobs, flags.missing)
    if "IRNN" in labels:
        records = train(irnn_runs(records), flags.jobs, flags.missing)
    for run in bundled_runs():
        if run.run_dir.is_trained:
            run.bundle()
    if set(labels) == set(NETWORKS):
        print(table_of_errors(records))
        print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
