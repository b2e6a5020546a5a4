"""The rules of the package: which module imports which, prints or loads Keras."""

import ast
import pathlib

import pytest

import fast_weights

ROOT = pathlib.Path(fast_weights.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
LIBRARY = {name: path for name, path in SOURCES.items() if not name.startswith("experiment")}
PURE_KERAS = ("cells/", "layers/", "tracing.py")


def parse(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    """Yields the names that a file imports, `from package import name` as `package.name`."""
    for node in parse(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(path):
    """Yields every name and attribute that a file uses."""
    for node in parse(path):
        if isinstance(node, ast.Name | ast.Attribute):
            yield ast.unparse(node)


@pytest.mark.parametrize("name", LIBRARY)
def test_library_imports(name):
    """Catches a library that needs the experiment, guards the machine or sets warning filters."""
    path = LIBRARY[name]
    for one in imports(path):
        top = one.split(".")[0]
        assert not one.startswith("fast_weights.experiment")
        assert top not in {"os", "pathlib", "matplotlib", "absl"}
        assert top != "tensorflow" or name == "layers/compiling.py"
        if name.startswith(PURE_KERAS):
            assert top != "numpy"
            assert not one.startswith("keras.src")
    assert {one for one in names(path) if one.startswith("warnings.")} <= {"warnings.warn"}


@pytest.mark.parametrize("name", SOURCES)
def test_package_rules(name):
    """Catches a module that prints, hides every error, or loads a library that others wait for."""
    path = SOURCES[name]
    tops = {one.split(".")[0] for one in imports(path)}
    if name != "experiment/console.py":
        assert "print" not in set(names(path))
        assert "absl" not in tops
    assert "matplotlib" not in tops or name.startswith("experiment/plots/")
    for node in parse(path):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            kinds = {None if one is None else ast.unparse(one) for one in caught}
            assert not kinds & {None, "Exception", "BaseException"}, f"line {node.lineno}"
