"""Choices and default values that the cells, the layers and the experiment share."""

# The first of each choice is the default.
# "original" follows the code of the blog post, "paper" the equations of the paper.
RECURRENCES = ("original", "paper")
# "original" derives the update gate from the reset gate, "standard" is the textbook's GRU.
GATES = ("original", "standard")
# For fast weights: "layer" normalizes each example over its units, "batch" each unit over the
# batch.
NORMALIZATIONS = ("layer", "batch", "none")

INNER_STEPS = 1
DECAY_RATE = 0.95
FAST_LEARNING_RATE = 0.5
# Added to the variance in a normalization.
EPSILON = 1e-5
