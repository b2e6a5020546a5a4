"""The Python and the commands of the pages work, and the files and tests that they name exist."""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.flags import FLAGS
from cases import needs_litert
from processes import ROOT

from fast_weights.experiment import RunDirectory, console, results

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Takes a quarter of the time, and runs the same lines.
SMALLER = {"FastWeights(1_000,": "FastWeights(40,", '"data", config)': '"data", smaller(config))'}


def read(page):
    return page.read_text(encoding="utf-8")


def python_of(text):
    """Returns the Python blocks of a text as one program, with the line numbers of the text."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside, line = line == "```python", ""
        kept.append(line if inside else "")
    return "\n".join(kept)


MARKS = dict.fromkeys(("examples", "extend", "memory"), pytest.mark.slow)
MARKS["export"] = [needs_litert, pytest.mark.slow]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=MARKS.get(page.stem, []))
        for page in PAGES
        if "```python" in read(page)
    ],
    ids=lambda page: page.stem,
)
def test_python_of_the_page_runs(page, tmp_path, monkeypatch):
    """Catches an example that no longer works, or does not do what the page says."""
    if page.stem == "export":
        pytest.importorskip("onnxruntime")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("results"))
    monkeypatch.chdir(tmp_path)
    compiled = tf.function  # without XLA
    monkeypatch.setattr(tf, "function", lambda *a, jit_compile=None, **b: compiled(*a, **b))
    names, program = {"smaller": smaller}, python_of(read(page))
    for large, small in SMALLER.items():
        program = program.replace(large, small)
    exec(compile(program, page.name, "exec"), names)
    check = globals().get(f"check_{page.stem}", lambda names: None)
    check(names)


def smaller(config):
    return dataclasses.replace(config, num_training=1_000, num_validation=4_000)


def check_examples(names):
    """Checks that the models learn, and the streams that restart and that run by steps."""
    assert names["history"].history["accuracy"][-1] > 0.55
    assert names["masked"].history["accuracy"][-1] > 0.52
    assert np.isfinite(names["written"].history["loss"]).all()
    assert all(np.abs(one).max() > 1e-3 for one in names["initial_state"].get_weights())
    streams, ended, layer = names["streams"], names["ended"], copy_of(names["layer"])
    np.testing.assert_allclose(names["restarted"][ended], layer(streams[ended, 6:]), atol=1e-5)
    np.testing.assert_allclose(names["restarted"][~ended], layer(streams[~ended]), atol=1e-5)
    for name in ("recorder", "continued"):
        names[name](streams[:, 6:])
    states = (names[name].layers[0].states for name in ("recorder", "continued"))
    for state, expected in zip(*states, strict=True):
        np.testing.assert_array_equal(state, expected)
    layer = names["trained_layer"]
    states = layer.cell.get_initial_state(batch_size=4)
    for t in range(12):
        logits, *states = names["stepper"]([keras.ops.convert_to_tensor(streams[:, t]), *states])
    np.testing.assert_allclose(logits, names["head"](copy_of(layer)(streams)), atol=1e-5)


def check_export(names):
    """Checks that 8-bit weights are smaller and as accurate, and the exported model of one step."""
    sizes, accuracies = names["sizes"], names["accuracies"]
    assert sizes["int8"] < 0.9 * sizes["float32"]
    assert 0.999 < accuracies["float32"] < accuracies["int8"] + 1e-3
    layer, head = names["model"].layers
    expected = head(copy_of(layer, unroll=False)(names["sequence"]))
    np.testing.assert_allclose(names["step_logits"], expected, atol=1e-5)


def check_extend(names):
    """Checks that the new task is learned, and the files of the callbacks."""
    assert results.read(names["run_dir"].results_path)[-1].val_accuracy > 0.9
    with open("log.csv") as file:
        assert {"top_3", "val_top_3"} < set(file.readline().strip().split(","))
    assert len(names["records"].all) == 3
    assert RunDirectory("", "my-run").checkpoint_epochs() == [3, 2]


def copy_of(layer, **changes):
    """Returns a layer with the same weights that is not stateful, with other changed arguments."""
    copy = type(layer).from_config({**layer.get_config(), "stateful": False, **changes})
    copy.build((None, None, layer.cell.kernel.shape[0]))
    copy.set_weights(layer.get_weights())
    return copy


@pytest.mark.slow
def test_examples_run_on_jax(tmp_path):
    """Catches an operation that only TensorFlow does on a Keras variable."""
    pytest.importorskip("jax")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("results"))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", python_of(read(ROOT / "docs/examples.md"))]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("script", ["train.py", "test.py", "plot.py"])
def test_commands_have_valid_flags(execute, monkeypatch, script):
    """Catches a command with a flag or a value that the script refuses."""
    monkeypatch.setattr(console, "run", lambda *args, **kwargs: None)
    text = "\n".join(map(read, PAGES))
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    commands = re.findall(rf"python {script}([^;&|\n]*)", blocks.replace("\\\n", " "))
    assert len(commands) > 3
    for command in commands:
        command = command.replace("$rate", "1e-3").replace("contains-z", "multi-query-recall")
        execute(script)
        assert FLAGS([script, *shlex.split(command, comments=True)]) == [script]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_in_zsh(page):
    """Catches a comment or a pattern, which zsh refuses where bash does not."""
    for block in re.findall(r"^```sh\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL):
        if not block.startswith("#!"):
            plain = re.sub(r"'[^']*'|\"(\\.|[^\"])*\"", "", block)
            assert not set("?*#[") & set(plain), block


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs/tour.ipynb"], ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    """Catches a file that was renamed, and a heading that was reworded."""
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path, _, heading = target.partition("#")
        path = page.parent / path if path else page
        assert "://" in target or path.exists(), target
        if heading and "://" not in target:
            titles = re.findall("^#+ (.*)$", read(path).lower(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
            assert heading in anchors, target
    for module in re.findall(r"python (?:-m )?(benchmarks[./]\w+)", read(page)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_named_tests_exist():
    """Catches a promise without its test."""
    named = re.findall(r"`(test_\w+)`", "".join(map(read, PAGES)))
    sources = "".join(map(read, (ROOT / "tests").glob("test_*.py")))
    assert set(named) <= set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
