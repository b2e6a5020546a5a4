"""The original's recurrence and the paper's at two learning rates and three seeds.

python -m benchmarks.recurrences

Trains RNN-LN-FW twelve times through `train.py`, else with the defaults, `--jobs` at a
time; a run that was stopped goes on where it was. Copies the records to
`docs/results/recurrences/`, draws `docs/recurrences.png` and prints the table of
`docs/recurrences.md`.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from fast_weights import results

ROOT = pathlib.Path(__file__).parent.parent
RECORDS = ROOT / "docs/results/recurrences"
COLORS = {"original": "#0072B2", "paper": "#D55E00"}
SEEDS = (0, 1, 2)
SETTINGS = [(recurrence, rate) for rate in ("1e-4", "1e-3") for recurrence in ("original", "paper")]
RUNS = [(*setting, seed) for seed in SEEDS for setting in SETTINGS]


def name_of(recurrence, rate, seed):
    """Of a run's folder."""
    return f"{recurrence}-{rate}-seed{seed}"


def train(run, num_epochs):
    """One run to its end; its records are copied to the docs."""
    (recurrence, rate, seed), name = run, name_of(*run)
    folder = ROOT / "checkpoints/recurrences" / name
    command = [sys.executable, "train.py", f"--recurrence={recurrence}", f"--learning_rate={rate}"]
    command += [f"--seed={seed}", f"--num_epochs={num_epochs}", f"--checkpoint_dir={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (RECORDS / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "RNN-LN-FW" / results.FILE_NAME, RECORDS / name)
    print(f"{name}: done", flush=True)


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


def first_epoch(records, accuracy):
    """The first epoch, counted from 1, with at least that validation accuracy, or a dash."""
    return next((r.epoch + 1 for r in records if r.valid_accuracy >= accuracy), "-")


def table(records):
    """The rows of the page's table; in a cell the seeds in their order."""
    for setting in SETTINGS:
        seeds = [records[*setting, seed] for seed in SEEDS]
        cells = [
            [first_epoch(one, 0.99) for one in seeds],
            [first_epoch(one, 0.999) for one in seeds],
            [f"{one[-1].valid_accuracy:.2%}" for one in seeds],
            [f"{one[-1].valid_loss:.4f}" for one in seeds],
        ]
        yield f"| {' | '.join([*setting, *(', '.join(map(str, cell)) for cell in cells)])} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_epochs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    flags = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor(flags.jobs) as pool:
        list(pool.map(train, RUNS, [flags.num_epochs] * len(RUNS)))
    records = {run: results.read(RECORDS / name_of(*run)) for run in RUNS}
    draw(records, ROOT / "docs/recurrences.png")
    print(*table(records), sep="\n")


if __name__ == "__main__":
    main()
