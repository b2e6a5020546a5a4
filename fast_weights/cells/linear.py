"""The base class of the cells with a matrix as memory, to which they write values under keys.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| x_t W_x + b_x, in blocks: q, k, v, z, b, a | `projected` | (B, columns) |
| W_x, b_x | `kernel`, `bias` | (D, columns), (columns,) |
| F, the filters of the short convolution | `convolution_kernel` | (K, C) |
| the inputs of the last K - 1 steps of the convolution | `window` | (B, K - 1, C) |
| q_t, k_t, v_t, for each of n heads | `queries`, `keys`, `values` | (B, n, d_k), (B, n, d_v) |
| β_t, the strength of a write | `strengths` | (B, n, 1) |
| log α_t, the logarithm of the share of S that a step keeps | `log_decays` | (B, n, 1) |
| S_t, the memory | `memory` | (B, n, d_k, d_v) |
| o_t | `reads` | (B, n, d_v) |
| z_t, the output gate | `gates` | (B, n, d_v) |
| gain of the normalization of o_t | `gamma` | (d_v,) |
| W_o | `output_kernel` | (n·d_v, H) |

C is n (2 d_k + d_v). For a sequence, all tensors but the weights, the window and the memory have an
axis of time after the batch, because `signals` computes them for all steps at once.
"""

import itertools
from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from fast_weights.cells.base import (
    Activation,
    Cell,
    Float32States,
    Tensor,
    check_choice,
    check_integer,
    check_number,
)


def _unit_length(vectors):
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-6)


def _positive(vectors):
    return ops.elu(vectors) + 1


def _unit_sum(vectors):
    vectors = _positive(vectors)
    return vectors / ops.sum(vectors, axis=-1, keepdims=True)


# The choices of φ, which maps queries and keys over their last axis.
FEATURE_MAPS = {
    "elu": _positive,
    "relu": ops.relu,
    "softmax": ops.softmax,
    "sum": _unit_sum,
    "l2": _unit_length,
    "identity": lambda vectors: vectors,
}


class Signals(NamedTuple):
    """The inputs of the memory at T steps, and the output gates.

    Attributes:
        queries, keys: (B, T, n, d_k).
        values: (B, T, n, d_v).
        strengths: β, (B, T, n, 1), or `None` if a write does not depend on S.
        log_decays: log α, (B, T, n, 1), or `None` if S does not decay.
        gates: z, (B, T, n, d_v), or `None` without an output gate.
    """

    queries: Any
    keys: Any
    values: Any
    strengths: Any
    log_decays: Any
    gates: Any


class Step(NamedTuple):
    """One time step of a `LinearCell`.

    Attributes:
        outputs: h_t, (B, H).
        memory: S_t, (B, n, d_k, d_v).
        written: the vector that the step wrote under its key, (B, n, d_v).
        signals: the `Signals` of the step, without the axis of time.
        states: the list of states after the step.
    """

    outputs: Any
    memory: Any
    written: Any
    signals: Signals
    states: list[Any]


