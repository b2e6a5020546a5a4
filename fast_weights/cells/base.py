"""The parts that all cells share: slow weights, layer normalization, argument checks."""

import math
import numbers
from collections.abc import Callable
from typing import Any, ClassVar

import keras
from keras import ops

HALF = ("float16", "bfloat16")

# A tensor of Keras's backend; for an argument, also a NumPy array. Keras has no type of its own.
Tensor = Any
Activation = str | Callable[[Tensor], Tensor]

# What a user can choose for a slow weight, with Keras's module of each.
WEIGHT_SETTINGS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}

# The class from which Keras's cells inherit dropout masks. Keras does not export it, but
# `keras.layers.RNN` resets the masks only of its instances.
DropoutRNNCell: Any = keras.layers.SimpleRNNCell.__bases__[1]


def check_integer(name, value, low=-math.inf) -> int:
    """Returns `value` as an `int`, or raises `ValueError` unless it is an integer >= `low`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        bound = "" if low == -math.inf else f" of at least {low}"
        expected = "a positive integer" if low == 1 else f"an integer{bound}"
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return int(value)


def check_number(name, value, high=math.inf) -> float:
    """Returns `value` as a `float`, or raises `ValueError` unless it is in [0, `high`]."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= high and value < math.inf):
        expected = "a finite number of at least 0" if high == math.inf else f"in [0, {high}]"
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return float(value)


