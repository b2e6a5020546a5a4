"""TensorBoard: the scalars of each epoch, training and validation under one tag."""

import os
import pathlib
import shutil

import tensorflow as tf

from fast_weights.results import Record

# Sibling runs with the same tags: TensorBoard then draws them into one chart.
RUNS = ("training", "validation")


class Summaries:
    """Writes one step an epoch to `<folder>/training` and `<folder>/validation`."""

    def __init__(self, folder):
        self._training, self._validation = (
            tf.summary.create_file_writer(str(pathlib.Path(folder) / run)) for run in RUNS
        )

    def write(self, record: Record) -> None:
        """Writes an epoch's scalars and waits until they are on disk."""
        with self._training.as_default(step=record.epoch):
            tf.summary.scalar("loss", record.train_loss)
            tf.summary.scalar("accuracy", record.train_accuracy)
            tf.summary.scalar("gradient_norm", record.gradient_norm)
            tf.summary.scalar("seconds", record.seconds)
        with self._validation.as_default(step=record.epoch):
            tf.summary.scalar("loss", record.valid_loss)
            tf.summary.scalar("accuracy", record.valid_accuracy)
        self._training.flush()
        self._validation.flush()

    def close(self) -> None:
        """Closes the event files."""
        self._training.close()
        self._validation.close()


def truncate(folder, num_epochs: int) -> None:
    """Drops what was written after the first `num_epochs` epochs, so that no step is doubled.

    An epoch's events reach the disk before its checkpoint does: a run stopped
    between the two repeats that epoch.
    """
    for run in RUNS:
        if num_epochs == 0:
            shutil.rmtree(pathlib.Path(folder) / run, ignore_errors=True)
            continue
        for path in pathlib.Path(folder).glob(f"{run}/*.tfevents.*"):
            events, is_whole = _read_events(path)
            kept = [event for event in events if event.step < num_epochs]
            if is_whole and len(kept) == len(events):
                continue
            temporary = path.with_name("partial")
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for event in kept:
                    writer.write(event.SerializeToString())
            os.replace(temporary, path)


def _read_events(path) -> tuple[list, bool]:
    """The events of a file, and whether the file ends where a record does."""
    events = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            events.append(tf.compat.v1.Event.FromString(record.numpy()))
    except tf.errors.DataLossError:
        return events, False
    return events, True
