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
    "test_linear.py",
]
# Those that are installed. requirements-dev.txt installs JAX, except on Python 3.10.
BACKENDS = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
# One cell of each kind, and the layer that cuts a sequence into chunks.
SELECTED = (
    "(sequence_equals and holes or trace_equals and holes) and not unrolled"
    " and (GRUCell-standard or WeightsCell-paper or FastWeights-chunks or GatedDeltaNet-chunks)"
    " or (gradients_of_settings and linear and paper)"
)
# Takes a third of the time on JAX, which records the forward pass by itself.
ON_TORCH = " or (second_derivatives and (paper or delta))"
RUN = """
import sys, pytest
status = pytest.main(sys.argv[1:])
print("loaded:", *sorted({"tensorflow", "torch", "jax"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", [SELECTED, pytest.param("test", marks=pytest.mark.slow)])
def test_cells_layers_and_traces(backend, which):
    """Catches an operation that a backend lacks or computes differently, and an import of another.

    It would make users install both.
    """
    which += ON_TORCH if backend == "torch" else ""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", RUN, "-q", *(str(TESTS / name) for name in FILES), "-k", which]
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    if "test" not in which.split():  # all tests, of which some import TensorFlow themselves
        assert done.stdout.splitlines()[-1] == f"loaded: {backend}"
