"""Trains the four models on sequences of 26 pairs, which is 55 symbols.

python -m benchmarks.long_sequences

Trains each model for 200 epochs, with the default settings except for the number of pairs. Writes
`docs/results/long_sequences/` and `docs/long_sequences.png`.
"""

from benchmarks.study import Study
from benchmarks.tables import part, table_of_runs
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import BLOG_MODELS

STUDY = Study(__doc__)
# Model -> name.
RUNS = {
    name: STUDY.add(f"long_sequences/{name}", Config(model_name=name, num_pairs=26, num_epochs=200))
    for name in BLOG_MODELS
}


@part("long_sequences")
def table_of_models() -> str:
    """Returns the accuracy of each model."""
    columns = ["accuracy at 200", "best accuracy", "epoch of best", "training accuracy"]
    runs = {model_name: [STUDY[name]] for model_name, name in RUNS.items()}
    return table_of_runs("model", runs, *columns)


@STUDY.figure("long_sequences.png", 8, 4.5)
def draw(figure) -> None:
    """Draws validation accuracy over epochs, a curve for each model."""
    from matplotlib.ticker import MultipleLocator

    from benchmarks import figures  # loads Matplotlib
    from fast_weights.experiment.plots import style

    axes = figure.subplots()
    for model_name, name in RUNS.items():
        look = style.curve_style(model_name)
        figures.draw_curve(axes, STUDY[name]["val_accuracy"], label=model_name, **look)
    axes.axhline(0.1, color="black", linewidth=0.8)
    axes.annotate("chance", (200, 0.1), (0, -4), textcoords="offset points", ha="right", va="top")
    figures.label_accuracy(axes, "26 pairs, 55 symbols", top=0.22)
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.legend(frameon=False, loc="lower center", ncols=4)


if __name__ == "__main__":
    STUDY.main()
