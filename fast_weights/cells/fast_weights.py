"""RNN-LN-FW: a recurrent network with fast weights.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| z_t = x_t W_x + b_x | `projected` | (B, H) |
| p_t, the preliminary vector | `preliminary` | (B, H) |
| v_t, the vector that step t writes | `written` | (B, H) |
| h of the inner loop, h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta`; `None` without normalization | (H,) |
| λ, η, S | `decay_rate`, `fast_learning_rate`, `inner_steps` | |
| A_t, the fast weights | `memory` | (B, H, H) |

Equation numbers are the paper's (Ba et al. 2016, arXiv 1610.06258).

Between steps, A is flat, (B, H·H), so that functional `return_state`, state chaining
and masks work on every Keras backend.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from fast_weights import defaults
from fast_weights.cells.base import (
    Activation,
    Float32States,
    RecurrentCell,
    Tensor,
    batch_normalize,
    check_choice,
    check_integer,
    check_number,
    drop,
    layer_normalize,
)


class Step(NamedTuple):
    """One time step of `FastWeightsCell`.

    Attributes:
        hidden: h_t, (B, H).
        memory: A_t, (B, H, H).
        written: v_t, (B, H), the vector that the step wrote.
        queries: the h, (B, H), that each inner step read A_t with, a list of S.
    """

    hidden: Tensor
    memory: Tensor
    written: Tensor
    queries: list[Tensor]


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsCell(Float32States, RecurrentCell):
    """Recurrent cell with fast weights: an associative memory of the recent past.

    All sequences share the slow weights, which are trained. Each sequence has its
    own fast weights A. Every step writes a vector to A, and an inner loop reads A
    while the slow term stays fixed. A and the hidden state start at zero. With f the
    activation and z_t = x_t W_x + b_x, each step computes, with the paper's numbers,

    - the preliminary vector `p_t = f(z_t + h_{t-1} W_h)`
    - (1) `A_t = λ A_{t-1} + η v_tᵀ v_t`
    - (5) starting from `h = p_t`, S times `h ← f(LN(z_t + v_t W_h + h A_t))`; the
      last `h` is `h_t`

    Step t writes the vector v_t, and its slow term is z_t + v_t W_h:

    - `recurrence="original"`: `v_t = p_t`, the preliminary vector of this step;
    - `recurrence="paper"`: `v_t = h_{t-1}`, the state after the previous step, so
      that A_t is the paper's A(t - 1).

    With S = 0, A is never read and `h_t = p_t`; the gain and bias of LN then have
    no gradient.

    LN is the normalization that `normalization` names:

    - `"layer"`: over the units of each example, as in the paper;
    - `"batch"`: of each unit over the batch, as in the listing that the blog post published.
      The result of an example then depends on the rest of its batch, also in inference, and
      on masked examples. In a batch of one example, the result is the bias;
    - `"none"`: no normalization, which makes equation 5 the paper's equation 2. The cell then
      has no gain and no bias, and h can grow without bounds.

    A takes B·H² numbers, 4 bytes each in float32. `keras.layers.RNN` around this cell
    keeps one A per step for training. The layer `FastWeights` gives the same results with
    the same weights. It works in chunks of steps, which takes less time and memory.

    Reference: the original's RNN-LN-FW; Ba et al. 2016, arXiv 1610.06258,
    equations 1, 2 and 5.

    Differences from the original: The default normalizes each example over its units, not
    over the batch. A normalization adds an epsilon to the variance. Any batch size works.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer of at least 0, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A that a step keeps.
            Default 0.95.
        fast_learning_rate: float of at least 0, η, the strength of a write.
            Default 0.5.
        epsilon: float of at least 0, added to the variance in LN; with 0, a
            vector of equal units becomes NaN. Default 1e-5.
        recurrence: `"original"` or `"paper"`. Default `"original"`.
        activation: f, a Keras activation. Default `"relu"`.
        normalization: `"layer"`, `"batch"` or `"none"`. Use `"batch"` only to compare with
            the blog's listing. Default `"layer"`.
        **kwargs: the other arguments of `ControlCell`, with its defaults. `recurrent_dropout`
            drops units of h_{t-1} and v_t in their products with W_h, but not in reads and
            writes of A.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, A_{t-1}]`, (B, H) and (B, H·H). With a half precision
            policy the states and the output are float32.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, A_t]`.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsCell(4), return_state=True)
    >>> output, hidden, fast_weights = layer(np.ones((2, 9, 3), "float32"))
    >>> tuple(output.shape), tuple(fast_weights.shape)
    ((2, 4), (2, 16))
    """

    def __init__(
        self,
        units: int,
        inner_steps: int = defaults.INNER_STEPS,
        decay_rate: float = defaults.DECAY_RATE,
        fast_learning_rate: float = defaults.FAST_LEARNING_RATE,
        epsilon: float = defaults.EPSILON,
        recurrence: str = defaults.RECURRENCES[0],
        activation: Activation = "relu",
        normalization: str = defaults.NORMALIZATIONS[0],
        **kwargs: Any,
    ):
        inner_steps = check_integer("inner_steps", inner_steps, low=0)
        decay_rate = check_number("decay_rate", decay_rate, high=1)
        fast_learning_rate = check_number("fast_learning_rate", fast_learning_rate)
        epsilon = check_number("epsilon", epsilon)
        recurrence = check_choice("recurrence", recurrence, defaults.RECURRENCES)
        normalization = check_choice("normalization", normalization, defaults.NORMALIZATIONS)
        # No autocast: A must stay in float32.
        super().__init__(units, activation, **{**kwargs, "autocast": False})
        self.inner_steps = inner_steps
        self.decay_rate = decay_rate
        self.fast_learning_rate = fast_learning_rate
        self.epsilon = epsilon
        self.recurrence = recurrence
        self.normalization = normalization

    @property
    def state_size(self) -> list[int]:
        """The sizes of the states: [H, H·H]."""
        return [self.units, self.units**2]

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        self.add_slow_weights(input_shape, columns=self.units)
        self.gamma = self.beta = None
        if self.normalization != "none":
            self.gamma, self.beta = self.add_gain_and_bias()

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        one = self.trace_step(projected, states, recurrent_mask)
        # `keras.layers.StackedRNNCells` may keep the states in another precision.
        hidden = ops.cast(one.hidden, states[0].dtype)
        memory = ops.reshape(one.memory, (-1, self.units**2))
        return hidden, [hidden, ops.cast(memory, states[1].dtype)]

    def trace_step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> Step:
        """Computes one time step. Returns a `Step`: what it wrote and with which h it read."""
        hidden, memory = (ops.cast(state, self.compute_dtype) for state in states)
        memory = ops.reshape(memory, (-1, self.units, self.units))
        # Preliminary vector.
        recurrent = self.slow_product(drop(hidden, recurrent_mask), self.recurrent_kernel)
        preliminary = self.activation(projected + recurrent)
        # (1) Decay A and write one vector.
        written = preliminary if self.recurrence == "original" else hidden
        outer = written[:, :, None] * written[:, None, :]
        memory = self.decay_rate * memory + self.fast_learning_rate * outer
        # (5) Inner loop: read A while the slow term stays fixed.
        dropped = drop(written, recurrent_mask)
        slow_term = projected + self.slow_product(dropped, self.recurrent_kernel)
        hidden, queries = preliminary, []
        for _ in range(self.inner_steps):
            queries.append(hidden)
            read = ops.squeeze(ops.matmul(hidden[:, None, :], memory), axis=1)
            normal = self.normalize(slow_term + read, self.gamma, self.beta)
            hidden = self.activation(normal)
        return Step(hidden, memory, written, queries)

    def normalize(self, inputs: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Returns LN of `inputs`, (B, H), with a gain and a bias, (H,)."""
        if self.normalization == "layer":
            return layer_normalize(inputs, gamma, beta, self.epsilon)
        if self.normalization == "batch":
            return batch_normalize(inputs, gamma, beta, self.epsilon)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "inner_steps": self.inner_steps,
            "decay_rate": self.decay_rate,
            "fast_learning_rate": self.fast_learning_rate,
            "epsilon": self.epsilon,
            "recurrence": self.recurrence,
            "normalization": self.normalization,
        }