def check_choice(name, value, choices) -> str:
    """Returns `value`, or raises `ValueError` unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def drop(vectors, mask):
    """Returns `vectors`, (B, ...), times a dropout mask. `None` drops nothing."""
    return vectors if mask is None else vectors * ops.cast(mask, vectors.dtype)


def input_initializer():
    """Returns the initializer of W_x: uniform in ±sqrt(2 / fan_in), as in the original."""
    # The limit of a uniform `VarianceScaling` is sqrt(3 * scale / fan_in).
    return keras.initializers.VarianceScaling(2 / 3, mode="fan_in", distribution="uniform")


def standardize(inputs, epsilon):
    """Returns the two factors of (a - mean(a)) / sqrt(variance(a) + epsilon), over the units.

    Args:
        inputs: a, (..., H).
        epsilon: float, added to the variance.

    Returns:
        a - mean(a), (..., H), and 1 / sqrt(variance(a) + epsilon), (..., 1).
    """
    # Not `ops.mean`: on JAX, Keras computes the mean of float64 in float32.
    size = inputs.shape[-1]
    centered = inputs - ops.sum(inputs, axis=-1, keepdims=True) / size
    variance = ops.sum(ops.square(centered), axis=-1, keepdims=True) / size
    return centered, ops.rsqrt(variance + epsilon)


def layer_normalize(inputs, gamma, beta, epsilon):
    """Normalizes each example over its units.

    LN(a) = gain ∘ (a - mean(a)) / sqrt(variance(a) + epsilon) + bias

    Args:
        inputs: a, (B, H). Half precision is normalized in float32.
        gamma: gain, (H,).
        beta: bias, (H,).
        epsilon: float, added to the variance.

    Returns:
        A tensor (B, H) with the dtype of `inputs`.
    """
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    if dtype in HALF:
        inputs = ops.cast(inputs, "float32")
    centered, inverse = standardize(inputs, epsilon)
    gamma, beta = ops.cast(gamma, inputs.dtype), ops.cast(beta, inputs.dtype)
    return ops.cast(gamma * centered * inverse + beta, dtype)


def batch_normalize(inputs, gamma, beta, epsilon):
    """Normalizes each unit over the batch. The arguments are those of `layer_normalize`."""
    mean, variance = ops.moments(inputs, axes=[0], keepdims=True)
    gamma, beta = ops.cast(gamma, inputs.dtype), ops.cast(beta, inputs.dtype)
    return gamma * (inputs - mean) * ops.rsqrt(variance + epsilon) + beta


class Cell(keras.layers.Layer, DropoutRNNCell):
    """Base class of all cells: holds `units`, the activation, and the settings of slow weights.

    A subclass creates its weights in `build` with `add_slow_weight`, and computes one time step
    in `step`. A layer projects a whole sequence once and then calls `step` instead of the cell, so
    a subclass that changes a cell must override `project` or `step`, not `call`.

    Args:
        units: positive integer, H, the size of the output.
        activation: f, a Keras activation: a name or a function.
        use_bias: whether the cell has b_x. Default `True`.
        dropout: float in [0, 1], the share of the inputs that training drops in their product with
            W_x. Default 0.
        seed: integer, the seed of the dropout masks. Default `None`: random.
        **kwargs: an initializer, a regularizer and a constraint for each of `weight_names`, such as
            `kernel_initializer`. Default `None`: the cell's own initializer, and neither of the
            others. Arguments of every Keras layer, such as `name` and `dtype`.
    """

    weight_names: ClassVar[tuple[str, ...]] = ("kernel", "bias")
    recurrent_dropout = 0.0

    def __init__(
        self,
        units: int,
        activation: Activation,
        use_bias: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        units = check_integer("units", units, low=1)
        dropout = check_number("dropout", dropout, high=1)
        seed = None if seed is None else check_integer("seed", seed)
        names = [name for name in self._weight_settings() if name in kwargs]
        chosen = {name: kwargs.pop(name) for name in names}
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        for name, kind in self._weight_settings().items():
            setattr(self, name, kind.get(chosen.get(name)))
        self.use_bias = use_bias
        self.dropout = dropout
        self.seed = seed
        # Only with dropout, because the generator's variable would be in every saved model.
        if dropout or self.recurrent_dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)

    @classmethod
    def _weight_settings(cls) -> dict[str, Any]:
        """Returns the names of the settings of slow weights, with the module of each."""
        return {
            f"{weight}_{kind}": module
            for weight in cls.weight_names
            for kind, module in WEIGHT_SETTINGS.items()
        }

    @property
    def state_size(self) -> int | list[int]:
        """The sizes of the states: H."""
        return self.units

    @property
    def output_size(self) -> int:
        """The size of the output: H."""
        return self.units

    def add_slow_weight(
        self, shape: tuple, name: str, initializer: Any, settings: str | None = None
    ) -> Any:
        """Creates a slow weight.

        Args:
            shape: of the weight.
            name: of the weight.
            initializer: the cell's default.
            settings: the one of `weight_names` whose settings it has. Default: `name`.
        """
        settings = settings or name
        return self.add_weight(
            shape=shape,
            name=name,
            initializer=getattr(self, f"{settings}_initializer") or initializer,
            regularizer=getattr(self, f"{settings}_regularizer"),
            constraint=getattr(self, f"{settings}_constraint"),
        )

    def add_kernel(self, input_shape: tuple, columns: int, initializer: Any) -> None:
        """Creates W_x.

        Args:
            input_shape: (B, D), the shape of one time step.
            columns: number of columns.
            initializer: the cell's default.

        Raises:
            ValueError: if `input_shape` does not have two axes.
        """
        if len(input_shape) != 2:
            raise ValueError(
                "a cell takes one time step, (batch, features); the layer around it takes "
                "sequences, (batch, time, features). "
                f"Received: one time step of shape {tuple(input_shape)}"
            )
        self.kernel = self.add_slow_weight((input_shape[-1], columns), "kernel", initializer)

    def add_bias(self, columns: int, initializer: Any = "zeros") -> None:
        """Creates b_x, or sets it to `None` without `use_bias`."""
        self.bias = self.add_slow_weight((columns,), "bias", initializer) if self.use_bias else None

    def call(
        self, inputs: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        input_mask, recurrent_mask = self.dropout_masks(inputs, states[0], training)
        return self.step(self.project(drop(inputs, input_mask)), states, recurrent_mask)

    def dropout_masks(self, inputs: Tensor, hidden: Tensor, training: bool) -> tuple[Any, Any]:
        """Returns the dropout masks of the inputs, (B, D), and of h, (B, H).

        The cell keeps the masks until `keras.layers.RNN` resets them after a sequence. A mask is
        `None` without dropout and outside of training.
        """
        if not training:
            return None, None
        return self.get_dropout_mask(inputs), self.get_recurrent_dropout_mask(hidden)

    def project(self, inputs: Tensor) -> Tensor:
        """Returns x W_x + b_x, (..., columns), of one time step or of a sequence, (..., D)."""
        product = self.slow_product(inputs, self.kernel)
        return product if self.bias is None else product + ops.cast(self.bias, self.compute_dtype)

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Computes one time step from the projected input.

        Args:
            projected: x_t W_x + b_x, (B, columns).
            states: the list of states before the step.
            recurrent_mask: dropout mask of the vectors that W_h multiplies, (B, H), or `None`.

        Returns:
            The output, (B, H), and the list of new states.
        """
        raise NotImplementedError

    def slow_product(self, vectors: Tensor, weights: Tensor) -> Tensor:
        """Returns the product with slow weights, computed in the policy's dtype."""
        dtype = self.dtype_policy.compute_dtype
        product = ops.matmul(ops.cast(vectors, dtype), ops.cast(weights, dtype))
        return ops.cast(product, self.compute_dtype)

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Returns zeros, a list with (batch_size, n) for each n in `state_size`."""
        sizes = keras.tree.flatten(self.state_size)
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in sizes]

    def get_config(self) -> dict[str, Any]:
        serialized = {
            name: module.serialize(getattr(self, name))
            for name, module in self._weight_settings().items()
        }
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            **serialized,
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class Float32States:
    """Mixin of cells with a matrix as a state, which half precision must not round at each step.

    Pass `autocast=False` to `keras.layers.Layer`: the cell casts its arguments itself. Products
    with the slow weights still use half precision.
    """

    dtype_policy: Any

    @property
    def compute_dtype(self) -> str:
        """The dtype of the states: the policy's, but float32 for half precision."""
        policy = self.dtype_policy.compute_dtype
        return "float32" if policy in HALF else policy


