"""TensorBoard: what a run shows of itself, as it learns.

A model's folder is one run, which describes itself, and holds two more with the
same tags, `training` and `validation`, so that one chart compares them. The step of
every event is the number of epochs done: 0 is before training.
"""

import dataclasses
import os
import pathlib
import zlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.plugins.hparams import api as hparams

from fast_weights import data, figures, files, sampling
from fast_weights.config import Config
from fast_weights.results import Record

RUNS = ("training", "validation")
EVENT_FILES = "*.tfevents.*"
# Sequences whose hidden states are counted in the histogram.
NUM_HIDDEN = 128
# Symbols whose probability the probe's text shows.
NUM_ANSWERS = 5
PASSED = 0.99
# More than any graph, picture or histogram here has.
MAX_EVENT_BYTES = 10**8
METRICS = (
    hparams.Metric("best_accuracy", display_name="best validation accuracy"),
    hparams.Metric("epochs_to_99_percent", display_name="epochs to 99 %"),
)


class Summaries:
    """Writes the events of one run; each method waits until they are on disk.

    Args:
        folder: the model's; events go to it, to `training/` and to `validation/`.
        config: the settings.
        model: the model in training.
        validation: the sequences of the histogram of hidden states.
    """

    def __init__(self, folder, config: Config, model: keras.Model, validation: data.Split):
        self._config = config
        self._model = model
        self._some_tokens = validation.tokens[:NUM_HIDDEN].astype(np.int32)
        self._probe = data.default_sample(config.num_pairs)
        self._folders = [pathlib.Path(folder) / run for run in ("", *RUNS)]
        self._run, self._training, self._validation = (
            tf.summary.create_file_writer(str(path)) for path in self._folders
        )

    def describe(self) -> None:
        """Writes what does not change: settings, hyperparameters, graph."""
        settings = dataclasses.asdict(self._config)
        tokens = tf.TensorSpec((None, self._config.sequence_length), tf.int32)
        graph = tf.function(self._model).get_concrete_function(tokens).graph
        with self._run.as_default(step=0):
            tf.summary.text("configuration", _settings_table(self._config))
            hparams.hparams_config([hparams.HParam(name) for name in settings], METRICS)
            # A readable name, and settings that differ tell trials apart.
            digest = zlib.crc32(self._config.to_json().encode())
            name = f"{self._config.model_name}-{self._config.seed} {digest:08x}"
            hparams.hparams(settings, trial_id=name)
            tf.summary.graph(graph)
        self._sync()

    def write(self, record: Record, pair_accuracies: list[float], records: list[Record]) -> None:
        """Writes an epoch's scalars.

        Args:
            record: of the epoch.
            pair_accuracies: validation accuracy of the sequences that ask for each
                pair, K fractions; NaN where none does.
            records: of all epochs, this one included.
        """
        steps = record.epoch + 1
        with self._training.as_default(step=steps):
            tf.summary.scalar("loss", record.train_loss)
            tf.summary.scalar("accuracy", record.train_accuracy)
            tf.summary.scalar("gradient_norm", record.gradient_norm)
            size = self._config.num_training + self._config.num_validation
            tf.summary.scalar("sequences_per_second", size / max(record.seconds, 1e-3))
        with self._validation.as_default(step=steps):
            tf.summary.scalar("loss", record.valid_loss)
            tf.summary.scalar("accuracy", record.valid_accuracy)
            for pair, accuracy in enumerate(pair_accuracies, start=1):
                if not np.isnan(accuracy):
                    tf.summary.scalar(f"accuracy_by_pair/pair_{pair}", accuracy)
        with self._run.as_default(step=steps):
            accuracies = [one.valid_accuracy for one in records]
            tf.summary.scalar("best_accuracy", max(accuracies))
            if accuracies[-1] >= PASSED and max(accuracies[:-1], default=0) < PASSED:
                tf.summary.scalar("epochs_to_99_percent", steps)
        self._sync()

    def look(self, steps: int, with_probe: bool) -> None:
        """Writes what the weights are and do: histograms, pictures and the probe's answer.

        Args:
            steps: epochs done.
            with_probe: whether the probe's pictures and answer are among it.
        """
        with self._run.as_default(step=steps):
            for layer in self._model.layers:
                for weight in layer.weights:
                    tf.summary.histogram(f"slow_weights/{layer.name}/{weight.name}", weight)
            hidden = sampling.hidden_states(self._model, self._some_tokens)
            tf.summary.histogram("hidden_state", hidden)
            if with_probe:
                self._look_at_probe()
        self._sync()

    def _look_at_probe(self) -> None:
        """Writes one sequence's memory, in pictures, and the answer to it."""
        watched = sampling.watch(self._model, self._probe, self._config.num_pairs)
        pictures = {"hidden_state": figures.hidden_figure}
        if watched.fast_weights is not None:
            pictures["fast_weights"] = figures.strip_figure
        if watched.attention is not None and watched.attention.size:
            pictures["attention"] = figures.attention_figure
        for name, draw in pictures.items():
            tf.summary.image(f"probe/{name}", figures.to_pixels(draw(watched))[None])
        tf.summary.text("probe", _answers_table(watched))

    def _sync(self) -> None:
        """Waits for what TensorFlow has handed to the operating system."""
        for folder in self._folders:
            for path in folder.glob(EVENT_FILES):
                files.sync(path)
            files.sync(folder)

    def close(self) -> None:
        """Closes the event files."""
        for writer in (self._run, self._training, self._validation):
            writer.close()


