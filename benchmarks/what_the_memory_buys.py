"""RNN-LN-FW with one setting changed at a time, GRU-LN with the standard gates, and variants.

python -m benchmarks.what_the_memory_buys

Each run is of one seed, else with the defaults, through `train.py`: 200 epochs, and 1000
of GRU-LN and without layer normalization. The variants (`benchmarks/variants.py`) look for
the cause of differences from the published curves: layer normalization over the batch, and
weights of one seed with sequences of another. It can be stopped and goes on with the same
command. Writes `docs/results/ablations/`, `docs/results/variants/` and `docs/ablations.png`,
and prints the tables of `docs/reproduction.md`.
"""

import argparse

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.reproduce_blog import first_epoch, markdown, read_file
from benchmarks.runs import ROOT, Run, at_least_one, end_with, run_all
from fast_weights import files, folders

RECORDS = ROOT / "docs/results/ablations"
VARIANT_RECORDS = ROOT / "docs/results/variants"
ORIGINAL_GATES = ROOT / "docs/results/GRU-LN-seed0.jsonl"
FOLDER = ROOT / "checkpoints/ablations"
# Panel: {label: flags}. What all have in common is the default, drawn in each.
PANELS = {
    "inner steps S": {f"S = {s}": (f"--inner_steps={s}",) for s in (0, 1, 2, 3)},
    "decay rate λ, and η = 0": {
        "η = 0": ("--fast_learning_rate=0",),
        **{f"λ = {rate}": (f"--decay_rate={rate}",) for rate in (0.5, 0.8, 0.95, 1.0)},
    },
    "recurrence and Adam": {
        "original, 1e-4": ("--learning_rate=1e-4",),
        "original, 1e-3": ("--learning_rate=1e-3",),
        "paper, 1e-4": ("--recurrence=paper", "--learning_rate=1e-4"),
        "paper, 1e-3": ("--recurrence=paper", "--learning_rate=1e-3"),
    },
    "layer normalization": {
        "with layer normalization": (),
        "without layer normalization": ("without_layer_norm",),
    },
}
VARIANT = ("-m", "benchmarks.variants")
COLORS = ("#E69F00", "#009E73", "#CC79A7", "#D55E00")
# The defaults, by another name; drawn in one colour.
DEFAULTS = {"S = 1", "λ = 0.95", "original, 1e-4", "with layer normalization"}
DEFAULTS_COLOR = "#0072B2"
GRU = "GRU-LN, standard gates"
NUM_EPOCHS = 200
# These take longer to show what becomes of them.
LONG = (GRU, "without layer normalization")


# Name of the files: model, seed, epochs, what is changed.
VARIANTS = {
    **{
        f"over-the-batch-seed{seed}": ("RNN-LN-FW", seed, NUM_EPOCHS, "--over_the_batch")
        for seed in (0, 1, 2)
    },
    "RNN-LN-seed1-data-of-6": ("RNN-LN", 1, 1000, "--data_seed=6"),
    "RNN-LN-seed6-data-of-1": ("RNN-LN", 6, 1000, "--data_seed=1"),
}


def file_of(label: str) -> str:
    """The name of a run's files."""
    if label in DEFAULTS:
        return "defaults"
    for part, plain in {" = ": "", ", ": "-", " ": "-", "η": "eta", "λ": "lambda"}.items():
        label = label.replace(part, plain)
    return label


def make_run(label: str, flags: tuple[str, ...]) -> Run:
    """RNN-LN-FW, or what the flags say."""
    num_epochs = 1000 if label in LONG else NUM_EPOCHS
    folder, program = FOLDER / file_of(label), ("train.py",)
    if flags == ("without_layer_norm",):
        flags, program = (), (*VARIANT, "--without_layer_norm")
    model_name = "GRU-LN" if label == GRU else "RNN-LN-FW"
    flags = (*flags, f"--model_name={model_name}", f"--checkpoint_dir={folder}")
    return Run(label, folder / model_name, num_epochs, flags, program)


def make_variant(name: str) -> Run:
    """A run of `benchmarks/variants.py`."""
    model_name, seed, num_epochs, change = VARIANTS[name]
    folder = FOLDER / name
    flags = (f"--model_name={model_name}", f"--seed={seed}", f"--checkpoint_dir={folder}")
    where = folders.model_folder(folder, model_name, seed)
    return Run(name, where, num_epochs, flags, (*VARIANT, change))


