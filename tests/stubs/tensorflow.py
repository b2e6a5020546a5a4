"""Ends a process that imports TensorFlow or Keras before it should."""

raise RuntimeError("loaded too early")
