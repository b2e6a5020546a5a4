"""Runs `train.py` with a change that is not a setting.

python -m benchmarks.variants --without_layer_norm --num_epochs=200
python -m benchmarks.variants --over_the_batch --num_epochs=200

`--without_layer_norm` omits layer normalization from RNN-LN-FW. `--over_the_batch` normalizes
each unit of RNN-LN-FW over the batch, as the original's code does; its text, and this project,
normalize each example over its units.

`config.json` does not record the change, so a variant has its own checkpoint directory:
`checkpoints/variants/<variant>`, unless --checkpoint_dir names another.
"""

import contextlib
import runpy
import sys
from unittest import mock

from benchmarks.runs import ROOT
from fast_weights.experiment.console import quiet_import

with quiet_import():
    from keras import ops

    import fast_weights.cells.fast_weights as cell
    from fast_weights.layers import chunk, scan


def without_layer_norm(inputs, gamma, beta, epsilon):
    """Returns `inputs`, (B, H)."""
    return inputs


def over_the_batch(inputs, gamma, beta, epsilon):
    """Returns `inputs`, (B, H), with each unit normalized over B."""
    mean, variance = ops.moments(inputs, axes=[0], keepdims=True)
    return gamma * (inputs - mean) * ops.rsqrt(variance + epsilon) + beta


@contextlib.contextmanager
def normalized_by(function):
    """Replaces the layer normalization of RNN-LN-FW, in its layer and in its cell."""
    # `train.py` runs the layer, and its TensorBoard snapshots run the cell.
    with (
        mock.patch.object(chunk, "layer_normalize", function),
        mock.patch.object(cell, "layer_normalize", function),
        # The custom gradient assumes layer normalization. Without `SLOPES`, the backend
        # differentiates the variant.
        mock.patch.object(scan, "SLOPES", {}),
    ):
        yield


def patch(flag: str):
    """Returns a context manager that makes the change of a flag. Exits if the flag is unknown."""
    if flag == "--without_layer_norm":
        return normalized_by(without_layer_norm)
    if flag == "--over_the_batch":
        return normalized_by(over_the_batch)
    sys.exit(
        "error: the first flag must be --without_layer_norm or --over_the_batch, followed by those "
        f"of train.py. Received: {flag}"
    )


if __name__ == "__main__":
    flag, *flags = sys.argv[1:] or [""]
    variant = patch(flag)
    checkpoint_dir = ROOT / "checkpoints/variants" / flag.strip("-")
    sys.argv = ["train.py", f"--checkpoint_dir={checkpoint_dir}", *flags]
    with variant:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
