"""Trains RNN-LN-FW with one setting changed at a time, GRU-LN with standard gates, and variants.

python -m benchmarks.ablations

The variants (`benchmarks/variants.py`) test causes of differences from the published curves.
Trains in `checkpoints/ablations/` and `checkpoints/variants/`; writes `docs/results/ablations/`,
`docs/results/variants/` and `docs/ablations.png`.
"""

from benchmarks import reproduce_blog
from benchmarks.runs import ROOT, Run, run_main, train_and_draw
from fast_weights.experiment.config import Config

NUM_EPOCHS = 200
LONG = 1000


def _make_run(name, variant="", num_epochs=NUM_EPOCHS, **settings):
    config = Config(num_epochs=num_epochs, **settings)
    return Run(name, config, ROOT / "checkpoints" / name, variant)


DEFAULTS = _make_run("ablations/defaults")
ORIGINAL_GATES = reproduce_blog.make_run("GRU-LN", 0)
STANDARD_GATES = _make_run(
    "ablations/GRU-LN-standard-gates", num_epochs=LONG, model_name="GRU-LN", gates="standard"
)
# Runs of RNN-LN-FW by panel of the figure and label.
PANELS = {
    "inner steps S": {
        "S = 0": _make_run("ablations/S0", inner_steps=0),
        "S = 1": DEFAULTS,
        "S = 2": _make_run("ablations/S2", inner_steps=2),
        "S = 3": _make_run("ablations/S3", inner_steps=3),
    },
    "decay rate λ, and η = 0": {
        "η = 0": _make_run("ablations/eta0", fast_learning_rate=0),
        "λ = 0.5": _make_run("ablations/lambda0.5", decay_rate=0.5),
        "λ = 0.8": _make_run("ablations/lambda0.8", decay_rate=0.8),
        "λ = 0.95": DEFAULTS,
        "λ = 1.0": _make_run("ablations/lambda1.0", decay_rate=1),
    },
    "recurrence and Adam": {
        "original, 1e-4": DEFAULTS,
        "original, 1e-3": _make_run("ablations/original-1e-3", learning_rate=1e-3),
        "paper, 1e-4": _make_run("ablations/paper-1e-4", recurrence="paper"),
        "paper, 1e-3": _make_run("ablations/paper-1e-3", recurrence="paper", learning_rate=1e-3),
    },
    "layer normalization": {
        "with layer normalization": DEFAULTS,
        "without layer normalization": _make_run(
            "ablations/without-layer-normalization", "--without_layer_norm", LONG
        ),
    },
}
# Each variant with the run that it is compared with.
VARIANTS = [
    *(
        (
            reproduce_blog.make_run("RNN-LN-FW", seed),
            _make_run(f"variants/over-the-batch-seed{seed}", "--over_the_batch", seed=seed),
        )
        for seed in (0, 1, 2)
    ),
    *(
        (
            reproduce_blog.make_run("RNN-LN", seed),
            _make_run(
                f"variants/RNN-LN-seed{seed}-data-of-{other}",
                num_epochs=LONG,
                model_name="RNN-LN",
                seed=seed,
                data_seed=other,
            ),
        )
        for seed, other in ((1, 6), (6, 1))
    ),
]
ABLATIONS = {label: run for panel in PANELS.values() for label, run in panel.items()}
RUNS = [
    STANDARD_GATES,
    *{run.name: run for run in ABLATIONS.values()}.values(),
    *(variant for _, variant in VARIANTS),
]
COLORS = ("#E69F00", "#009E73", "#CC79A7", "#D55E00")
DEFAULTS_COLOR = "#0072B2"


def draw():
    """Draws validation accuracy over epochs, a panel for each question."""
    from matplotlib.ticker import PercentFormatter

    from fast_weights.experiment.plots import style  # loads Matplotlib

    figure = style.new_figure(12, 7)
    *panels, gates, unused = figure.subplots(2, 3).flat
    unused.set_visible(False)
    for axes, (title, panel) in zip(panels, PANELS.items(), strict=True):
        colors = iter(COLORS)
        for label, run in panel.items():
            look = ("-", DEFAULTS_COLOR) if run is DEFAULTS else ("--", next(colors))
            _draw_accuracy(axes, run, "val", label, *look)
        axes.set_title(f"RNN-LN-FW: {title}")
        axes.set_ylabel("validation accuracy")
    gate_runs = {"original": ORIGINAL_GATES, "standard": STANDARD_GATES}
    for (name, run), color in zip(gate_runs.items(), (DEFAULTS_COLOR, COLORS[0]), strict=True):
        _draw_accuracy(gates, run, "val", f"{name} gates, validation", "-", color)
        _draw_accuracy(gates, run, "train", f"{name} gates, training", ":", color)
    gates.set_title("GRU-LN: gates")
    gates.set_ylabel("accuracy")
    for axes in (*panels, gates):
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        style.remove_frame(axes)
        axes.legend(frameon=False, loc="best")
    return style.write(ROOT / "docs/ablations.png", figure.savefig)


def _draw_accuracy(axes, run, split, label, linestyle, color):
    accuracies = [getattr(record, f"{split}_accuracy") for record in run.records()]
    epochs = range(1, len(accuracies) + 1)
    axes.plot(epochs, accuracies, linestyle, color=color, label=label)


if __name__ == "__main__":
    run_main(lambda: train_and_draw(__doc__.splitlines()[0], RUNS, draw))
