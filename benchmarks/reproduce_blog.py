"""The blog's figure from runs of this code: four models, three seeds, 1000 epochs.

python benchmarks/reproduce_blog.py
python benchmarks/reproduce_blog.py --quick

Trains every model with every seed through `train.py`, as many at a time as there are
cores. It can be stopped at any time and goes on with the same command; runs that are
complete in `checkpoints/` are not run again. At the end it writes, to `docs/`, the
records and the configuration of each run (`results/<MODEL_NAME>-seed<N>.jsonl`,
`.json`), and of all records that lie there the figures and the tables
(`results/README.md`, which `docs/reproduction.md` shows); to `checkpoints/shipped/`,
the weights of seed 0. A number of epochs other than 1000 keeps to folders of its own,
`checkpoints/blog-<epochs>` and `figures/blog-<epochs>`; `--quick` is 200 epochs of one
seed, some minutes.
"""

import argparse
import dataclasses
import pathlib
import re
import sys

import numpy as np

# A script finds what lies beside it; the project is one folder up.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.runs import ROOT, Run, at_least_one, end_with, run_all
from fast_weights import figures, files, folders, results, terminal
from fast_weights.config import Config
from fast_weights.errors import UserError

# Best first.
MODELS = ("RNN-LN-FW", "GRU-LN", "RNN-LN", "CONTROL")
SEEDS = (0, 1, 2)
NUM_EPOCHS = 1000
# What the blog's plots show, by eye.
PUBLISHED = {
    "RNN-LN-FW": "99 % in about 130, 100 % from about 150 on",
    "GRU-LN": "43 % until about 150, 93 % at 1000",
    "RNN-LN": "leaves 43 % in about 40, 90 % at 1000",
    "CONTROL": "48 % at 1000",
}


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
    records = results.read_file(path, say=lambda line: sys.exit(f"error: {line}"))
    if not records:
        raise UserError(f"{path} holds no records; delete it")
    return records


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
    heads = ["model", "seeds", "45 % in epoch", "99 % in epoch", "99.9 % in epoch"]
    heads += [f"accuracy at {mark}" for mark in marks] + ["published"]
    rows = [heads, ["---"] * len(heads)]
    for name, seeds in found.items():
        row = [name, str(len(seeds))]
        for mark in (0.45, 0.99, 0.999):
            row.append(spread([first_epoch(one, mark) for one in seeds], ".0f"))
        row += [spread([one[mark - 1].valid_accuracy for one in seeds], ".2%") for mark in marks]
        rows.append([*row, PUBLISHED[name]])
    return markdown(rows)


def loss_table(found: dict[str, list[list[results.Record]]]) -> list[str]:
    """Validation losses in nats, and minutes, in Markdown."""
    marks = epochs_to_show(found)
    heads = ["model", *(f"loss at {mark}" for mark in marks), "minutes a run"]
    rows = [heads, ["---"] * len(heads)]
    for name, seeds in found.items():
        row = [name]
        row += [spread([one[mark - 1].valid_loss for one in seeds], ".4f") for mark in marks]
        minutes = [sum(record.seconds for record in one) / 60 for one in seeds]
        rows.append([*row, spread(minutes, ".1f")])
    return markdown(rows)


def epochs_to_show(found) -> list[int]:
    """150, 500 and 1000 as far as all runs have them, and their last where that is less."""
    num_epochs = min(len(records) for seeds in found.values() for records in seeds)
    marks = {150, 500, NUM_EPOCHS} if num_epochs >= NUM_EPOCHS else {150, 500, num_epochs}
    return sorted(epochs for epochs in marks if epochs <= num_epochs)


def markdown(rows: list[list[str]]) -> list[str]:
    """A table's lines."""
    return [f"| {' | '.join(row)} |" for row in rows]


