"""Evaluation of a trained model: its predictions, its accuracy and the trace of one sequence."""

import dataclasses

import keras
import numpy as np

from fast_weights.cells import FastWeightsCell
from fast_weights.experiment import task
from fast_weights.experiment.errors import UserError
from fast_weights.tracing import MemoryTrace, trace_memory

PREDICT_BATCH = 1024
# Smaller: a trace holds A of every step of every sequence.
TRACE_BATCH = 1000


def predict(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """Returns the most likely token after each sequence: (N, T) -> (N,), 0 to 36."""
    logits = model.predict(tokens.astype(np.int32), batch_size=PREDICT_BATCH, verbose=0)
    return np.argmax(logits, axis=-1)


def predict_text(model: keras.Model, text: str, num_pairs: int) -> str:
    """Returns the model's answer to one sequence, a symbol.

    Args:
        model: from tokens to logits.
        text: a sequence such as `g5o8k1??g`.
        num_pairs: K, the number of pairs that the model was trained on.

    Raises:
        UserError: if the text is not such a sequence.
    """
    tokens = task.encode_sample(text, num_pairs)
    return task.decode(predict(model, tokens[None]))


def accuracy_by_pair(model: keras.Model, split: task.Split) -> tuple[float, list[float]]:
    """Returns the accuracy on all sequences, and on those that query each pair.

    Args:
        model: from tokens to logits.
        split: N sequences of K pairs.

    Returns:
        A fraction, and a list of K fractions. A fraction is NaN if no sequence queries the
        pair.
    """
    correct = predict(model, split.tokens) == split.targets
    queried = task.queried_pair(split.tokens)
    by_pair = [
        float(correct[queried == pair].mean()) if (queried == pair).any() else float("nan")
        for pair in range(_num_pairs(split))
    ]
    return float(correct.mean()), by_pair


@dataclasses.dataclass(frozen=True)
class SequenceTrace:
    """The states of a model at every step of one sequence of T symbols, as NumPy arrays.

    Attributes:
        text: the sequence.
        probabilities: (37,), the probability of each symbol as the answer.
        hidden: (T, H), the state after each step.
        fast_weights: (T, H, H), A as each step reads it; `None` for a model without fast
            weights.
        attention: (T, S, T), how much inner step s of step t reads of the vector of symbol τ;
            `None` for a model without fast weights. The vector of a symbol is written at the
            step of the symbol. With `recurrence="paper"`, it is the state after the symbol,
            which is written at the next step.
    """

    text: str
    probabilities: np.ndarray
    hidden: np.ndarray
    fast_weights: np.ndarray | None
    attention: np.ndarray | None

    @property
    def prediction(self) -> str:
        """The most likely symbol."""
        return task.decode([np.argmax(self.probabilities)])

    def probability_of(self, symbol: str) -> float:
        """Returns the probability of one symbol as the answer."""
        return float(self.probabilities[task.encode(symbol)[0]])


def trace_sequence(model: keras.Model, text: str, num_pairs: int) -> SequenceTrace:
    """Runs a model on one sequence and returns its state at every step.

    Args:
        model: from tokens to logits.
        text: a sequence such as `g5o8k1??g`.
        num_pairs: K, the number of pairs that the model was trained on.

    Raises:
        UserError: if the text is not such a sequence.
    """
    tokens = task.encode_sample(text, num_pairs)[None].astype(np.int32)
    logits = model(tokens, training=False)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
    hidden = hidden_states(model, tokens)[0]
    if not has_fast_weights(model):
        return SequenceTrace(text, probabilities, hidden, None, None)
    trace = _trace(model, tokens)
    fast_weights = keras.ops.convert_to_numpy(trace.fast_weights)[0]
    attention = _attention_by_symbol(model, trace)[0]
    return SequenceTrace(text, probabilities, hidden, fast_weights, attention)


def hidden_states(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """Returns the state of the recurrent layer after every step: (B, T) -> (B, T, H)."""
    cell = model.get_layer("rnn").cell
    inputs = keras.ops.one_hot(tokens, task.NUM_CLASSES)
    states, hidden = cell.get_initial_state(batch_size=len(tokens)), []
    for t in range(tokens.shape[1]):
        output, states = cell(inputs[:, t], states)
        hidden.append(output)
    return keras.ops.convert_to_numpy(keras.ops.stack(hidden, axis=1))


def has_fast_weights(model: keras.Model) -> bool:
    """Returns whether the recurrent layer of a model has fast weights."""
    return isinstance(model.get_layer("rnn").cell, FastWeightsCell)


def mean_attention(model: keras.Model, split: task.Split) -> np.ndarray:
    """Returns the mean attention of the sequences that query each pair.

    Args:
        model: an RNN-LN-FW, from tokens to logits.
        split: N sequences of K pairs.

    Returns:
        (K, T, T): for each pair, how much step t reads of the vector of symbol τ, summed over
        the inner steps.

    Raises:
        UserError: if no sequence queries one of the pairs.
    """
    num_sequences, length = split.tokens.shape
    queried = task.queried_pair(split.tokens)
    counts = np.bincount(queried, minlength=_num_pairs(split))
    if not counts.all():
        raise UserError(
            f"no validation sequence queries pair {np.argmin(counts) + 1}. Train with a larger "
            f"--num_validation. Received: num_validation={num_sequences}"
        )
    sums = np.zeros((len(counts), length, length))
    for start in range(0, num_sequences, TRACE_BATCH):
        part = slice(start, start + TRACE_BATCH)
        trace = _trace(model, split.tokens[part].astype(np.int32))
        np.add.at(sums, queried[part], _attention_by_symbol(model, trace).sum(axis=2))
    return sums / counts[:, None, None]


def _num_pairs(split: task.Split) -> int:
    return (split.tokens.shape[1] - 3) // 2


def _trace(model: keras.Model, tokens: np.ndarray) -> MemoryTrace:
    """Returns the trace of the model's memory over tokens, (B, T)."""
    return trace_memory(model.get_layer("rnn"), keras.ops.one_hot(tokens, task.NUM_CLASSES))


def _attention_by_symbol(model: keras.Model, trace: MemoryTrace) -> np.ndarray:
    """Returns the attention of a trace by the symbol whose vector is read, (B, T, S, T)."""
    attention = keras.ops.convert_to_numpy(trace.attention)
    if model.get_layer("rnn").cell.recurrence == "paper":
        # Step τ writes the state after symbol τ - 1. The first step writes zeros.
        attention = np.roll(attention, -1, axis=-1)
    return attention
