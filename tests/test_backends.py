"""The same tests of numbers, masks and traces on Keras's other backends, in a subprocess."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parent
FILES = [
    "test_cells.py",
    "test_layers.py",
    "test_layer_masks.py",
    "test_chunks.py",
    "test_tracing.py",
    "test_dropout.py",
    "test_second_derivatives.py",
]
# Those that are installed. requirements-dev.txt installs JAX, except on Python 3.10.
BACKENDS = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
# One cell of each kind, and the layer that cuts a sequence into chunks.
SELECTED = (
    "(sequence or backwards or zero_output or trace_equals)"
    " and (GRUCell-standard or WeightsCell-paper or FastWeights-chunks)"
    " or (gradients_of_settings and decay_rate) or (normalizations and loop)"
    " or (second_derivatives and paper)"
)


def run(backend, *command):
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", [SELECTED, pytest.param("test", marks=pytest.mark.slow)])
def test_cells_layers_and_traces(backend, which):
    """Catches an operation that one backend lacks, or that differs between backends."""
    done = run(backend, "-m", "pytest", "-q", *(str(TESTS / name) for name in FILES), "-k", which)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensorflow_is_not_imported(backend):
    """Catches a cell that loads TensorFlow on another backend."""
    code = (
        "import sys, numpy, fast_weights\n"
        "fast_weights.FastWeights(3)(numpy.ones((2, 5, 4), 'float32'))\n"
        "print(sorted({'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = run(backend, "-c", code)
    assert done.stdout.strip() == f"['{backend}']", done.stderr
