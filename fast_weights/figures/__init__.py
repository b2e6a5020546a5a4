"""Figures of results, of a memory at work and of the weights, made without a display."""

from fast_weights.figures.curves import plot_curves
from fast_weights.figures.memory import (
    animate_memory,
    attention_figure,
    hidden_figure,
    plot_attention,
    plot_memory,
    plot_weights,
    strip_figure,
)
from fast_weights.figures.style import FORMATS, STYLES, to_pixels

__all__ = [
    "FORMATS",
    "STYLES",
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
