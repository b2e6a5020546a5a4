"""Trains networks to remember the dictionary or the symbols of a generated sequence.

python examples/translate.py --quick
python examples/translate.py --task=translate --pairs=4 --network=fast-weights
python examples/translate.py --task=copy --network=gru-attention

For `lookup` and `translate`, each sequence has its own dictionary, so the slow weights cannot learn
it. The tasks:

lookup     the encoder reads pairs of a word and its translation, and the decoder reads words:
           k3 v3 k1 v1 | k1 k3 -> v1 v3
translate  the encoder reads pairs and a sentence, and the decoder translates the sentence:
           k3 v3 k1 v1 | k1 k3 k1 -> v1 v3 v1
copy       the decoder repeats a sequence of up to 20 symbols
reverse    the decoder writes such a sequence backwards

Each network is tested with sizes like those of the training, and with twice the pairs or symbols.

The networks are those of `pronounce.py`. The quick run takes about two minutes on two cores: with 8
pairs, fast weights look up nine of ten words, an attention interface all of them, and a GRU without
either one of eight. `docs/language.md` shows the results of 2,000 updates.
"""

import json
import logging
import pathlib
import sys
import time

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fast_weights.experiment import console  # noqa: E402

with console.quiet_import(log_level="3"):  # oneDNN reports each type that it leaves to Eigen
    import keras
    import numpy as np
    from encoder_decoder import END, MAIN, NETWORKS, START, EncoderDecoder, as_list, decode, rows_of

WORDS = 32  # number 3 is the first word; the translations come after the words
SEPARATOR = 3 + 2 * WORDS
NUM_SYMBOLS = SEPARATOR + 1
BATCH_SIZE, NUM_TEST = 128, 2_000
QUICK = ("fast-weights", "gru-attention", "gru")

