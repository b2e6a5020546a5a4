"""Compiles the loop of a layer with XLA, on TensorFlow, where Keras does not compile the model.

On a CPU, `model.compile("adam", "mse")` leaves XLA off, and a loop over time then spends most of
its time between small operations. This is the one module of the layers that knows TensorFlow.
"""

import sys

import keras

# `fit`, `evaluate` and `predict` trace a model in functions with these names.
KERAS_STEPS = {
    "one_step_on_data",
    "one_step_on_data_distributed",
    "multi_step_on_data",
    "multi_step_on_iterator",
}


def compiled(function, layer):
    """Returns a function of tensors that XLA compiles, or the function itself.

    XLA compiles it only within `fit`, `evaluate` and `predict` of a model with Keras's own
    `train_step`, and only if Keras does not compile the whole model. It does not compile a layer
    that is called eagerly or exported.

    Args:
        function: takes and returns tensors, or nested tuples and lists of them.
        layer: whose loop the function is.
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
    # The outermost model of this call is the one that is trained, unless a `train_step` of a user
    # calls another. Such a step may use several tapes, and they cannot differentiate the loop if
    # it is compiled on its own.
    model = layer._get_call_context().entry_layer
    is_keras_step = getattr(type(model), "train_step", None) is keras.Model.train_step
    if not is_keras_step or not model.compiled or model.jit_compile:
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None and getattr(graph, "name", "") not in KERAS_STEPS:
        graph = getattr(graph, "outer_graph", None)
    return graph is not None
