"""Compares the original's recurrence and the paper's at two learning rates and three seeds.

python -m benchmarks.recurrences

Trains RNN-LN-FW twelve times for 200 epochs in `checkpoints/recurrences/`, with the default
settings except for these. Writes `docs/results/recurrences/` and `docs/recurrences.png`.
"""

from benchmarks.runs import ROOT, Run, run_main, train_and_draw
from fast_weights.experiment.config import Config

COLORS = {"original": "#0072B2", "paper": "#D55E00"}
SEEDS = (0, 1, 2)
SETTINGS = [(recurrence, rate) for rate in ("1e-4", "1e-3") for recurrence in ("original", "paper")]


def _make_run(recurrence, rate, seed):
    name = f"recurrences/{recurrence}-{rate}-seed{seed}"
    config = Config(num_epochs=200, recurrence=recurrence, learning_rate=float(rate), seed=seed)
    return Run(name, config, ROOT / "checkpoints" / name)


RUNS = {(*setting, seed): _make_run(*setting, seed) for seed in SEEDS for setting in SETTINGS}


def read_records():
    """Returns the saved records by recurrence, learning rate and seed."""
    return {key: run.records() for key, run in RUNS.items()}


def draw():
    """Draws validation accuracy over epochs: a color for each recurrence, dashes for 1e-3."""
    from matplotlib.ticker import PercentFormatter, StrMethodFormatter

    from fast_weights.experiment.plots import style  # loads Matplotlib

    figure = style.new_figure(8, 4.5)
    axes = figure.subplots()
    for (recurrence, rate, seed), run_records in read_records().items():
        line = [record.val_accuracy for record in run_records]
        look = {"color": COLORS[recurrence], "linestyle": "-" if rate == "1e-4" else "--"}
        label = f"{recurrence}, Adam {rate}" if seed == SEEDS[0] else None
        axes.plot(range(1, len(line) + 1), line, label=label, linewidth=1.2, **look)
    axes.set_title("RNN-LN-FW: the original's recurrence and the paper's, three seeds each")
    axes.set_xlabel("epoch")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.3)
    style.remove_frame(axes)
    axes.legend(frameon=False, loc="lower right")
    return style.write(ROOT / "docs/recurrences.png", figure.savefig)


if __name__ == "__main__":
    run_main(lambda: train_and_draw(__doc__.splitlines()[0], list(RUNS.values()), draw))