class RecurrentCell(Cell):
    """Base class of the cells with a weight W_h of the hidden state.

    A subclass creates its weights with `add_slow_weights` and `add_gain_and_bias`. `FastWeights`
    does not call `step`, because it computes the steps of a chunk itself. Wrap a subclass of
    `FastWeightsCell` in `keras.layers.RNN`.

    Args:
        units: positive integer, H, the size of the hidden state.
        activation: f, a Keras activation: a name or a function.
        recurrent_dropout: float in [0, 1], the share of the units that training drops in
            products with W_h. Default 0.
        **kwargs: the other arguments of `Cell`, which include an initializer, a regularizer and a
            constraint of W_h, such as `recurrent_initializer`.
    """

    weight_names = ("kernel", "recurrent", "bias")

    def __init__(
        self, units: int, activation: Activation, recurrent_dropout: float = 0.0, **kwargs: Any
    ):
        # Before the base class, which makes a generator of random numbers if there is dropout.
        self.recurrent_dropout = check_number("recurrent_dropout", recurrent_dropout, high=1)
        super().__init__(units, activation, **kwargs)

    def add_slow_weights(
        self,
        input_shape: tuple,
        columns: int,
        kernel: Any = None,
        recurrent_kernel: Any = None,
        bias: Any = "zeros",
    ) -> None:
        """Creates W_x, W_h and, with `use_bias`, b_x.

        Args:
            input_shape: (B, D), the shape of one time step.
            columns: number of columns of each weight.
            kernel, recurrent_kernel, bias: the cell's default initializers. Default:
                those of the original's plain models, see `input_initializer`; 0.05·I; zeros.

        Raises:
            ValueError: if `input_shape` does not have two axes.
        """
        self.add_kernel(input_shape, columns, kernel or input_initializer())
        self.recurrent_kernel = self.add_slow_weight(
            (self.output_size, columns),
            "recurrent_kernel",
            recurrent_kernel or keras.initializers.Identity(gain=0.05),
            settings="recurrent",
        )
        self.add_bias(columns, bias)

    def add_gain_and_bias(self, prefix: str = "") -> tuple[Any, Any]:
        """Creates the gain and bias of a layer normalization.

        Args:
            prefix: prefix of the weights' names.

        Returns:
            gain and bias, (H,) each, named `gamma` and `beta` as Keras does.
        """
        gamma = self.add_weight(shape=(self.units,), name=f"{prefix}gamma", initializer="ones")
        beta = self.add_weight(shape=(self.units,), name=f"{prefix}beta", initializer="zeros")
        return gamma, beta

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "recurrent_dropout": self.recurrent_dropout}