class LinearCell(Float32States, Cell):
    """Base class of the cells whose update of S is linear in S: linear attention and delta rules.

    A step computes (the numbers are those of this class)

    1. a projection of the input, `x_t W_x + b_x`: q, k and v; with gates, also z, b and a
    2. a convolution of q, k and v over the last K steps, separately for each number, and then f:
       `f(Σ_i F_i ∘ [q, k, v]_{t-K+1+i})`
    3. the feature map: `q_t = φ(q) / sqrt(d_k)`, `k_t = φ(k)`
    4. a write to S: the subclass
    5. a read: `o_t = q_t S_t`
    6. the output: `h_t = [RMS(o_t) ∘ silu(z_t)] W_o`, where [] joins the heads, and
       `RMS(o) = gain ∘ o / sqrt(mean(o²) + epsilon)`

    A subclass sets `erases` to say whether a write first erases the old value of its key, and
    `decays` to say whether S decays.

    Args:
        units: positive integer, H, the size of the output.
        num_heads: positive integer, n. Each head has its own S.
        key_size: positive integer, d_k, of a head. `None`: H / n.
        value_size: positive integer, d_v, of a head. `None`: H / n.
        feature_map: φ, one of `"elu"` (elu(x) + 1), `"relu"`, `"softmax"`, `"sum"` (elu(x) + 1,
            divided by its sum), `"l2"` (divided by its length) and `"identity"`.
        convolution_size: integer of at least 0, K. 0: no convolution.
        use_output_gate: whether the cell has the output gate z.
        normalization: `"rms"` or `"none"`, the normalization of o_t.
        epsilon: float of at least 0, added to the mean square in the normalization; with 0, a read
            of zeros becomes NaN.
        activation: f, a Keras activation.
        use_bias: whether the cell has b_x.
        **kwargs: the other arguments of `Cell`. W_x and W_o share the settings of `kernel`.
    """

    weight_names = ("kernel", "convolution", "bias")
    erases: ClassVar[bool]
    decays: ClassVar[bool]

    def __init__(
        self,
        units: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        value_size: int | None = None,
        feature_map: str = "l2",
        convolution_size: int = 4,
        use_output_gate: bool = False,
        normalization: str = "rms",
        epsilon: float = 1e-6,
        activation: Activation = "silu",
        use_bias: bool = False,
        **kwargs: Any,
    ):
        units = check_integer("units", units, low=1)
        self.num_heads = check_integer("num_heads", num_heads, low=1)
        for name, size in (("key_size", key_size), ("value_size", value_size)):
            if size is None and units % num_heads:
                raise ValueError(
                    f"`units` must be divisible by `num_heads` without a `{name}`. "
                    f"Received: units={units}, num_heads={num_heads}"
                )
            size = units // num_heads if size is None else size
            setattr(self, name, check_integer(name, size, low=1))
        self.feature_map = check_choice("feature_map", feature_map, tuple(FEATURE_MAPS))
        self.convolution_size = check_integer("convolution_size", convolution_size, low=0)
        self.use_output_gate = use_output_gate
        self.normalization = check_choice("normalization", normalization, ("rms", "none"))
        self.epsilon = check_number("epsilon", epsilon)
        super().__init__(units, activation, use_bias=use_bias, **{**kwargs, "autocast": False})

    @property
    def memory_shape(self) -> tuple[int, int, int]:
        """The shape of S of one sequence: (n, d_k, d_v)."""
        return self.num_heads, self.key_size, self.value_size

    @property
    def window_shape(self) -> tuple[int, int]:
        """The shape of the window of one sequence: (K - 1, C)."""
        columns = self.num_heads * (2 * self.key_size + self.value_size)
        return max(self.convolution_size - 1, 0), columns

    @property
    def state_size(self) -> list[int]:
        """The sizes of the states: n·d_k·d_v and, with a convolution, (K - 1)·C."""
        heads, keys, values = self.memory_shape
        steps, columns = self.window_shape
        return [heads * keys * values, *([steps * columns] if steps else [])]

    @property
    def _block_sizes(self):
        """The numbers of columns of W_x for its four blocks: q, k and v together, z, b and a."""
        gates = self.value_size * self.use_output_gate, self.erases, self.decays
        return [self.window_shape[1], *(self.num_heads * int(size) for size in gates)]

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        columns = sum(self._block_sizes)
        self.add_kernel(input_shape, columns, keras.initializers.GlorotUniform())
        if self.convolution_size:
            shape = self.convolution_size, self.window_shape[1]
            limit = self.convolution_size**-0.5
            initializer = keras.initializers.RandomUniform(-limit, limit)
            self.convolution_kernel = self.add_slow_weight(
                shape, "convolution_kernel", initializer, settings="convolution"
            )
        self.add_bias(columns)
        self.gamma = None
        if self.normalization == "rms":
            self.gamma = self.add_weight(shape=(self.value_size,), name="gamma", initializer="ones")
        self.output_kernel = self.add_slow_weight(
            (self.num_heads * self.value_size, self.units),
            "output_kernel",
            keras.initializers.GlorotUniform(),
            settings="kernel",
        )

    def matrices(self, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns S and the window as matrices, or `None` for a state that is missing or empty."""
        shapes = self.memory_shape, self.window_shape
        found = [
            ops.reshape(ops.cast(state, self.compute_dtype), (-1, *shape))
            if state.shape[1]
            else None
            for state, shape in zip(states, shapes, strict=False)
        ]
        return found[0], found[1] if len(found) == 2 else None

    def flat(self, memory: Tensor, window: Tensor) -> list[Tensor]:
        """Returns the list of states, from S and the window: the inverse of `matrices`."""
        sizes = self.state_size
        return [ops.reshape(one, (-1, n)) for one, n in zip((memory, window), sizes, strict=False)]

    def signals(self, projected: Tensor, window: Tensor, keep: Tensor | None = None) -> tuple:
        """Computes the inputs of the memory at T steps.

        Args:
            projected: x W_x + b_x, (B, T, columns).
            window: (B, K - 1, C).
            keep: (B, T), bool, or `None` for all steps. In each sequence, the steps to keep must
                come before the others.

        Returns:
            The `Signals`, and the window followed by the inputs of the convolution,
            (B, K - 1 + T, C).
        """
        # (1) The blocks of the projection.
        edges = list(itertools.accumulate(self._block_sizes))[:-1]
        mixed, gates, strengths, log_decays = ops.split(projected, edges, axis=-1)
        # (2) Convolution.
        mixed, stream = self._convolve(mixed, window)
        columns = self.num_heads * self.key_size
        parts = ops.split(self.activation(mixed), [columns, 2 * columns], axis=-1)
        queries, keys, values = (self._by_head(part) for part in parts)
        # (3) Feature map.
        feature_map = FEATURE_MAPS[self.feature_map]
        queries, keys = feature_map(queries) * self.key_size**-0.5, feature_map(keys)
        strengths = self.strengths(strengths)[..., None] if self.erases else None
        log_decays = self.log_decays(log_decays)[..., None] if self.decays else None
        if keep is not None:
            # A step with k = 0 and α = 1 leaves S unchanged.
            keep = keep[:, :, None, None]
            keys = ops.where(keep, keys, ops.zeros_like(keys))
            if self.decays:
                log_decays = ops.where(keep, log_decays, ops.zeros_like(log_decays))
        gates = self._by_head(gates) if self.use_output_gate else None
        return Signals(queries, keys, values, strengths, log_decays, gates), stream

    def _by_head(self, vectors):
        """Returns (B, T, n·d) as (B, T, n, d)."""
        batch, length = ops.shape(vectors)[:2]
        size = vectors.shape[-1] // self.num_heads
        return ops.reshape(vectors, (batch, length, self.num_heads, size))

    def _convolve(self, mixed, window):
        """Returns the convolution of (B, T, C), and the window followed by its inputs."""
        stream = mixed if window is None else ops.concatenate([window, mixed], axis=1)
        if not self.convolution_size:
            return mixed, stream
        filters = ops.cast(self.convolution_kernel, self.compute_dtype)
        length = ops.shape(mixed)[1]
        shifted = (stream[:, i : i + length] for i in range(self.convolution_size))
        return sum(filters[i] * one for i, one in enumerate(shifted)), stream

    def strengths(self, projected: Tensor) -> Tensor:
        """Returns β, (B, T, n), from its block of the projection."""
        return ops.sigmoid(projected)

    def log_decays(self, projected: Tensor) -> Tensor:
        """Returns log α, (B, T, n), from its block of the projection."""
        raise NotImplementedError

    def write(self, memory: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """(4) Writes to S in one step.

        Args:
            memory: S_{t-1}, (B, n, d_k, d_v).
            signals: those of the step, without the axis of time.

        Returns:
            S_t, and the vector that the step wrote under its key, (B, n, d_v).
        """
        _, keys, written, strengths, log_decays, _ = signals
        if self.decays:
            memory = ops.exp(log_decays)[..., None] * memory
        if self.erases:
            written = strengths * (written - read(keys, memory))
        return memory + keys[..., :, None] * written[..., None, :], written

    def outputs(self, reads: Tensor, gates: Tensor | None) -> Tensor:
        """(6) Returns the outputs of the cell, (..., H), from o and z, (..., n, d_v)."""
        if self.gamma is not None:
            # Not `ops.mean`: on JAX, Keras computes the mean of float64 in float32.
            square = ops.sum(ops.square(reads), axis=-1, keepdims=True) / self.value_size
            gamma = ops.cast(self.gamma, self.compute_dtype)
            reads = gamma * reads * ops.rsqrt(square + self.epsilon)
        if gates is not None:
            reads = reads * ops.silu(gates)
        joined = ops.reshape(reads, (*ops.shape(reads)[:-2], self.num_heads * self.value_size))
        return self.slow_product(joined, self.output_kernel)

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        one = self.trace_step(projected, states)
        # `keras.layers.StackedRNNCells` may keep the states in another precision.
        after = [ops.cast(new, old.dtype) for new, old in zip(one.states, states, strict=True)]
        return ops.cast(one.outputs, states[0].dtype), after

    def trace_step(self, projected: Tensor, states: list[Tensor]) -> Step:
        """Computes one time step. Returns a `Step`."""
        memory, window = self.matrices(states)
        signals, stream = self.signals(projected[:, None], window)
        signals = Signals(*(None if one is None else one[:, 0] for one in signals))
        memory, written = self.write(memory, signals)
        # (5) Read.
        outputs = self.outputs(read(signals.queries, memory), signals.gates)
        return Step(outputs, memory, written, signals, self.flat(memory, stream[:, 1:]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "feature_map": self.feature_map,
            "convolution_size": self.convolution_size,
            "use_output_gate": self.use_output_gate,
            "normalization": self.normalization,
            "epsilon": self.epsilon,
        }


def read(vectors: Tensor, memory: Tensor) -> Tensor:
    """Returns the products q S, (..., d_v), of vectors, (..., d_k), and matrices."""
    return ops.squeeze(ops.matmul(vectors[..., None, :], memory), axis=-2)
