"""What the cells share: argument checks, the original's initial ranges, layer normalization."""

import keras
from keras import ops


def check_units(units) -> int:
    """Returns `units` if it is a positive integer; raises `ValueError` otherwise."""
    if isinstance(units, bool) or not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` must be a positive integer. Received: units={units!r}")
    return units


def check_epsilon(epsilon) -> float:
    """Returns `epsilon` if it is zero or more; raises `ValueError` otherwise."""
    if not epsilon >= 0:
        raise ValueError(f"`epsilon` must be zero or more. Received: epsilon={epsilon!r}")
    return float(epsilon)


def input_initializer():
    """Uniform in ±sqrt(2 / fan_in): unit variance before a ReLU, as the original starts W_x."""
    # VarianceScaling's uniform limit is sqrt(3 * scale / fan_in).
    return keras.initializers.VarianceScaling(2 / 3, mode="fan_in", distribution="uniform")


def recurrent_initializer():
    """0.05·I: each unit starts by keeping a little of itself."""
    return keras.initializers.Identity(gain=0.05)


def layer_normalize(inputs, gamma, beta, epsilon):
    """Layer normalization of each example over its units.

    LN(a) = gain ∘ (a - mean(a)) / sqrt(variance(a) + epsilon) + bias

    Args:
        inputs: (B, H).
        gamma: gain, (H,).
        beta: bias, (H,).
        epsilon: float, added to the variance.

    Returns:
        (B, H).
    """
    centered = inputs - ops.mean(inputs, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    return gamma * centered * ops.rsqrt(variance + epsilon) + beta
