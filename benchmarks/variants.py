"""`train.py` with something changed that is no setting.

python -m benchmarks.variants --without_layer_norm --num_epochs=200
python -m benchmarks.variants --over_the_batch --num_epochs=200
python -m benchmarks.variants --data_seed=6 --model_name=RNN-LN --seed=1

`--without_layer_norm` leaves layer normalization out of the fast weights.
`--over_the_batch` takes mean and variance of each unit over the batch, as the original's
code does, where its text and this project take those of each example over its units.
`--data_seed` makes the sequences from another seed than the weights. The configuration
beside the records does not tell of these: a variant's runs lie in
`checkpoints/variants/<variant>`, unless another `--checkpoint_dir` is given.
"""

import runpy
import sys
from unittest import mock

from benchmarks.runs import ROOT
from fast_weights import terminal

with terminal.quiet_import():
    from keras import ops

    import fast_weights.cells.fast_weights as cell
    from fast_weights import data


def without_layer_norm(inputs, gamma, beta, epsilon):
    """What comes in."""
    return inputs


def over_the_batch(inputs, gamma, beta, epsilon):
    """(B, H), each unit normalized over B."""
    mean, variance = ops.moments(inputs, axes=[0], keepdims=True)
    return gamma * (inputs - mean) * ops.rsqrt(variance + epsilon) + beta


def with_data_of(seed: int):
    """`data.load_or_make` that is given another seed."""
    load_or_make = data.load_or_make
    return lambda *args, **kwargs: load_or_make(*args[:4], seed, **kwargs)


def patch(flag: str):
    """What a flag of this program changes; ends on any other."""
    if flag == "--without_layer_norm":
        return mock.patch.object(cell, "layer_normalize", without_layer_norm)
    if flag == "--over_the_batch":
        return mock.patch.object(cell, "layer_normalize", over_the_batch)
    name, _, seed = flag.partition("=")
    if name == "--data_seed" and seed.isdecimal():
        return mock.patch.object(data, "load_or_make", with_data_of(int(seed)))
    sys.exit(
        "error: expected --without_layer_norm, --over_the_batch or --data_seed=N, then train.py's "
        f"flags. Received: {flag}"
    )


if __name__ == "__main__":
    flag, *flags = sys.argv[1:] or [""]
    variant = patch(flag)
    folder = ROOT / "checkpoints/variants" / flag.strip("-").replace("=", "-")
    sys.argv = ["train.py", f"--checkpoint_dir={folder}", *flags]
    with variant:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
