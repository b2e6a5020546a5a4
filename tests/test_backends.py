"""The same tests of numbers, masks, forms and recurrences on Keras's other backends."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parent
# JAX is in requirements-dev.txt; PyTorch is tested where it is installed.
BACKENDS = ["jax", *(["torch"] if importlib.util.find_spec("torch") else [])]


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
@pytest.mark.parametrize(
    "which",
    [
        "(matrix_paper or attention or gru_original or forms)"
        " and not (half or config or alone or states_are or saved)",
        pytest.param("test", marks=pytest.mark.slow),
    ],
)
def test_cells_layers_and_trace(backend, which):
    """An op that one backend alone has, or that means something else on another."""
    names = ("test_cells.py", "test_layers.py", "test_layer_masks.py", "test_memory_trace.py")
    files = (str(TESTS / name) for name in names)
    done = run(backend, "-m", "pytest", "-q", *files, "-k", which)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensorflow_is_not_imported(backend):
    """A cell that brings TensorFlow to who uses another backend."""
    code = (
        "import sys, numpy, fast_weights\n"
        "fast_weights.FastWeights(3)(numpy.ones((2, 5, 4), 'float32'))\n"
        "print(sorted({'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = run(backend, "-c", code)
    assert done.stdout.strip() == f"['{backend}']", done.stderr