def check(run: Run, model_name: str, seed: int) -> None:
    """Ends if the run's folder holds one of other settings, which would be gone on with.

    Raises:
        SystemExit: with a line that names the settings.
        UserError: if its configuration or its records cannot be read.
    """
    if not folders.is_trained(run.folder):
        return
    stored = dataclasses.asdict(folders.load_config(run.folder))
    expected = dataclasses.asdict(Config(model_name=model_name, seed=seed))
    others = [f"{n}={v}" for n, v in stored.items() if n != "num_epochs" and v != expected[n]]
    if len(run.records()) > run.num_epochs:
        others.append(f"{len(run.records())} epochs")
    if others:
        sys.exit(f"error: {run.folder} holds a run of {', '.join(others)}. Move it elsewhere first")


def whole_numbers(text: str) -> list[int]:
    """`0,1,2` as a list."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,1,2. Received: {text}")
    return [int(one) for one in text.split(",")]


def model_names(text: str) -> list[str]:
    """Names of models, with commas between them."""
    if not set(text.split(",")) <= set(MODELS):
        raise argparse.ArgumentTypeError(f"expected of {','.join(MODELS)}. Received: {text}")
    return text.split(",")


def tables(found: dict[str, list[list[results.Record]]]) -> str:
    """The page of the results' folder."""
    head = "# Records of `benchmarks/reproduce_blog.py`"
    return "\n".join([head, "", *accuracy_table(found), "", *loss_table(found), ""])


def write(output_dir: pathlib.Path) -> None:
    """Figures and tables of all the records that lie in `results/`."""
    found = read(output_dir / "results")
    for path in figures.plot_curves(found, output_dir):
        print(f"Wrote {path.relative_to(ROOT)}")
    with files.replacing(output_dir / "results/README.md") as temporary:
        temporary.write_text(tables(found), encoding="utf-8")
    print(f"Wrote {(output_dir / 'results').relative_to(ROOT)}, with these tables:\n")
    print(tables(found))


def main():
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seeds", type=whole_numbers, help="such as 0,1,2, which is the default")
    add("--models", type=model_names, default=list(MODELS), help="such as RNN-LN-FW,GRU-LN")
    add("--num_epochs", type=at_least_one, help=f"default: {NUM_EPOCHS}")
    add("--jobs", type=at_least_one, help="runs at a time; default: as many as cores")
    add("--quick", action="store_true", help="the same as --seeds=0 --num_epochs=200")
    flags = parser.parse_args()
    if flags.quick and (flags.seeds or flags.num_epochs):
        parser.error("argument --quick: it goes with neither --seeds nor --num_epochs")
    num_epochs = 200 if flags.quick else flags.num_epochs or NUM_EPOCHS
    seeds = [0] if flags.quick else flags.seeds or list(SEEDS)
    whole = num_epochs == NUM_EPOCHS
    checkpoint_dir = ROOT / ("checkpoints" if whole else f"checkpoints/blog-{num_epochs}")
    output_dir = ROOT / ("docs" if whole else f"figures/blog-{num_epochs}")
    # A model's seeds side by side: the longest first would leave one core idle at the end.
    runs = {
        (model, seed): make_run(model, seed, num_epochs, checkpoint_dir)
        for seed in seeds
        for model in flags.models
    }
    for (model, seed), run in runs.items():
        check(run, model, seed)
    try:
        run_all(list(runs.values()), flags.jobs)
    finally:  # what is complete is kept, whatever became of the others
        for (model, seed), run in runs.items():
            if run.is_complete():
                run.copy(output_dir / "results" / name_of(model, seed))
    if whole and 0 in seeds:
        with terminal.quiet_import():
            from fast_weights import checkpoints, shipped  # and with them TensorFlow

        for model_name in flags.models:
            model, config = checkpoints.load_model(checkpoint_dir, model_name)
            shipped.save(folders.shipped_path(checkpoint_dir, model_name), model, config)
    write(output_dir)


if __name__ == "__main__":
    end_with(main)