def _settings_table(config: Config) -> str:
    """Every setting, in Markdown."""
    rows = [
        f"| {field.name} | {getattr(config, field.name)} | {field.metadata['help']} |"
        for field in dataclasses.fields(config)
    ]
    return "\n".join(["| setting | value | |", "|---|---|---|", *rows])


def _answers_table(watched: sampling.Watched) -> str:
    """The likeliest answers to the probe, in Markdown."""
    likeliest = np.argsort(-watched.probabilities, kind="stable")[:NUM_ANSWERS]
    rows = [f"| {data.decode([i])} | {watched.probabilities[i]:.2%} |" for i in likeliest]
    head = f"`{watched.text}` → `{watched.prediction}`\n"
    return "\n".join([head, "| answer | probability |", "|---|---|", *rows])


def truncate(folder, num_epochs: int, say: Callable[[str], None] = print) -> None:
    """Drops what was written after the first `num_epochs` epochs, so that no step is doubled.

    An epoch's events reach the disk before its checkpoint does: a run stopped
    between the two repeats that epoch. What `describe` writes is dropped too: it is
    written anew each time that training goes on.

    Args:
        folder: the model's.
        num_epochs: how many epochs are done.
        say: called with a line if events are missing: a file was broken, or deleted.
    """
    folder = pathlib.Path(folder)
    if num_epochs == 0:
        for path in folder.glob(EVENT_FILES):
            files.remove(path)
        for path in (folder / run for run in RUNS):
            # A file where a folder should be is somebody's.
            if path.is_symlink() or path.is_dir():
                files.remove(path)
        return
    for run in ("", *RUNS):
        steps = set()
        for path in (folder / run).glob(EVENT_FILES):
            events, is_whole = _read_events(path)
            kept = [one for one in events if one.step <= num_epochs and not _describes(one)]
            steps.update(event.step for event in kept)
            if len(kept) < len(events) or not is_whole:
                with files.replacing(path) as new, tf.io.TFRecordWriter(str(new)) as writer:
                    for event in kept:
                        writer.write(event.SerializeToString())
        lost = num_epochs - len(steps & set(range(1, num_epochs + 1)))
        if lost:
            say(f"TensorBoard lacks {lost} of the {num_epochs} epochs of {folder / run}")


def _describes(event) -> bool:
    """Whether `Summaries.describe` wrote the event."""
    return event.WhichOneof("what") == "graph_def" or any(
        value.tag == "configuration" or value.tag.startswith("_hparams_/")
        for value in event.summary.value
    )


def _read_events(path) -> tuple[list, bool]:
    """The events of a file up to where it is broken, and whether it is whole."""
    events = []
    try:
        files.check_regular(path)
        number, is_whole = _count_records(path)
        for record in tf.data.TFRecordDataset(str(path)).take(number):
            events.append(tf.compat.v1.Event.FromString(record.numpy()))
    except (tf.errors.DataLossError, DecodeError, ValueError):
        return events, False
    return events, is_whole


def _count_records(path) -> tuple[int, bool]:
    """How many records a file can have by the sizes that they claim, and whether they fill it.

    TensorFlow takes memory for what a record claims before it looks whether it is there,
    and the process ends where there is not so much.
    """
    number = place = 0
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while place < end:
            size = int.from_bytes(file.read(8), "little")
            place += 8 + 4 + size + 4  # with a CRC of the size and one of the content
            if not 0 < size <= MAX_EVENT_BYTES or place > end:
                return number, False
            file.seek(place)
            number += 1
    return number, True
