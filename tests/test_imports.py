"""The house's rules: imports point one way, and heavy ones wait."""

import ast
import pathlib
import subprocess
import sys

import pytest

import fast_weights

PACKAGE = pathlib.Path(fast_weights.__file__).parent
# `errors` is one exception and imports nothing, so everyone may import it.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "arrays": {"files"},
    "config": {"errors", "files"},
    "data": {"arrays", "config", "errors", "files", "terminal"},
    "cells": set(),
    "results": {"config", "errors", "files"},
    "folders": {"arrays", "config", "errors", "files"},
    "layers": {"cells"},
    "memory_trace": set(),
    "models": {"cells", "config", "layers"},
    "shipped": {"arrays", "config", "errors", "folders", "models"},
    "checkpoints": {"arrays", "config", "errors", "files", "folders", "models", "shipped"},
    "summaries": {"config", "data", "figures", "files", "results", "sampling"},
    "training": {"checkpoints", "config", "data", "errors", "folders", "results", "summaries"},
    "sampling": {"checkpoints", "data", "errors", "memory_trace"},
    "figures": {"errors", "files", "results"},
    "terminal": {"errors", "files"},
    "__init__": set(),
}


def imports(path):
    """Modules that a file imports; `from package import room` counts as `package.room`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("fast_weights.")} - {
        room
    }
    assert rooms <= ALLOWED[room]
    for name in imports(path):
        top = name.split(".")[0]
        assert not name.startswith("keras.src")
        assert top not in ("train", "test", "plot", "absl")
        assert top != "matplotlib" or room == "figures"
        assert top != "tensorflow" or room in ("summaries", "training")


def test_the_package_loads_no_framework_until_asked():
    """`--help` that takes seconds."""
    code = (
        "import sys, fast_weights, fast_weights.config; "
        "print({'absl', 'keras', 'matplotlib', 'numpy', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there():
    for name in fast_weights.__all__:
        assert getattr(fast_weights, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fast_weights.nothing  # noqa: B018
