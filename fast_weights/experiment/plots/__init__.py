"""Figures of results, of the memory of one sequence and of the slow weights."""

from fast_weights.experiment.plots.curves import plot_curves
from fast_weights.experiment.plots.memory import (
    animate_memory,
    attention_figure,
    hidden_figure,
    plot_attention,
    plot_memory,
    strip_figure,
)
from fast_weights.experiment.plots.slow_weights import plot_weights
from fast_weights.experiment.plots.style import to_pixels

__all__ = [
    "animate_memory",
    "attention_figure",
    "hidden_figure",
    "plot_attention",
    "plot_curves",
    "plot_memory",
    "plot_weights",
    "strip_figure",
    "to_pixels",
]
