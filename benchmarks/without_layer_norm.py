"""`train.py` with another layer normalization in the fast weights, or with none.

python -m benchmarks.without_layer_norm --num_epochs=200 --checkpoint_dir=DIR
python -m benchmarks.without_layer_norm --over_the_batch --num_epochs=200 --checkpoint_dir=DIR

`--over_the_batch` takes mean and variance of each unit over the batch, as the original's
code does, where its text and this project take those of each example over its units. That
is no setting: the configuration beside the records is that of the defaults.
"""

import runpy
import sys
from unittest import mock

from keras import ops

import fast_weights.cells.fast_weights as cell
from benchmarks.runs import ROOT

OVER_THE_BATCH = "--over_the_batch"


def none(inputs, gamma, beta, epsilon):
    """What comes in."""
    return inputs


def over_the_batch(inputs, gamma, beta, epsilon):
    """(B, H), each unit normalized over B."""
    mean, variance = ops.moments(inputs, axes=[0], keepdims=True)
    return gamma * (inputs - mean) * ops.rsqrt(variance + epsilon) + beta


if __name__ == "__main__":
    normalize = over_the_batch if OVER_THE_BATCH in sys.argv else none
    sys.argv = [argument for argument in sys.argv if argument != OVER_THE_BATCH]
    with mock.patch.object(cell, "layer_normalize", normalize):
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
