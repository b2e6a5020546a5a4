"""Compiles the loop of a layer with XLA on TensorFlow, if Keras does not compile the model.

On a CPU, `model.compile("adam", "mse")` leaves XLA off. A loop over time then spends most of its
time between small operations. No other module of the library imports TensorFlow.
"""

import sys

import keras

# The names of the functions in which `fit`, `evaluate` and `predict` trace a model contain this.
KERAS_STEP = "step_on_"


def compiled(function, layer):
    """Returns `function`, compiled with XLA within `fit`, `evaluate` and `predict`.

    Returns it unchanged on other backends, if Keras compiles the whole model, or if the layer is
    called eagerly or exported.

    Args:
        function: a loop over time. It takes and returns tensors, or nested tuples and lists of
            them.
        layer: the layer of the loop.
    """
    if keras.backend.backend() != "tensorflow" or not _is_in_uncompiled_step(layer):
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _is_in_uncompiled_step(layer):
    """Returns whether TensorFlow traces one of Keras's steps and will not compile it with XLA."""
    import tensorflow as tf
    from tensorflow.python.framework.config import is_op_determinism_enabled

    if tf.executing_eagerly() or is_op_determinism_enabled():
        return False
    if sys.platform == "darwin" and tf.config.list_physical_devices("GPU"):
        return False  # TensorFlow has no XLA for Apple's GPUs
    # The entry layer is the outermost model, on which `compile` was called.
    if getattr(layer._get_call_context().entry_layer, "jit_compile", False):
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None and KERAS_STEP not in getattr(graph, "name", ""):
        graph = getattr(graph, "outer_graph", None)
    return graph is not None
