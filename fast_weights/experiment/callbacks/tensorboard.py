"""A callback that writes everything for TensorBoard.

A run directory is a TensorBoard run, with the settings, the snapshots and the graph. Its
subdirectories `training/` and `validation/` are also runs. They share tags, so that one chart
compares them. The run `trial/` is a row of the HParams page, whose metrics are all its scalars.
The step of an event is the number of completed epochs. Step 0 is before training.

Events are appended. If an epoch is repeated after an interruption, its events are written twice.
TensorBoard shows them once.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import time

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from fast_weights.experiment import evaluation, plots
from fast_weights.experiment.callbacks.records import Records
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.evaluation import SequenceTrace
from fast_weights.experiment.run_dir import TENSORBOARD_RUNS
from fast_weights.experiment.tasks import Split, Task

# Sequences whose hidden states are counted in the histogram.
NUM_HIDDEN = 128
# Answers that the text of the probe lists.
NUM_ANSWERS = 5
LEARNED = 0.99
# The first columns of the HParams page, in this order.
FIRST_SETTINGS = ("model_name", "seed", "learning_rate", "units", "num_pairs")


class TensorBoard(keras.callbacks.Callback):
    """Writes the events of one run, and flushes them after each epoch.

    Args:
        directory: the directory of the run.
        config: the settings.
        validation: sequences for the histogram of hidden states.
        records: the callback that writes the records. `fit` must get it before this one.
        summary_every: epochs between two snapshots of the weights and the memory. Snapshots are
            also written before training and at the end.
    """

    def __init__(
        self,
        directory: str | pathlib.Path,
        config: Config,
        validation: Split,
        records: Records,
        summary_every: int = SUMMARY_EVERY,
    ):
        super().__init__()
        self._directory = directory
        self._config = config
        self._task = config.make_task()
        self._some_tokens = validation.tokens[:NUM_HIDDEN].astype(np.int32)
        self._records = records
        self._summary_every = summary_every
        self._writers: dict = {}

    def on_epoch_begin(self, epoch, logs=None):
        """Before the first epoch, writes the settings and the graph."""
        if self._writers:
            return
        paths = {run: pathlib.Path(self._directory, run) for run in (".", *TENSORBOARD_RUNS)}
        for path in paths.values():
            _put_in_the_past(path)
        with self._write_errors():
            self._writers = {
                # Bytes: a name need not be valid UTF-8.
                run: tf.summary.create_file_writer(os.fsencode(path))
                for run, path in paths.items()
            }
        with self._events() as writers:
            with writers["."].as_default(step=0):
                tf.summary.text("configuration", f"```\n{self._config.to_json()}```")
                tf.summary.graph(_graph_of(self.model, self._task))
            with writers["trial"].as_default(step=0):
                hparams.hparams(_trial_settings(self._config), _trial_name(self._config))
        if epoch == 0:
            self._write_snapshot(0)

    def on_epoch_end(self, epoch, logs=None):
        """Writes the scalars of the epoch, and a snapshot if one is due."""
        record, config = self._records.all[-1], self._config
        accuracies = [one.val_accuracy for one in self._records.all]
        epoch += 1
        with self._events() as writers:
            with writers["training"].as_default(step=epoch):
                tf.summary.scalar("loss", record.train_loss)
                tf.summary.scalar("accuracy", record.train_accuracy)
                if record.gradient_norm is not None:  # a `BlockModel` measures it
                    tf.summary.scalar("gradient_norm", record.gradient_norm)
                rate = (config.num_training + config.num_validation) / max(record.seconds, 1e-3)
                tf.summary.scalar("sequences_per_second", rate)
            with writers["validation"].as_default(step=epoch):
                tf.summary.scalar("loss", record.val_loss)
                tf.summary.scalar("accuracy", record.val_accuracy)
                self._write_groups(logs)
                # Not in `trial`: HParams omits trials that lack a metric of another trial.
                if accuracies[-1] >= LEARNED and max(accuracies[:-1], default=0) < LEARNED:
                    tf.summary.scalar("epochs_to_99_percent", epoch)
            with writers["trial"].as_default(step=epoch):
                tf.summary.scalar("best_accuracy", max(accuracies))
        is_last = self.model.stop_training or epoch == self.params["epochs"]
        if epoch % self._summary_every == 0 or is_last:
            self._write_snapshot(epoch, is_last)

    def on_train_end(self, logs=None):
        # All events are in the files already, so a failure here loses nothing.
        for writer in self._writers.values():
            with contextlib.suppress(tf.errors.OpError):
                writer.close()
        self._writers = {}

    def _write_groups(self, logs):
        """Writes the accuracy of each group, if the task has groups."""
        group = self._task.group
        for number in range(1, self._task.num_groups + 1):
            accuracy = logs.get(f"val_accuracy_{number}", np.nan)
            if group and not np.isnan(accuracy):
                tf.summary.scalar(f"accuracy_by_{group}/{group}_{number}", accuracy)

    def _write_snapshot(self, epoch, is_last=False):
        """Writes histograms of the weights and the hidden state, and the state of the probe."""
        hidden = trace = None
        has_layer = any(
            layer.name == "rnn" for layer in self.model.layers
        )  # not in every own model
        if has_layer:
            hidden = evaluation.hidden_states(self.model, self._task, self._some_tokens)
        if has_layer and (is_last or self._shows_probe(epoch)):
            sample = self._task.default_sample
            trace = evaluation.trace_sequence(self.model, self._task, sample)
        with self._events() as writers, writers["."].as_default(step=epoch):
            for layer in self.model.layers:
                for weight in layer.weights:
                    tf.summary.histogram(f"slow_weights/{layer.name}/{weight.name}", weight)
            if hidden is not None:
                tf.summary.histogram("hidden_state", hidden)
            if trace is not None:
                for name, figure in _probe_figures(trace).items():
                    tf.summary.image(f"probe/{name}", plots.to_pixels(figure)[None])
                tf.summary.text("probe", _answers_table(trace))

    def _shows_probe(self, epoch):
        """Returns whether a snapshot includes the probe.

        The snapshots at epochs 0, 1, 2, 4, 8, … times `summary_every` do, and the last one. More
        would be too many: TensorBoard shows ten images of a tag, picked at random if necessary.
        """
        snapshot = epoch // self._summary_every
        return snapshot & (snapshot - 1) == 0

    @contextlib.contextmanager
    def _events(self):
        """Yields the writers by run, and flushes them at the end."""
        with self._write_errors():
            yield self._writers
            for writer in self._writers.values():
                writer.flush()

    @contextlib.contextmanager
    def _write_errors(self):
        """Turns TensorFlow's write errors, such as a full disk, into an `OSError`."""
        try:
            yield
        except tf.errors.OpError as error:
            # "{{function_node …}} PATH; REASON [Op:…] name:", and sometimes more lines
            line = re.sub(r"{{.*}} | \[Op:.*", "", error.message.partition("\n")[0])
            reason = line.rpartition("; ")[-1]
            raise OSError(errno.EIO, reason, str(self._directory)) from error


