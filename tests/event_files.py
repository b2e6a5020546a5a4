"""Reads the event files that a run writes for TensorBoard."""

import tensorflow as tf

from fast_weights.experiment.run_dir import TENSORBOARD_RUNS

# The values of these depend on the clock.
TIMED = ("sequences_per_second", "_hparams_/session_start_info")


def events(run_dir):
    """Returns `{(run, tag): [(step, value)]}`; the run is `"."` or a subdirectory."""
    found = {}
    for run in (".", *TENSORBOARD_RUNS):
        for path in sorted((run_dir.path / run).glob("*.tfevents.*")):
            for event in _read(path):
                if event.WhichOneof("what") == "graph_def":
                    found.setdefault((run, "graph"), []).append((event.step, event.graph_def))
                for value in event.summary.value:
                    content = value.metadata.plugin_data.content
                    if not value.tag.startswith("_hparams_/"):
                        content = tf.make_ndarray(value.tensor).tolist()
                    found.setdefault((run, value.tag), []).append((event.step, content))
    return found


def _read(path):
    """Yields the events of a file. A process that is killed leaves an incomplete last one."""
    try:
        for serialized in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(serialized.numpy())
    except tf.errors.DataLossError:
        return


def curves(run_dir):
    """Returns `{(run, tag): {step: value}}`.

    A step that a resumed run has repeated must have its value of before. Values that depend on
    the clock are omitted, and so is the graph, whose names TensorFlow numbers.
    """
    found = {}
    for (run, tag), points in events(run_dir).items():
        curve = found[run, tag] = {}
        for step, value in points:
            value = None if tag in (*TIMED, "graph") else value
            assert curve.setdefault(step, value) == value, (run, tag, step)
    return found
