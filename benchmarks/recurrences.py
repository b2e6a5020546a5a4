"""The original's recurrence and the paper's at two learning rates and three seeds.

python -m benchmarks.recurrences

Trains RNN-LN-FW twelve times through `train.py`, else with the defaults, as many at a time
as there are cores; a run that was stopped goes on where it was. Copies the records to
`docs/results/recurrences/`, draws `docs/recurrences.png` and prints the table of
`docs/recurrences.md`. A number of epochs other than 200 keeps to folders of its own,
`checkpoints/recurrences-<epochs>` and `figures/recurrences-<epochs>`.
"""

import argparse

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from benchmarks.reproduce_blog import first_epoch, read_file
from benchmarks.runs import ROOT, Run, at_least_one, end_with, run_all
from fast_weights import files, folders

RECORDS = ROOT / "docs/results/recurrences"
COLORS = {"original": "#0072B2", "paper": "#D55E00"}
SEEDS = (0, 1, 2)
SETTINGS = [(recurrence, rate) for rate in ("1e-4", "1e-3") for recurrence in ("original", "paper")]
RUNS = [(*setting, seed) for seed in SEEDS for setting in SETTINGS]
NUM_EPOCHS = 200


def name_of(recurrence, rate, seed):
    """Of a run's folder."""
    return f"{recurrence}-{rate}-seed{seed}"


def make_run(recurrence, rate, seed, num_epochs):
    """A training with the defaults but for these."""
    name = name_of(recurrence, rate, seed)
    parent = "recurrences" if num_epochs == NUM_EPOCHS else f"recurrences-{num_epochs}"
    folder = ROOT / "checkpoints" / parent / name
    flags = (f"--recurrence={recurrence}", f"--learning_rate={rate}", f"--seed={seed}")
    model_folder = folders.model_folder(folder, "RNN-LN-FW", seed)
    return Run(name, model_folder, num_epochs, (*flags, f"--checkpoint_dir={folder}"))


def draw(records, path):
    """Validation accuracy over epochs: colour tells the recurrence, line the learning rate."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for recurrence, rate, seed in RUNS:
        line = [record.valid_accuracy for record in records[recurrence, rate, seed]]
        style = {"color": COLORS[recurrence], "linestyle": "-" if rate == "1e-4" else "--"}
        label = f"{recurrence}, Adam {rate}" if seed == SEEDS[0] else None
        axes.plot(range(1, len(line) + 1), line, label=label, linewidth=1.2, **style)
    axes.set_title("RNN-LN-FW: the original's recurrence and the paper's, three seeds each")
    axes.set_xlabel("epoch")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def table(records):
    """The rows of the page's table; in a cell the seeds in their order."""
    for setting in SETTINGS:
        seeds = [records[*setting, seed] for seed in SEEDS]
        cells = [
            [first_epoch(one, 0.99) or "-" for one in seeds],
            [first_epoch(one, 0.999) or "-" for one in seeds],
            [f"{one[-1].valid_accuracy:.2%}" for one in seeds],
            [f"{one[-1].valid_loss:.4f}" for one in seeds],
        ]
        yield f"| {' | '.join([*setting, *(', '.join(map(str, cell)) for cell in cells)])} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--num_epochs", type=at_least_one, default=NUM_EPOCHS, help=f"default: {NUM_EPOCHS}")
    add("--jobs", type=at_least_one, help="runs at a time; default: as many as cores")
    flags = parser.parse_args()
    runs = {run: make_run(*run, flags.num_epochs) for run in RUNS}
    run_all(list(runs.values()), flags.jobs)
    whole = flags.num_epochs == NUM_EPOCHS
    folder = RECORDS if whole else ROOT / f"figures/recurrences-{flags.num_epochs}"
    for run in runs.values():
        run.copy(folder / run.name)
    records = {run: read_file(folder / f"{name_of(*run)}.jsonl") for run in RUNS}
    with files.replacing((ROOT / "docs" if whole else folder) / "recurrences.png") as temporary:
        draw(records, temporary)
    print(*table(records), sep="\n")


if __name__ == "__main__":
    end_with(main)
