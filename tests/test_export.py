"""Models that leave Keras: what other runtimes compute is what Keras computes."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from cases import FEATURES, STEPS, UNITS, costly_cells, inputs_of, randomize

from fast_weights import (
    Control,
    FastWeights,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRU,
    LayerNormRNN,
)

LAYERS = {
    "control": lambda **kwargs: Control(UNITS, **kwargs),
    "rnn_ln": lambda **kwargs: LayerNormRNN(UNITS, **kwargs),
    "gru_original": lambda **kwargs: LayerNormGRU(UNITS, **kwargs),
    "gru_standard": lambda **kwargs: LayerNormGRU(UNITS, gates="standard", **kwargs),
    "matrix": lambda **kwargs: FastWeights(UNITS, memory="matrix", **kwargs),
    "attention": lambda **kwargs: FastWeights(UNITS, memory="attention", **kwargs),
    "matrix_paper": lambda **kwargs: keras.layers.RNN(
        FastWeightsCell(UNITS, recurrence="paper"), **kwargs
    ),
    "attention_paper": lambda **kwargs: keras.layers.RNN(
        FastWeightsAttentionCell(UNITS, STEPS, recurrence="paper"), **kwargs
    ),
}
loops = pytest.mark.parametrize("unroll", [False, True])


def model_of(name, **kwargs):
    layer = LAYERS[name](**kwargs)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, keras.layers.Dense(2)])
    randomize(model)
    inputs = inputs_of("float32")
    return model, inputs, model.predict(inputs, verbose=0)


@costly_cells
@loops
def test_saved_model(name, unroll, tmp_path):
    """A weight or a loop that tracing leaves behind."""
    model, inputs, expected = model_of(name, unroll=unroll)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(inputs), expected, rtol=1e-5, atol=1e-6)


@costly_cells
@loops
def test_onnx(name, unroll, tmp_path):
    """An operation that ONNX does not have, or that onnxruntime computes otherwise."""
    model, inputs, expected = model_of(name, unroll=unroll)
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@costly_cells
def test_litert(name, tmp_path):
    """An operation that needs the Flex delegate; LiteRT takes the unrolled layers alone."""
    model, inputs, expected = model_of(name, unroll=True)
    path = str(tmp_path / "model.tflite")
    model.export(path, format="litert", verbose=False)
    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = tf.lite.Interpreter(path)
    interpreter.allocate_tensors()
    (place,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for example, wanted in zip(inputs, expected, strict=True):
        interpreter.set_tensor(place["index"], example[None])
        interpreter.invoke()
        outputs = interpreter.get_tensor(result["index"])
        np.testing.assert_allclose(outputs[0], wanted, rtol=1e-4, atol=1e-5)
