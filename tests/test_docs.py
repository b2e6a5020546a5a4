"""The Python of the pages runs, and the files and tests that they name exist."""

import ast
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import needs_litert
from processes import ROOT

from fast_weights import FastWeights
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_of(page, heading=None):
    """Returns the Python blocks of a page as one program, with the line numbers of the page.

    Args:
        page: the path.
        heading: if given, only the blocks under this heading are kept.
    """
    kept, inside, here = [], False, heading is None
    for line in page.read_text(encoding="utf-8").splitlines():
        if heading and line.startswith("## "):
            here = line == f"## {heading}"
        if line.startswith("```"):
            inside = here and line == "```python"
            line = ""
        kept.append(line if inside else "")
    return "\n".join(kept)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A directory in which `train.py` has trained a small RNN-LN-FW."""
    directory = tmp_path_factory.mktemp("trained")
    run_dir = RunDirectory(directory / "checkpoints", "RNN-LN-FW")
    train(tiny(num_pairs=3, num_epochs=1), run_dir, directory / "data")
    return directory


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[needs_litert] if page.stem == "export" else [])
        for page in PAGES
        if python_of(page).strip()
    ],
    ids=lambda page: page.stem,
)
def test_python_of_the_page_runs(page, trained, tmp_path, monkeypatch):
    """Catches an example that no longer works."""
    directory = shutil.copytree(trained, tmp_path / "copy")
    shutil.copytree(ROOT / "docs", directory / "docs", ignore=shutil.ignore_patterns("results"))
    if page.stem == "export":  # it measures the bundled weights
        pytest.importorskip("onnxruntime")
        shutil.rmtree(directory / "checkpoints")
    monkeypatch.chdir(directory)
    names = {}
    exec(compile(python_of(page), page.name, "exec"), names)
    if page.stem == "examples":
        assert names["history"].history["accuracy"][-1] > 0.55
        assert names["masked"].history["accuracy"][-1] > 0.52
        assert np.isfinite(names["written"].history["loss"]).all()
        check_restarted_rows(names)
        check_continued_stream(names)
        check_stepper(names)
        check_learned_state(names)
    if page.stem == "export":
        assert np.shape(names["logits"]) == (2, 37)
        check_quantized(names)
        check_exported_stepper(names)


@pytest.mark.slow
def test_examples_run_on_jax(tmp_path):
    """Catches an operation that only TensorFlow does on a Keras variable."""
    pytest.importorskip("jax")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("results"))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", python_of(ROOT / "docs/examples.md")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_stream_continues_in_another_process(tmp_path, monkeypatch):
    """Catches states that only the first process has."""
    monkeypatch.chdir(tmp_path)
    section = python_of(ROOT / "docs/examples.md", "Continue a stream in another process")
    first, second = section.split("import keras\n")  # the second program starts with it
    streams = np.random.default_rng(0).normal(size=(4, 12, 8)).astype("float32")
    names = {"keras": keras, "np": np, "FastWeights": FastWeights, "streams": streams}
    exec(first, names)
    np.save("rest.npy", streams[:, 6:])
    save = "\nnp.save('outputs.npy', continued(np.load('rest.npy')))"
    code = "import keras\n" + second + save
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    expected = names["recorder"](streams[:, 6:])
    np.testing.assert_allclose(np.load("outputs.npy"), expected, atol=1e-6)


def check_restarted_rows(names):
    """Checks that two rows of a batch started anew, and that the other two went on."""
    streams, layer = names["streams"], copy_of(names["layer"])
    ended, restarted = names["ended"], names["restarted"]
    np.testing.assert_allclose(restarted[ended], layer(streams[ended, 6:]), atol=1e-5)
    np.testing.assert_allclose(restarted[~ended], layer(streams[~ended]), atol=1e-5)


def check_continued_stream(names):
    """Checks that the loaded layer has the states of the saved one."""
    for name in ("recorder", "continued"):
        names[name](names["streams"][:, 6:])
    states = [names[name].layers[0].states for name in ("recorder", "continued")]
    for expected, state in zip(*states, strict=True):
        np.testing.assert_array_equal(state, expected)


def check_stepper(names):
    """Checks a model of one step against the layer that it comes from."""
    streams, layer = keras.ops.convert_to_tensor(names["streams"]), names["trained_layer"]
    states = layer.cell.get_initial_state(batch_size=4)
    for t in range(12):
        logits, *states = names["stepper"]([streams[:, t], *states])
    np.testing.assert_allclose(logits, names["head"](copy_of(layer)(streams)), atol=1e-5)


def check_quantized(names):
    """Checks that 8-bit weights make a smaller file, and that they hardly cost accuracy."""
    sizes, accuracies = names["sizes"], names["accuracies"]
    assert sizes["int8"] < 0.9 * sizes["float32"]
    assert accuracies["int8"] > accuracies["float32"] - 1e-3
    assert accuracies["int8"] > 0.999


def check_exported_stepper(names):
    """Checks an exported model of one step against the layer that it comes from."""
    layer, head = names["model"].layers
    whole = copy_of(layer, unroll=False)
    np.testing.assert_allclose(names["step_logits"], head(whole(names["sequence"])), atol=1e-5)


def check_learned_state(names):
    """Checks that training reached h_0 and A_0, and that they start the layer."""
    hidden, memory = names["initial_state"].get_weights()
    assert np.abs(hidden).max() > 1e-3
    assert np.abs(memory).max() > 1e-3
    losses = names["learned"].history["loss"]
    assert losses[-1] < losses[0]


def copy_of(layer, **changes):
    """Returns a layer with the same weights that is not stateful, with other changed arguments."""
    copy = type(layer).from_config({**layer.get_config(), "stateful": False, **changes})
    copy.build((None, None, layer.cell.kernel.shape[0]))
    copy.set_weights(layer.get_weights())
    return copy


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs/tour.ipynb"], ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    """Catches a file that was renamed, and a heading that was reworded."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        path = page.parent / path if path else page
        assert path.exists(), target
        if heading:
            assert heading in headings_of(path), target


def headings_of(page):
    """Returns the names of a page's headings in links, by GitHub's rules."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("page", "number"), [("reliability", 13), ("compatibility", 0), ("tensorboard", 0)]
)
def test_named_tests_exist(page, number):
    """Catches a promise without its test."""
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    found = {
        function.name
        for path in (ROOT / "tests").glob("test_*.py")
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef)
    }
    assert set(named) <= found
    assert len(named) >= number