flags.DEFINE_enum("task", "lookup", ["lookup", "translate", "copy", "reverse"], "the task")
flags.DEFINE_integer("pairs", 8, "pairs in a dictionary", lower_bound=1, upper_bound=WORDS // 2)
flags.DEFINE_enum("network", None, list(NETWORKS), "the network to train; default: the main four")
flags.DEFINE_integer("seed", 0, "seed of the initial weights and of the sequences")
flags.DEFINE_integer("updates", 2_000, "updates of 128 sequences", lower_bound=20)
flags.DEFINE_float("learning_rate", None, "Adam's peak learning rate; default: the network's", 1e-9)
flags.DEFINE_float("decay_rate", 1.0, "λ of fast weights", lower_bound=0, upper_bound=1)
flags.DEFINE_bool("growing", False, "start with small dictionaries and grow them to --pairs")
flags.DEFINE_bool("quick", False, "look up 8 pairs, with 500 updates of three networks")
flags.DEFINE_string("directory", "checkpoints/translate", "directory of the records")
FLAGS = flags.FLAGS


def dictionaries(rng, task, pairs, number):
    """Returns the inputs of the encoder, those of the decoder, and the targets.

    Each is a list of `number` lists of symbols. For `lookup`, the decoder's inputs are the words to
    look up. Otherwise, they are the targets of the step before.
    """
    sources, given, targets = [], [], []
    for _ in range(number):
        words = 3 + rng.permutation(WORDS)[:pairs]
        translations = 3 + WORDS + rng.permutation(WORDS)[:pairs]
        asked = rng.integers(pairs, size=pairs)
        sentence, answers = words[asked].tolist(), translations[asked].tolist()
        source = np.stack([words, translations], axis=1).reshape(-1).tolist()
        if task == "translate":
            source += [SEPARATOR, *sentence]
        sources.append(source)
        given.append(sentence if task == "lookup" else [START, *answers])
        targets.append(answers if task == "lookup" else [*answers, END])
    return sources, given, targets


def repetitions(rng, task, longest, number):
    """Returns sequences of up to `longest` symbols to repeat, in the form of `dictionaries`."""
    sources = [
        rng.integers(3, 3 + WORDS, size=rng.integers(1, longest + 1)).tolist()
        for _ in range(number)
    ]
    answers = [source[:: -1 if task == "reverse" else 1] for source in sources]
    return sources, [[START, *one] for one in answers], [[*one, END] for one in answers]


def make(rng, task, size, number, lengths):
    """Returns a batch, `(encoder inputs, decoder inputs), targets`.

    Args:
        rng: NumPy's random generator.
        task: a value of --task.
        size: the number of pairs, or the length of the longest sequence to repeat.
        number: the number of sequences.
        lengths: those of the encoder's and of the decoder's inputs, with padding.
    """
    kind = dictionaries if task in ("lookup", "translate") else repetitions
    source, given, targets = kind(rng, task, size, number)
    encoder, decoder = lengths
    return (rows_of(source, encoder), rows_of(given, decoder)), rows_of(targets, decoder)


def lengths_of(task, size):
    """Returns the lengths of the encoder's and of the decoder's inputs."""
    encoder = {"lookup": 2 * size, "translate": 3 * size + 1}.get(task, size)
    return encoder, size if task == "lookup" else size + 1


def build(network, task, size):
    """Returns an untrained `EncoderDecoder` for a task."""
    return EncoderDecoder(network, lengths_of(task, size), (NUM_SYMBOLS, NUM_SYMBOLS))


def batches(record, size):
    """Yields training batches of one shape without end. With `growing`, the first are easier."""
    rng = np.random.default_rng(record["seed"])
    lengths = lengths_of(record["task"], size)
    for update in range(sys.maxsize):
        # After half of the updates, all batches are of the full size.
        share = 2 * (update + 1) / record["updates"] if record["growing"] else 1
        now = max(1, min(size, round(share * size)))
        yield make(rng, record["task"], now, BATCH_SIZE, lengths)


def accuracies(model, task, size):
    """Returns the shares of correct symbols and of correct sequences in the test.

    For `lookup`, the decoder reads the words to look up. Otherwise, it reads its own output.
    """
    rng = np.random.default_rng(10**6)
    (source, given), targets = make(rng, task, size, NUM_TEST, lengths_of(task, size))
    if task == "lookup":
        logits, *_ = model.decoder(given.shape[1]).predict_on_batch(
            [given, *as_list(model.encoder.predict_on_batch(source))]
        )
        written = np.argmax(logits, axis=-1)
    else:
        steps = targets.shape[1]
        found = decode(model, source, steps)
        written = rows_of([[*row, END][:steps] for row in found], steps)
    counts = targets != 0
    right = (written == targets) | ~counts
    return right[counts].mean(), right.all(axis=1).mean()


def train(name):
    """Trains and tests a network. Returns its record."""
    if FLAGS.quick:
        FLAGS.task, FLAGS.pairs, FLAGS.updates = "lookup", 8, 500
    task, size = FLAGS.task, FLAGS.pairs if FLAGS.task in ("lookup", "translate") else 20
    record = {
        "task": task,
        "size": size,
        "network": name,
        "seed": FLAGS.seed,
        "updates": FLAGS.updates,
        "learning_rate": FLAGS.learning_rate or NETWORKS[name].learning_rate,
        "decay_rate": FLAGS.decay_rate,
        "growing": FLAGS.growing,
    }
    changes = {one: record[one] for one in ("learning_rate", "decay_rate")}
    network = NETWORKS[name]._replace(**changes)
    keras.utils.set_random_seed(FLAGS.seed)
    model = build(network, task, size)
    model.compile(record["updates"])
    began = time.perf_counter()
    model.training.fit(
        batches(record, size),
        steps_per_epoch=record["updates"] // 10,
        epochs=10,  # of equal length, to show progress
        shuffle=False,
        verbose=2,
    )
    record["minutes"] = round((time.perf_counter() - began) / 60, 2)
    for suffix, test_size in (("", size), (" of twice the size", 2 * size)):
        tested = build(network, task, test_size)
        tested.training.set_weights(model.training.get_weights())
        symbols, whole = accuracies(tested, task, test_size)
        record |= {f"symbols{suffix}": float(symbols), f"whole{suffix}": float(whole)}
    return record


def main():
    """Trains networks, prints their results and saves them."""
    # TensorFlow mistakes the functions of several networks for one, and warns of retracing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    print(f"{'network':20} {'minutes':>8} {'symbols':>8} {'sequences':>10} {'symbols, 2 x':>13}")
    for name in [FLAGS.network] if FLAGS.network else QUICK if FLAGS.quick else MAIN:
        record = train(name)
        path = pathlib.Path(FLAGS.directory, f"{record['task']}-{name}-seed{FLAGS.seed}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        print(
            f"{name:20} {record['minutes']:8.1f} {record['symbols']:8.2%} "
            f"{record['whole']:10.2%} {record['symbols of twice the size']:13.2%}",
            flush=True,
        )


if __name__ == "__main__":
    console.run(main, on_interrupt="Interrupted. The records of finished networks are saved.")
