"""Asking a trained model: `g5o8k1??g` -> `5`, and watching its memory meanwhile."""

import dataclasses

import keras
import numpy as np

from fast_weights import data
from fast_weights.errors import UserError
from fast_weights.memory_trace import trace_memory

# Sequences whose A is in memory at a time.
TRACE_BATCH = 1_000


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a model did with one sequence of T symbols, as NumPy arrays."""

    text: str
    probabilities: np.ndarray
    """(37,): of each symbol as the answer."""
    hidden: np.ndarray
    """(T, H): the state after each step."""
    fast_weights: np.ndarray | None
    """(T, H, H): A as each step read it; `None` of a model that keeps none."""
    attention: np.ndarray | None
    """(T, S, T): how much of the vector of symbol τ the inner step s of step t read.

    The vector of a symbol is the one that is written for it: at its own step, or with the
    paper's recurrence, the state after it, at the next.
    """

    @property
    def prediction(self) -> str:
        """The likeliest symbol."""
        return data.decode([np.argmax(self.probabilities)])

    def probability_of(self, symbol: str) -> float:
        """Of one symbol as the answer."""
        return float(self.probabilities[data.encode(symbol)[0]])


def watch(model: keras.Model, text: str, num_pairs: int) -> Watched:
    """Takes one sequence through a model and keeps what it did.

    Args:
        model: from tokens to logits.
        text: such as `g5o8k1??g`.
        num_pairs: K, how many pairs the model was trained on.

    Raises:
        UserError: if the text is no such sequence.
    """
    tokens = data.encode_sample(text, num_pairs)[None].astype(np.int32)
    fast_weights = attention = None
    if keeps_fast_weights(model):
        trace = _trace(model, tokens)
        fast_weights = keras.ops.convert_to_numpy(trace.fast_weights)[0]
        attention = _attention_by_symbol(model, trace)[0]
    logits = model(tokens, training=False)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
    return Watched(text, probabilities, hidden_states(model, tokens)[0], fast_weights, attention)


def hidden_states(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """The state of a model's recurrent layer after every step.

    Args:
        model: from tokens to logits.
        tokens: (B, T) int32.

    Returns:
        (B, T, H).
    """
    cell = model.get_layer("rnn").cell
    inputs = keras.ops.one_hot(tokens, data.NUM_CLASSES)
    states, hidden = cell.get_initial_state(batch_size=len(tokens)), []
    for t in range(tokens.shape[1]):
        output, states = cell(inputs[:, t], states)
        hidden.append(output)
    return keras.ops.convert_to_numpy(keras.ops.stack(hidden, axis=1))


def keeps_fast_weights(model: keras.Model) -> bool:
    """Whether the model is an RNN-LN-FW."""
    return hasattr(model.get_layer("rnn").cell, "fast_weights")


def mean_attention(model: keras.Model, split: data.Split) -> np.ndarray:
    """How much step t reads of symbol τ, averaged over the sequences that ask for each pair.

    Args:
        model: from tokens to logits, an RNN-LN-FW.
        split: N sequences of K pairs.

    Returns:
        (K, T, T), summed over the inner steps.

    Raises:
        UserError: if no sequence asks for one of the pairs.
    """
    num_sequences, length = split.tokens.shape
    asked = data.asked_pair(split.tokens)
    missing = sorted(set(range((length - 3) // 2)) - set(asked.tolist()))
    if missing:
        raise UserError(
            f"none of the {num_sequences} sequences asks for pair {missing[0] + 1}; "
            "a larger --num_validation has one that does"
        )
    sums = np.zeros(((length - 3) // 2, length, length))
    for start in range(0, num_sequences, TRACE_BATCH):
        part = slice(start, start + TRACE_BATCH)
        trace = _trace(model, split.tokens[part].astype(np.int32))
        attention = _attention_by_symbol(model, trace).sum(axis=2)
        np.add.at(sums, asked[part], attention)
    return sums / np.bincount(asked, minlength=len(sums))[:, None, None]


def _trace(model, tokens):
    """The model's memory over tokens, (B, T)."""
    return trace_memory(model.get_layer("rnn"), keras.ops.one_hot(tokens, data.NUM_CLASSES))


def _attention_by_symbol(model, trace) -> np.ndarray:
    """(B, T, S, T): the trace's attention, by the symbol whose vector it is to."""
    attention = keras.ops.convert_to_numpy(trace.attention)
    if model.get_layer("rnn").cell.recurrence == "paper":
        # Step τ wrote the state after symbol τ - 1; the first, the zeros before it.
        attention = np.roll(attention, -1, axis=-1)
    return attention


def predict(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """The most likely token after each sequence: (N, T) to (N,), ints from 0 to 36."""
    logits = model.predict(tokens.astype(np.int32), batch_size=1024, verbose=0)
    return np.argmax(logits, axis=-1)


def predict_text(model: keras.Model, text: str, num_pairs: int) -> str:
    """The model's answer to one sequence, a symbol.

    Args:
        model: from tokens to logits.
        text: such as `g5o8k1??g`.
        num_pairs: K, how many pairs the model was trained on.

    Raises:
        UserError: if the text is no such sequence.
    """
    tokens = data.encode_sample(text, num_pairs)
    return data.decode(predict(model, tokens[None]))


def accuracy_by_pair(model: keras.Model, split: data.Split) -> tuple[float, list[float]]:
    """Accuracy over all sequences, and over those that ask for each pair.

    Args:
        model: from tokens to logits.
        split: N sequences of K pairs.

    Returns:
        A fraction, and a list of K fractions (NaN where no sequence asks).
    """
    right = predict(model, split.tokens) == split.targets
    asked = data.asked_pair(split.tokens)
    num_pairs = (split.tokens.shape[1] - 3) // 2
    by_pair = [
        float(right[asked == pair].mean()) if (asked == pair).any() else float("nan")
        for pair in range(num_pairs)
    ]
    return float(right.mean()), by_pair