def draw(found, path):
    """A panel a question: validation accuracy over epochs."""
    figure = Figure(figsize=(12, 7), dpi=120, layout="constrained")
    *panels, gates, spare = figure.subplots(2, 3).flat
    spare.set_visible(False)
    for axes, (title, lines) in zip(panels, PANELS.items(), strict=True):
        colors = iter(COLORS)
        for label in lines:
            accuracies = [record.valid_accuracy for record in found[label]]
            style, color = ("-", DEFAULTS_COLOR) if label in DEFAULTS else ("--", next(colors))
            axes.plot(range(1, len(accuracies) + 1), accuracies, style, color=color, label=label)
        axes.set_title(f"RNN-LN-FW: {title}")
    for name, color in (("original", DEFAULTS_COLOR), ("standard", COLORS[0])):
        records = found[GRU] if name == "standard" else read_file(ORIGINAL_GATES)
        for style, part in (("-", "valid"), (":", "train")):
            accuracies = [getattr(record, f"{part}_accuracy") for record in records]
            label = f"{name} gates, {'validation' if part == 'valid' else 'training'}"
            gates.plot(range(1, len(accuracies) + 1), accuracies, style, color=color, label=label)
    gates.set_title("GRU-LN: gates")
    for axes in (*panels, gates):
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if axes is gates else "validation accuracy")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")
    figure.savefig(path)


def read():
    """The records of each label."""
    labels = [label for lines in PANELS.values() for label in lines]
    return {label: read_file(RECORDS / f"{file_of(label)}.jsonl") for label in [*labels, GRU]}


def table(found):
    """The results in Markdown, a row a run."""
    heads = ["RNN-LN-FW", "99 % in epoch", "accuracy at 200", "loss at 200", "best accuracy"]
    rows = [heads, ["---"] * len(heads)]
    seen = set()
    for label, records in found.items():
        if label != GRU and file_of(label) not in seen:
            seen.add(file_of(label))
            name = "the defaults" if label in DEFAULTS else label
            best = max(record.valid_accuracy for record in records)
            at_200 = records[NUM_EPOCHS - 1]
            row = [name, str(first_epoch(records, 0.99) or "-"), f"{at_200.valid_accuracy:.2%}"]
            length = " (of 1000 epochs)" if len(records) > NUM_EPOCHS else ""
            rows.append([*row, f"{at_200.valid_loss:.4f}", f"{best:.2%}{length}"])
    return markdown(rows)


def variants_table():
    """The variants beside the runs that they differ from, in Markdown."""
    heads = ["run", "45 % in epoch", "99 % in epoch", "accuracy at the end", "best accuracy"]
    rows = [[*heads, "training"], ["---"] * (len(heads) + 1)]
    beside = [f"RNN-LN-FW-seed{seed}" for seed in (0, 1, 2)] + ["RNN-LN-seed1", "RNN-LN-seed6"]
    for name, plain in zip(VARIANTS, beside, strict=True):
        num_epochs = VARIANTS[name][2]
        paths = {
            plain: ROOT / f"docs/results/{plain}.jsonl",
            name: VARIANT_RECORDS / f"{name}.jsonl",
        }
        for label, path in paths.items():
            records = read_file(path)[:num_epochs]
            last, best = records[-1], max(record.valid_accuracy for record in records)
            row = [str(first_epoch(records, mark) or "-") for mark in (0.45, 0.99)]
            row += [f"{value:.2%}" for value in (last.valid_accuracy, best, last.train_accuracy)]
            rows.append([f"{label}, {num_epochs} epochs", *row])
    return markdown(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=at_least_one, help="at a time; default: as many as cores")
    flags = parser.parse_args()
    runs = {GRU: make_run(GRU, ("--gates=standard",))}
    for lines in PANELS.values():
        for label, settings in lines.items():
            run = make_run(label, () if label in DEFAULTS else settings)
            runs.setdefault(file_of(label), run)
    variants = [make_variant(name) for name in VARIANTS]
    run_all([*runs.values(), *variants], flags.jobs)
    for run in runs.values():
        run.copy(RECORDS / file_of(run.name))
    for run in variants:
        run.copy(VARIANT_RECORDS / run.name)
    found = read()
    with files.replacing(ROOT / "docs/ablations.png") as temporary:
        draw(found, temporary)
    print(*table(found), "", *variants_table(), sep="\n")


if __name__ == "__main__":
    end_with(main)
