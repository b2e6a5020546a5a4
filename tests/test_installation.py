"""An installed package: what it contains and asks for, and how a package index shows it."""

import ast
import os
import re
import runpy
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec

import pytest
from processes import ROOT

import fast_weights
from fast_weights import experiment, importing
from fast_weights.experiment import errors, requirements

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = SETTINGS["project"], SETTINGS["tool"]["setuptools"]


def test_wheel_has_all_files():
    """Catches a package or a file that only a clone has."""
    for path in (ROOT / "fast_weights").rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        package = next(one for one in path.parents if (one / "__init__.py").exists())
        name = ".".join(package.relative_to(ROOT).parts)
        assert name in SETUPTOOLS["packages"]
        patterns = SETUPTOOLS["package-data"].get(name, [])
        assert path.suffix == ".py" or any(path in package.glob(one) for one in patterns), path


def test_stated_requirements_agree():
    """Catches a package or a bound that differs between the files that state them."""

    def bounds(lines):
        return dict(re.fullmatch(r"([\w-]+)(.*)", one).groups() for one in lines if one[0] != "#")

    listed = bounds((ROOT / "requirements.txt").read_text().splitlines())
    lowest = bounds((ROOT / "tests/lowest.txt").read_text().splitlines())
    for name, version in lowest.items():
        assert listed[name].startswith(f">={version.removeprefix('==').removesuffix('.0')},<")
    assert lowest.keys() == listed.keys()
    assert {name.removesuffix("-py") for name in listed} == set(requirements.PACKAGES)
    extra = bounds(PROJECT["optional-dependencies"]["experiment"])
    for name in ("tensorflow", "keras"):
        assert extra[name] == listed[name]
    assert extra.keys() == listed.keys() - {"absl-py", "numpy"}
    assert bounds(PROJECT["dependencies"]).keys() == {"keras", "numpy"}


@pytest.mark.parametrize(("missing", "installed"), [("jax", "torch"), ("tensorflow", None)])
def test_missing_backend_is_named(monkeypatch, missing, installed):
    """Catches Keras's own error, and advice to use a backend that is not there."""
    for name in importing.BACKENDS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    if installed:
        module = types.ModuleType(installed)
        module.__spec__ = ModuleSpec(installed, None)
        monkeypatch.setitem(sys.modules, installed, module)
    with pytest.raises(ImportError, match=f"pip install {missing}") as caught:
        importing.import_module(missing)
    assert re.findall("KERAS_BACKEND=(.*)", str(caught.value)) == [installed] * bool(installed)


ON_JAX = """
import sys
sys.modules["tensorflow"] = None
from fast_weights.experiment import RunDirectory, load_model, predict_text
model, config = load_model(RunDirectory("checkpoints", "RNN-LN-FW"))
print(predict_text(model, config.make_task(), "g5o8k1??g"))
from fast_weights.experiment import train
"""


def test_jax_needs_no_tensorflow(tmp_path):
    """Catches an import of TensorFlow that a prediction does not need, and a wrong advice."""
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ON_JAX]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout == "5\n", done.stderr
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: ")


def test_option_is_a_flag_only_in_a_clone(monkeypatch):
    """Catches an error that names a flag to someone who calls a function."""
    assert errors.option("restart", True) == "--restart"
    assert errors.option("units", 4) == "--units=4"
    monkeypatch.setattr(errors, "IN_CHECKOUT", False)
    assert errors.option("restart", True) == "restart=True"
    assert errors.option("data_dir") == "data_dir"


@pytest.mark.parametrize("package", [fast_weights, experiment], ids=lambda one: one.__name__)
def test_stub_names_the_public_names(package):
    """Catches a public name that cannot be imported, or that type checkers do not know."""
    path = ROOT / package.__name__.replace(".", "/") / "__init__.pyi"
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.update({alias.name: node.module for alias in node.names})
        elif isinstance(node, ast.Assign):
            assert ast.literal_eval(node.value) == package.__all__
    assert found == {name: f"{package.__name__}.{one}" for name, one in package._MODULES.items()}
    assert all(getattr(package, name).__name__ == name for name in package.__all__)


def test_links_of_the_readme_are_absolute():
    """Catches a picture or a link that is broken where the README is shown without the clone."""
    start = "https://example.com/owner/name"
    metadata = runpy.run_path(str(ROOT / "setup.py"))["metadata"]
    original = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"(!\[[^\]]*)?\]\(([^)]*)\)", metadata(start)["long_description"])
    assert len(links) == original.count("](")
    for image, target in links:
        assert target.startswith("https://"), target
        if target.startswith(start):
            kind, version, path = target.removeprefix(f"{start}/").split("/", 2)
            assert (kind, version) == ("raw" if image else "blob", f"v{fast_weights.__version__}")
            assert (ROOT / path.partition("#")[0]).is_file(), target
    assert metadata(None)["long_description"] == original
