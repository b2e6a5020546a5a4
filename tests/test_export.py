"""Exported models: other runtimes compute what Keras computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    FEATURES,
    LAYERS,
    STEPS,
    array,
    costly,
    inputs_of,
    layer_of,
    needs_litert,
    random_states,
    randomize,
)

pytestmark = pytest.mark.slow
costly_layers = costly(LAYERS, always=["FastWeights-chunks"])
# In the default suite, one looped and one unrolled model.
costly_unrolled = pytest.mark.parametrize(
    "unroll", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["loop", "unrolled"]
)


def model_of(name, unroll):
    """Returns a model with random weights, its inputs and its outputs."""
    layer = layer_of(name, dtype="float32", unroll=unroll)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, keras.layers.Dense(2)])
    randomize(model)
    inputs = inputs_of("float32")
    return model, inputs, np.asarray(model(inputs))


@costly_layers
@costly_unrolled
def test_saved_model(name, unroll, tmp_path):
    """Catches a weight or a loop that tracing loses."""
    model, inputs, expected = model_of(name, unroll)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(inputs), expected, rtol=1e-5, atol=1e-6)


@costly_layers
@costly_unrolled
def test_onnx(name, unroll, tmp_path):
    """Catches an operation that ONNX lacks, or that onnxruntime computes differently."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs, expected = model_of(name, unroll)
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@costly(LAYERS, always=["GatedDeltaNet-chunks"])
@pytest.mark.parametrize("kind", ["onnx", pytest.param("litert", marks=needs_litert)])
def test_one_step_with_states(name, kind, tmp_path):
    """Catches a state that an exported step drops, rounds or swaps with another."""
    cell = layer_of(name, dtype="float32").cell
    sizes = keras.tree.flatten(cell.state_size)
    arguments = [keras.Input((size,)) for size in (FEATURES, *sizes)]
    outputs, new_states = cell(arguments[0], arguments[1:])
    model = keras.Model(arguments, [outputs, *new_states])
    # One sequence, because LiteRT takes one at a time.
    values = [inputs_of("float32")[:1, 0], *(state[:1] for state in random_states(cell))]
    expected = model(values)
    path = str(tmp_path / ("step.onnx" if kind == "onnx" else "step.tflite"))
    model.export(path, format=kind, verbose=False)
    if kind == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path)
        names = [one.name for one in session.get_inputs()]
        results = session.run(None, dict(zip(names, values, strict=True)))
    else:
        with pytest.warns(UserWarning, match="deprecated"):
            run_step = tf.lite.Interpreter(path).get_signature_runner()
        found = run_step(**{one.name: value for one, value in zip(arguments, values, strict=True)})
        results = [found[f"output_{i}"] for i in range(len(values))]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, array(wanted), rtol=1e-5, atol=1e-5)


@needs_litert
@costly_layers
def test_litert(name, tmp_path):
    """Catches an operation that needs the Flex delegate. LiteRT takes only unrolled layers."""
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
