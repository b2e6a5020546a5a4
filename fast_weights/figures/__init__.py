"""Figures of results, of a memory at work and of the weights, made without a display."""

from fast_weights.figures.curves import PUBLISHED, plot_curves
from fast_weights.figures.memory import (
    animate_memory,
    attention_figure,
    hidden_figure,
    plot_attention,
    plot_memory,
    plot_weights,
    shares_of,
    strip_figure,
)
from fast_weights.figures.style import FORMATS, STYLES, to_pixels

__all__ = [
    "FORMATS",
    "PUBLISHED",
    "STYLES",
    "animate_memory",
    "attention_figure",
    "hidden_figure",
    "plot_attention",
    "plot_curves",
    "plot_memory",
    "plot_weights",
    "shares_of",
    "strip_figure",
    "to_pixels",
]
