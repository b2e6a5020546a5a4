"""An installed package: what it brings, what it asks for, and how a package index shows it."""

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys

import pytest
from processes import ROOT

import fast_weights
from fast_weights import experiment
from fast_weights.experiment import errors, versions
from fast_weights.experiment.config import Config
from fast_weights.experiment.run_dir import RunDirectory

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "fast_weights/experiment").rglob("*.py"))


def names_in(lines):
    """Returns the names of the packages in lines such as `numpy>=2.0`."""
    return {re.match(r"[\w-]+", line)[0] for line in lines if line[0].isalpha()}


def load_setup():
    """Returns setup.py as a module."""
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Hides a package from imports, as if it were not installed.
HIDE = """
import sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name == "{0}":
            raise ModuleNotFoundError("No module named '{0}'", name="{0}")
sys.meta_path.insert(0, Hidden)
"""


def test_requirements_cover_the_extras():
    """Catches a package that only installed packages ask for, and one that the scripts miss."""
    listed = names_in((ROOT / "requirements.txt").read_text().splitlines())
    extras = PROJECT["optional-dependencies"]
    assert names_in(PROJECT["dependencies"]) == {"keras", "numpy"}
    needed = names_in(extras["experiment"])
    assert needed | {"numpy", "absl-py"} == listed
    assert {name.removesuffix("-py") for name in listed} == set(versions.PACKAGES)
    assert needed - {"keras"} == set(experiment._NEEDED["training"])
    # A version that pip installs for the extra is one that `train` accepts.
    for name, (low, high) in versions.BOUNDS.items():
        assert f"{name}>={low},<{high}" in extras["experiment"]


@pytest.mark.parametrize(("backend", "other"), [(None, "jax"), ("torch", "tensorflow")])
def test_missing_backend_is_named(backend, other):
    """Catches Keras's own error, which does not say what to install or to set."""
    environment = {**os.environ, "KERAS_BACKEND": backend or ""}
    missing = backend or "tensorflow"
    code = HIDE.format(missing) + "from fast_weights import FastWeights"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert f"pip install {missing}" in message
    assert f"KERAS_BACKEND={other}" in message
    assert done.stderr.count("Traceback") == 1


def test_any_backend_is_offered_if_none_is_installed(monkeypatch):
    """Catches advice to use a backend that is not there."""
    for name in ("tensorflow", "jax", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install jax.*tensorflow or torch") as caught:
        fast_weights.importing.import_module("jax")
    assert "KERAS_BACKEND=" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "missing", "command"),
    [
        ("plot_memory", ["matplotlib"], "matplotlib"),
        ("train", ["tensorboard", "tensorflow"], '"fast-weights[experiment]"'),
        ("train", ["filelock"], '"fast-weights[experiment]"'),
    ],
)
def test_missing_extra_is_named(monkeypatch, name, missing, command):
    """Catches a traceback from inside a module, and packages that are named one after another."""
    monkeypatch.setattr(experiment, "IN_CHECKOUT", False)
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as caught:
        getattr(experiment, name)
    assert ", ".join(missing) in str(caught.value)
    assert f"pip install {command}" in str(caught.value)


@pytest.mark.parametrize(
    ("in_checkout", "command"),
    [(False, f"{PROJECT['name']}[experiment]"), (True, "-r requirements.txt")],
)
def test_version_that_training_cannot_use_is_named(monkeypatch, in_checkout, command):
    """Catches an error from inside TensorFlow, because only the scripts check the versions."""
    monkeypatch.setattr(experiment, "IN_CHECKOUT", in_checkout)
    monkeypatch.setitem(versions.BOUNDS, "tensorflow", ("1.0", "1.5"))
    with pytest.raises(ImportError, match=r"tensorflow>=1\.0,<1\.5.*pip install") as caught:
        _ = experiment.train
    assert command in str(caught.value)
    assert experiment.load_model  # it does not need TensorFlow


def test_train_command_of_an_installed_package(monkeypatch, tmp_path):
    """Catches advice to run a script that only a clone has, and a statement that fails."""
    monkeypatch.setattr(errors, "IN_CHECKOUT", False)
    calls = []
    monkeypatch.setattr(experiment, "train", lambda *given: calls.append(given), raising=False)
    run_dir = RunDirectory(tmp_path / "it's", "GRU-LN", seed=3)
    exec(run_dir.train_command(), {})
    (call,) = calls
    assert call == (
        Config(model_name="GRU-LN", seed=3),
        RunDirectory(str(run_dir.checkpoint_dir), "GRU-LN", seed=3),
    )
    assert errors.option("restart", True) == "restart=True"
    assert errors.option("data_dir") == "data_dir"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_errors_name_no_flags(path):
    """Catches an error that names a flag of the scripts to a user of the installed package.

    `option` writes a flag as an argument there.
    """
    if path.stem == "console":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise):
            texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
            text = " ".join(one for one in texts if isinstance(one, str))
            assert not re.search(r"--[a-z]|\w\.py\b", text), f"line {node.lineno}"


@pytest.mark.parametrize("package", [fast_weights, experiment], ids=lambda one: one.__name__)
def test_stub_names_the_public_names(package):
    """Catches a public name that type checkers do not know, or look for in another module."""
    path = ROOT / package.__name__.replace(".", "/") / "__init__.pyi"
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.update({alias.name: node.module for alias in node.names})
        elif isinstance(node, ast.Assign):
            assert ast.literal_eval(node.value) == package.__all__
    expected = {name: f"{package.__name__}.{one}" for name, one in package._MODULES.items()}
    assert found == expected


def public_functions():
    """Yields the public functions, and the public methods of the public classes."""
    for package in (fast_weights, experiment):
        for value in (getattr(package, name) for name in package.__all__):
            if not inspect.isclass(value):
                yield value
                continue
            for one in (one for one in value.__mro__ if one.__module__.startswith("fast_weights")):
                for name, method in vars(one).items():
                    method = getattr(method, "fget", None) or getattr(method, "__func__", method)
                    if inspect.isfunction(method) and (name == "__init__" or name[0] != "_"):
                        yield method


def test_public_functions_have_types():
    """Catches an argument that type checkers take to be anything."""
    for function in public_functions():
        signature = inspect.signature(function)
        arguments = [
            one for name, one in signature.parameters.items() if name not in {"self", "cls"}
        ]
        types = [one.annotation for one in arguments]
        if function.__name__ != "__init__":
            types.append(signature.return_annotation)
        assert signature.empty not in types, function.__qualname__


def test_links_of_the_readme_are_absolute():
    """Catches a picture or a link that is broken where the README is shown without the clone."""
    setup = load_setup()
    text = setup.metadata("https://example.com/owner/name")["long_description"]
    original = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]*)\)", text)
    assert len(links) == len(re.findall(r"\]\(", original))
    start = "https://example.com/owner/name"
    for image, target in links:
        if target.startswith(start):
            kind, version, path = target.removeprefix(f"{start}/").split("/", 2)
            assert kind == ("raw" if image else "blob")
            assert version == f"v{fast_weights.__version__}"
            assert (ROOT / path.partition("#")[0]).is_file(), target
        else:
            assert target.startswith("https://"), target
    assert setup.metadata(None)["long_description"] == original
