"""TensorBoard's event files read back, for the tests."""

import tensorflow as tf


def events(folder):
    """{(run, tag): [(step, value)]}, the run by its path below the folder, `.` at its top."""
    found = {}
    for path in sorted(folder.rglob("*.tfevents.*")):
        for serialized in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(serialized.numpy())
            run = str(path.parent.relative_to(folder))
            if event.WhichOneof("what") == "graph_def":
                found.setdefault((run, "graph"), []).append((event.step, event.graph_def))
            for value in event.summary.value:
                content = value.metadata.plugin_data.content
                if not value.tag.startswith("_hparams_/"):
                    content = tf.make_ndarray(value.tensor).tolist()
                found.setdefault((run, value.tag), []).append((event.step, content))
    return found
