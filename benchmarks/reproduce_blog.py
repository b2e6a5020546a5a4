"""The blog's figure from runs of this code: four models, three seeds, 1000 epochs.

python -m benchmarks.reproduce_blog
python -m benchmarks.reproduce_blog --quick

Trains every model with every seed through `train.py`, as many at a time as there are
cores. It can be stopped at any time and goes on with the same command; runs that are
complete in `checkpoints/` are not run again. At the end it writes, to `docs/`, the
records and the configuration of each run (`results/<MODEL_NAME>-seed<N>.jsonl`,
`.json`), the figures, and the tables of `docs/reproduction.md`; to
`checkpoints/shipped/`, the weights of seed 0. A number of epochs other
than 1000 keeps to folders of its own, `checkpoints/blog-<epochs>` and
`figures/blog-<epochs>`; `--quick` is 200 epochs of one seed, some minutes.
"""

import argparse
import json
import pathlib

import numpy as np

from benchmarks.runs import ROOT, Run, run_all
from fast_weights import checkpoints, figures, folders, results, shipped

# Best first.
MODELS = ("RNN-LN-FW", "GRU-LN", "RNN-LN", "CONTROL")
SEEDS = (0, 1, 2)
NUM_EPOCHS = 1000


def name_of(model_name: str, seed: int) -> str:
    """Of a run's files."""
    return f"{model_name}-seed{seed}"


def make_run(model_name: str, seed: int, num_epochs: int, checkpoint_dir: pathlib.Path) -> Run:
    """The defaults but for these."""
    flags = (f"--model_name={model_name}", f"--seed={seed}", f"--checkpoint_dir={checkpoint_dir}")
    folder = folders.model_folder(checkpoint_dir, model_name, seed)
    return Run(name_of(model_name, seed), folder, num_epochs, flags)


def read(folder: pathlib.Path) -> dict[str, list[list[results.Record]]]:
    """The records in a folder of results, {model's name: [one seed's records]}."""
    found = {}
    for model_name in MODELS:
        paths = sorted(folder.glob(f"{model_name}-seed*.jsonl"))
        found[model_name] = [read_file(path) for path in paths]
    return {name: seeds for name, seeds in found.items() if seeds}


def read_file(path: pathlib.Path) -> list[results.Record]:
    """The records of a file."""
    return [results.Record(**json.loads(line)) for line in path.read_text().splitlines()]


def first_epoch(records, accuracy: float) -> int | None:
    """The first epoch, counted from 1, with at least that validation accuracy."""
    return next((r.epoch + 1 for r in records if r.valid_accuracy >= accuracy), None)


def spread(values, form: str) -> str:
    """Mean and range over seeds; a dash if one seed has no value."""
    if None in values:
        return "-"
    low, high = (format(end, form) for end in (min(values), max(values)))
    mean = format(float(np.mean(values)), form)
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def accuracy_table(found: dict[str, list[list[results.Record]]]) -> list[str]:
    """Validation accuracies in Markdown: mean over seeds, and from lowest to highest."""
    marks = epochs_to_show(found)
    heads = ["model", "seeds", "99 % in epoch", "99.9 % in epoch"]
    heads += [f"accuracy at {mark}" for mark in marks] + ["published, at 1000"]
    rows = [heads, ["---"] * len(heads)]
    for name, seeds in found.items():
        row = [name, str(len(seeds))]
        row += [spread([first_epoch(one, mark) for one in seeds], ".0f") for mark in (0.99, 0.999)]
        row += [spread([one[mark - 1].valid_accuracy for one in seeds], ".2%") for mark in marks]
        rows.append([*row, f"{figures.PUBLISHED[name]:.0%}"])
    return markdown(rows)


def loss_table(found: dict[str, list[list[results.Record]]]) -> list[str]:
    """Validation losses in nats, and minutes, in Markdown."""
    marks = epochs_to_show(found)
    heads = ["model", *(f"loss at {mark}" for mark in marks), "minutes a run"]
    rows = [heads, ["---"] * len(heads)]
    for name, seeds in found.items():
        row = [name]
        row += [spread([one[mark - 1].valid_loss for one in seeds], ".4f") for mark in marks]
        # The median: an epoch may have been stopped in.
        minutes = [np.median([r.seconds for r in one]) * len(one) / 60 for one in seeds]
        rows.append([*row, spread(minutes, ".1f")])
    return markdown(rows)


def epochs_to_show(found) -> list[int]:
    """Of 150, 500 and 1000, those that all runs have."""
    num_epochs = min(len(records) for seeds in found.values() for records in seeds)
    return [epochs for epochs in (150, 500, NUM_EPOCHS) if epochs <= num_epochs]


def markdown(rows: list[list[str]]) -> list[str]:
    """A table's lines."""
    return [f"| {' | '.join(row)} |" for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2", help="such as 0,1,2")
    parser.add_argument("--models", default=",".join(MODELS), help="such as RNN-LN-FW,GRU-LN")
    parser.add_argument("--num_epochs", type=int, default=NUM_EPOCHS)
    parser.add_argument("--jobs", type=int, help="runs at a time; default: as many as cores")
    parser.add_argument("--quick", action="store_true", help="one seed, 200 epochs")
    flags = parser.parse_args()
    num_epochs = 200 if flags.quick else flags.num_epochs
    seeds = [0] if flags.quick else [int(seed) for seed in flags.seeds.split(",")]
    whole = num_epochs == NUM_EPOCHS
    checkpoint_dir = ROOT / ("checkpoints" if whole else f"checkpoints/blog-{num_epochs}")
    output_dir = ROOT / ("docs" if whole else f"figures/blog-{num_epochs}")
    # A model's seeds side by side: the longest first would leave one core idle at the end.
    runs = {
        (model, seed): make_run(model, seed, num_epochs, checkpoint_dir)
        for seed in seeds
        for model in flags.models.split(",")
    }
    run_all(list(runs.values()), flags.jobs)
    for (model, seed), run in runs.items():
        run.copy(output_dir / "results" / name_of(model, seed))
    if whole and 0 in seeds:
        for model_name in flags.models.split(","):
            model, config = checkpoints.load_model(checkpoint_dir, model_name)
            shipped.save(shipped.shipped_path(checkpoint_dir, model_name), model, config)
    found = read(output_dir / "results")
    for path in figures.plot_curves(found, output_dir):
        print(f"Wrote {path.relative_to(ROOT)}")
    print(*accuracy_table(found), "", *loss_table(found), sep="\n")


if __name__ == "__main__":
    main()
