"""An encoder and a decoder, with fast weights or with an attention interface between them.

`pronounce.py` and `translate.py` train them. The encoder reads a sequence of symbols. The decoder
starts from the states of the encoder and writes another sequence. With fast weights, the states are
h and A. By equation 4 of the paper, a read of A attends to every vector that the encoder has
written, so A is the attention interface.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

import fast_weights
from fast_weights import trace_memory

PAD, START, END = 0, 1, 2  # the first symbols of both vocabularies
EMBEDDING = 64


class Network(NamedTuple):
    """The settings of an encoder-decoder.

    Attributes:
        layer: `"FastWeights"` or `"LayerNormRNN"` of this library, or `"GRU"` or `"LSTM"` of Keras.
        units: H of each recurrent layer.
        learning_rate: the peak of Adam's learning rate.
        attention: the attention interface: `"dot"`, `"additive"` or `""` for none.
        handed: the numbers of the encoder's states that the decoder starts from. Zeros replace the
            other states.
        decay_rate: λ of fast weights.
        writes: whether the decoder adds to A.
        is_shared: whether the encoder and the decoder are one layer.
    """

    layer: str
    units: int
    learning_rate: float = 1e-2
    attention: str = ""
    handed: tuple[int, ...] = (0, 1)
    decay_rate: float = 0.95
    writes: bool = True
    is_shared: bool = False


# With the symbols of `pronounce.py`, each has about 60,000 parameters. Of the learning rates that
# `benchmarks/language.py` tries, those of `MAIN`, "lstm" and "gru-additive" have the fewest errors
# on the validation words.
NETWORKS = {
    "fast-weights": Network("FastWeights", 91, 2e-2),
    "gru-attention": Network("GRU", 44, attention="dot"),
    "gru": Network("GRU", 46),
    "lstm-attention": Network("LSTM", 37, 2e-2, attention="dot"),
    "lstm": Network("LSTM", 39, 2e-2),
    "gru-additive": Network("GRU", 43, attention="additive"),
    "rnn-ln": Network("LayerNormRNN", 91, 5e-3),
    "only-A": Network("FastWeights", 91, 2e-2, handed=(1,)),
    "only-h": Network("FastWeights", 91, 2e-2, handed=(0,)),
    "read-only": Network("FastWeights", 91, 2e-2, writes=False),
    "shared": Network("FastWeights", 185, 2e-2, is_shared=True),
}
MAIN = ("fast-weights", "gru-attention", "gru", "lstm-attention")


class EncoderDecoder:
    """The layers of a network, and the models that consist of them.

    Args:
        network: a `Network`.
        lengths: T and U, of the encoder's sequences and of the decoder's.
        sizes: the number of symbols of the encoder and of the decoder.
        is_bidirectional: whether the encoder also gets the outputs of a layer that reads the
            sequence backwards, so that it knows the symbols after each symbol.

    Attributes:
        encoder: a model from symbols, (B, T), to the states that the decoder starts from. With an
            attention interface, it also returns the output at every symbol and the mask.
        training: a model from symbols and the decoder's inputs, (B, U), to logits, (B, U, V).
    """

    def __init__(self, network, lengths, sizes, is_bidirectional=True):
        def recurrent(name, **settings):
            module = keras.layers if network.layer in ("GRU", "LSTM") else fast_weights
            if network.layer == "FastWeights":
                settings["decay_rate"] = network.decay_rate
            settings = {"return_sequences": True, "return_state": True, "name": name, **settings}
            return getattr(module, network.layer)(network.units, **settings)

        # With Keras's default, ±0.05, fast weights start to learn much later.
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.network = network
        self.read = keras.layers.Embedding(sizes[0], EMBEDDING, uniform, name="letters")
        self.feed = keras.layers.Embedding(sizes[1], EMBEDDING, uniform, name="phonemes")
        # A shared layer needs inputs of equal size in both parts, so it gets the embedding alone.
        is_bidirectional = is_bidirectional and not network.is_shared
        self.backward = recurrent("backward", go_backwards=True) if is_bidirectional else None
        self.forward = recurrent("encoder")
        settings = {} if network.writes else {"fast_learning_rate": 0.0}
        self.layer = self.forward if network.is_shared else recurrent("decoder", **settings)
        kinds = {"dot": keras.layers.Attention, "additive": keras.layers.AdditiveAttention}
        self.attention = kinds[network.attention](name="attention") if network.attention else None
        self.mix = keras.layers.Dense(network.units, "tanh", name="mix")
        self.logits = keras.layers.Dense(sizes[1], name="logits")
        symbols = keras.Input(lengths[:1], dtype="int32", name="source")
        self.encoder = keras.Model(symbols, self._encode(symbols), name="encoder_model")
        decoder = self.decoder(lengths[1])
        logits, *_ = decoder([decoder.inputs[0], *self.encoder(symbols)])
        self.training = keras.Model([symbols, decoder.inputs[0]], logits, name="training_model")

    def features(self, symbols):
        """Returns the inputs of the encoder, (B, T, D), and the mask of the symbols."""
        # An explicit mask, because the age of a vector in A must not count padding.
        mask, read = ops.not_equal(symbols, PAD), self.read(symbols)
        if not self.backward:
            return read, mask
        # With `go_backwards`, the outputs are in reverse order.
        outputs = ops.flip(self.backward(read, mask=mask)[0], axis=1)
        return ops.concatenate([read, outputs], axis=-1), mask

    def _encode(self, symbols):
        features, mask = self.features(symbols)
        outputs, *states = self.forward(features, mask=mask)
        for i, state in enumerate(states):
            if i not in self.network.handed:
                states[i] = ops.zeros_like(state)
        return [*states, outputs, mask] if self.attention else states

    def decoder(self, length):
        """Returns a model of `length` steps of the decoder.

        The model takes symbols, (B, length), and the results of the encoder. It returns logits,
        (B, length, V), and in place of the encoder's results those to pass to the next call.
        """
        symbols = keras.Input((length,), dtype="int32", name="written")
        given = [keras.Input(one.shape[1:], dtype=one.dtype) for one in self.encoder.outputs]
        source = given[-2:] if self.attention else []
        states = given[: len(given) - len(source)]
        outputs, *states = self.layer(self.feed(symbols), initial_state=states)
        if self.attention:
            values, mask = source
            read = self.attention([outputs, values], mask=[None, mask])
            outputs = self.mix(ops.concatenate([read, outputs], axis=-1))
        return keras.Model([symbols, *given], [self.logits(outputs), *states, *source])

    def compile(self, updates, **settings):
        """Compiles `training` with Adam and a learning rate that warms up and decays.

        Args:
            updates: the number of updates of the whole training.
            **settings: other arguments of `compile`.
        """
        warmup, peak = min(200, updates // 10), self.network.learning_rate
        rate = keras.optimizers.schedules.CosineDecay(
            peak / 20, updates - warmup, alpha=0.01, warmup_target=peak, warmup_steps=warmup
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD)
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
        self.training.compile(optimizer, loss, jit_compile=True, **settings)


def rows_of(lists, length):
    """Returns lists of numbers as an array, (N, length), with `PAD` after their ends."""
    return np.array([one + [PAD] * (length - len(one)) for one in lists], "int32")


def as_list(results):
    """Returns the results of a model as a list, also if the model has a single output."""
    return list(results) if isinstance(results, list | tuple) else [results]


def decode(model, symbols, steps, beam=1):
    """Decodes sequences one symbol at a time, from the results of the encoder.

    Args:
        model: a trained `EncoderDecoder`.
        symbols: the inputs of the encoder, (N, T).
        steps: the largest number of symbols to write.
        beam: the number of candidates to keep after each symbol. With 1, decoding is greedy.

    Returns:
        A list of N lists of symbols: the most probable sequence found for each input.
    """
    step, results = model.decoder(1), []
    for start in range(0, len(symbols), 500):
        states = as_list(model.encoder.predict_on_batch(symbols[start : start + 500]))
        number = len(states[0])
        states = [np.repeat(one, beam, axis=0) for one in states]
        written = np.full((number, beam, 1), START)
        # All candidates of an example start equal. Without -inf, the beam would hold copies of one.
        scores = np.where(np.arange(beam) == 0, 0.0, -np.inf) + np.zeros((number, 1))
        for _ in range(steps):
            last = written[:, :, -1]
            logits, *states = step.predict_on_batch([last.reshape(-1, 1), *states])
            added = ops.convert_to_numpy(ops.log_softmax(logits[:, 0])).reshape(number, beam, -1)
            # A finished candidate must not change, so only `END` may follow, at no cost.
            only_end = np.where(np.arange(added.shape[2]) == END, 0.0, -np.inf)
            added = np.where(last[:, :, None] == END, only_end, added)
            added[:, :, [PAD, START]] = -np.inf
            totals = (scores[:, :, None] + added).reshape(number, -1)
            best = np.argsort(-totals, axis=1)[:, :beam]
            scores = np.take_along_axis(totals, best, axis=1)
            parents, chosen = np.divmod(best, added.shape[2])
            kept = np.take_along_axis(written, parents[:, :, None], axis=1)
            written = np.concatenate([kept, chosen[:, :, None]], axis=2)
            rows = (np.arange(number)[:, None] * beam + parents).reshape(-1)
            states = [one[rows] for one in states]
        best = written[:, 0, 1:].tolist()
        results += [row[: row.index(END)] if END in row else row for row in best]
    return results


def alignment(model, symbols, written):
    """Returns how strongly each step of the decoder reads each symbol of the encoder, (B, U, T).

    With fast weights, this is the weight of the symbol's vector v in a read, η λ^age (h · v) of
    equation 4, where h is the query. The age counts the symbols after v and the steps of the
    decoder. With an attention interface, it is the softmax.

    Args:
        model: a trained `EncoderDecoder`.
        symbols: the inputs of the encoder, (B, T).
        written: the inputs of the decoder, (B, U).
    """
    features, mask = model.features(symbols)
    states = as_list(model.encoder(symbols))
    inputs = model.feed(written)
    if model.attention:
        outputs, *_ = model.layer(inputs, initial_state=states[:-2])
        pair, masks = [outputs, states[-2]], [None, states[-1]]
        _, scores = model.attention(pair, mask=masks, return_attention_scores=True)
        return ops.convert_to_numpy(scores)
    encoder = trace_memory(model.forward, features, mask)
    decoder = trace_memory(model.layer, inputs, initial_state=states)
    # The query of a step is the vector that it writes: recurrence="original" and S = 1.
    products = ops.convert_to_numpy(decoder.written @ ops.swapaxes(encoder.written, 1, 2))
    mask, cell = ops.convert_to_numpy(mask), model.forward.cell
    later = mask.sum(axis=1, keepdims=True) - mask.cumsum(axis=1)
    age = later[:, None] + np.arange(1, written.shape[1] + 1)[None, :, None]
    return cell.fast_learning_rate * cell.decay_rate**age * products * mask[:, None]
