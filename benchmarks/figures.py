"""What the figures of several studies share. Loads Matplotlib."""

from matplotlib.ticker import PercentFormatter

# Of black curves, which stand out from one curve in a color.
DASHES = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


def draw_curve(axes, values, **look) -> None:
    """Draws a value of each epoch."""
    axes.plot(range(1, len(values) + 1), values, **look)


def label_accuracy(axes, title: str, ylabel: str = "validation accuracy", top=1.02) -> None:
    """Labels axes of accuracy over epochs."""
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