def _put_in_the_past(directory: pathlib.Path) -> None:
    """Renames the event files of a directory whose names do not have a time in the past.

    TensorBoard reads the files of a run in the order of their names, and drops the steps of a file
    that sorts before an earlier file, for example after the clock was set back.
    """
    limit, targets = int(time.time()), {}
    for path in sorted(directory.glob("events.out.tfevents.*"), reverse=True):
        if match := re.fullmatch(r"(\D+)(\d+)(\..*)", path.name):
            limit = min(limit - 1, int(match[2]))
            targets[path] = path.with_name(f"{match[1]}{limit:010}{match[3]}")
    for path, target in reversed(targets.items()):  # the oldest first, so none is overwritten
        if target != path:
            os.replace(path, target)


def _probe_figures(trace: SequenceTrace) -> dict:
    """Returns the figures of one sequence by name."""
    figures = {"hidden_state": plots.hidden_figure(trace)}
    if trace.fast_weights is not None:
        figures["fast_weights"] = plots.strip_figure(trace)
        if trace.attention is not None and trace.attention.size:
            figures["attention"] = plots.attention_figure(trace)
    return figures


def _graph_of(model: keras.Model, task: Task) -> tf.Graph:
    """Returns the graph of a model, with a scope for each of its layers."""
    tokens = tf.TensorSpec((None, task.length), tf.int32, name="tokens")
    # The graph of `model` itself would have one more scope around all layers, shown closed.
    return tf.function(model.call).get_concrete_function(tokens).graph


def _trial_settings(config: Config) -> dict:
    """Returns the settings for the HParams page by the names of their columns.

    TensorBoard shows five columns: first settings that differ between the runs, then others, both
    in alphabetical order. Leading spaces, which the page does not show, put `FIRST_SETTINGS` first.
    Declaring columns (`hparams_config`) would fix them for all runs and hide other differences.
    """
    spaces = {name: len(FIRST_SETTINGS) - i for i, name in enumerate(FIRST_SETTINGS)}
    settings = {
        " " * spaces.get(name, 0) + name: value
        for name, value in dataclasses.asdict(config).items()
        if value is not None
    }
    del settings["num_epochs"]  # a run that is extended keeps its trial
    return settings


def _trial_name(config: Config) -> str:
    """Returns the settings that differ from the defaults, the model and the seed.

    TensorBoard cuts long names at the end, and shows runs with the same name as one.
    """
    changes = [f"{name}={value}" for name, value in config.changes().items()]
    return ", ".join([*changes, config.model_name, f"seed {config.seed}"])


def _answers_table(trace: SequenceTrace) -> str:
    """Returns the most likely answers to the last query of a sequence, as a Markdown table."""
    probabilities = trace.probabilities[-1]
    likeliest = np.argsort(-probabilities, kind="stable")[:NUM_ANSWERS]
    rows = [f"| {trace.task.decode([i])} | {probabilities[i]:.2%} |" for i in likeliest]
    head = f"`{trace.text}` → `{trace.prediction}`\n"
    return "\n".join([head, "| answer | probability |", "|---|---|", *rows])
