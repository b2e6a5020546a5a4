"""What the cells share: slow weights with Keras's usual arguments, checks, layer normalization."""

import math
import numbers

import keras
from keras import ops

HALF = ("float16", "bfloat16")


def check_integer(name, value, low) -> int:
    """Returns `value` if it is an integer of at least `low`; raises `ValueError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        expected = "a positive integer" if low == 1 else f"an integer of {low} or more"
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return int(value)


def check_number(name, value, high=math.inf) -> float:
    """Returns `value` if it lies between 0 and `high`; raises `ValueError` otherwise."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and 0 <= value <= high and value < math.inf):
        expected = "zero or more, and finite" if high == math.inf else f"between 0 and {high}"
        raise ValueError(f"`{name}` must be a number {expected}. Received: {name}={value!r}")
    return float(value)


def check_choice(name, value, choices) -> str:
    """Returns `value` if it is one of `choices`; raises `ValueError` otherwise."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


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
        inputs: (B, H). Half precision is normalized in float32.
        gamma: gain, (H,).
        beta: bias, (H,).
        epsilon: float, added to the variance.

    Returns:
        (B, H), of the dtype of `inputs`.
    """
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    if dtype in HALF:
        inputs = ops.cast(inputs, "float32")
    # A sum and a division: Keras computes `ops.mean` of float64 in float32 on JAX.
    size = inputs.shape[-1]
    centered = inputs - ops.sum(inputs, axis=-1, keepdims=True) / size
    variance = ops.sum(ops.square(centered), axis=-1, keepdims=True) / size
    gamma, beta = ops.cast(gamma, inputs.dtype), ops.cast(beta, inputs.dtype)
    return ops.cast(gamma * centered * ops.rsqrt(variance + epsilon) + beta, dtype)


class RecurrentCell(keras.layers.Layer):
    """Base of the cells: `units`, an activation, and the slow weights W_x, W_h and b.

    A cell says how many columns its slow weights have and how they start where
    no initializer is given; what it does in a step is its own.

    Args:
        units: positive integer, H, the size of the hidden state.
        activation: f, a Keras activation: a name or a function.
        kernel_initializer: for W_x. Default `None`: as the original starts it.
        recurrent_initializer: for W_h. Default `None`: as the original starts it.
        bias_initializer: for b. Default `None`: as the original starts it.
        kernel_regularizer: for W_x. Default `None`.
        recurrent_regularizer: for W_h. Default `None`.
        bias_regularizer: for b. Default `None`.
        kernel_constraint: for W_x. Default `None`.
        recurrent_constraint: for W_h. Default `None`.
        bias_constraint: for b. Default `None`.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.
    """

    def __init__(
        self,
        units,
        activation,
        kernel_initializer=None,
        recurrent_initializer=None,
        bias_initializer=None,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        units = check_integer("units", units, low=1)
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    @property
    def state_size(self):
        """H."""
        return self.units

    @property
    def output_size(self):
        """H."""
        return self.units

    def add_slow_weights(self, input_shape, columns, kernel, recurrent_kernel, bias):
        """Makes W_x, W_h and b.

        Args:
            input_shape: (B, D), of one time step.
            columns: how many columns each has.
            kernel, recurrent_kernel, bias: how each starts where the cell was
                given no initializer.
        """
        if len(input_shape) != 2:
            raise ValueError(
                "a cell takes one time step, (batch, features), and the layer around it takes "
                "sequences, (batch, time, features). "
                f"Received: one time step of shape {tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            shape=(input_shape[-1], columns),
            name="kernel",
            initializer=self.kernel_initializer or kernel,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, columns),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer or recurrent_kernel,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = self.add_weight(
            shape=(columns,),
            name="bias",
            initializer=self.bias_initializer or bias,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def get_initial_state(self, batch_size=None):
        """Zeros, [(batch_size, H)]."""
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": keras.regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": keras.constraints.serialize(self.recurrent_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }
