"""Trains the four models on sequences of 26 pairs, which is 55 symbols.

python -m benchmarks.long_sequences

Trains each model for 200 epochs in `checkpoints/long_sequences/`, with the default settings except
for the number of pairs. Writes `docs/results/long_sequences/` and `docs/long_sequences.png`.
"""

from benchmarks.runs import ROOT, Run, run_main, train_and_draw
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import BLOG_MODELS

NUM_PAIRS = 26


def _make_run(model_name):
    name = f"long_sequences/{model_name}"
    config = Config(model_name=model_name, num_pairs=NUM_PAIRS, num_epochs=200)
    return Run(name, config, ROOT / "checkpoints" / name)


RUNS = {model_name: _make_run(model_name) for model_name in BLOG_MODELS}


def read_records():
    """Returns the saved records by model."""
    return {model_name: run.records() for model_name, run in RUNS.items()}


def draw():
    """Draws validation accuracy over epochs, a curve for each model."""
    from matplotlib.ticker import PercentFormatter

    from fast_weights.experiment.plots import style  # loads Matplotlib

    figure = style.new_figure(8, 4.5)
    axes = figure.subplots()
    for model_name, records in read_records().items():
        epochs = range(1, len(records) + 1)
        accuracies = [record.val_accuracy for record in records]
        axes.plot(epochs, accuracies, label=model_name, **style.curve_style(model_name))
    axes.set_title(f"{NUM_PAIRS} pairs, 55 symbols")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.3)
    style.remove_frame(axes)
    axes.legend(frameon=False, loc="lower right")
    return style.write(ROOT / "docs/long_sequences.png", figure.savefig)


if __name__ == "__main__":
    run_main(lambda: train_and_draw(__doc__.splitlines()[0], list(RUNS.values()), draw))
