"""The pages' Python runs, and what they name is there."""

import ast
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest

from fast_weights import data, folders, shipped, trace_memory, training

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    """The page's Python blocks as one program, with the page's own line numbers."""
    text = page.read_text(encoding="utf-8")
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        kept.append(line if inside else "")
    return "\n".join(kept)


@pytest.fixture(scope="module")
def trained_once(tiny, tmp_path_factory):
    """A folder with a small trained RNN-LN-FW, as `train.py` leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny(num_pairs=3, num_epochs=1)
    training.train(config, folder / "data", folder / "checkpoints/RNN-LN-FW", training.Reporter())
    return folder


@pytest.fixture
def trained_folder(trained_once, tmp_path, monkeypatch):
    """A copy of that for a page to write to, which it runs in."""
    shutil.copytree(trained_once, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p).strip()], ids=lambda p: p.stem)
def test_python_of_the_page_runs(page, trained_folder):
    """An example that was true once."""
    names = {}
    exec(compile(blocks(page), page.name, "exec"), names)
    if page.stem == "examples":
        assert names["A"].shape == (9, 5, 5)
        assert names["history"].history["accuracy"][-1] > 0.55
        assert names["masked"].history["accuracy"][-1] > 0.52
    if page.stem == "export":
        assert names["logits"].shape == (2, 37)
        assert (trained_folder / "model.tflite").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """A file that was renamed or never committed."""
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize(("page", "number"), [("README.md", 20), ("docs/reliability.md", 40)])
def test_what_is_promised_has_its_test(page, number):
    """A feature or a promise that a page makes and nothing holds, or calls fast and is slow."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`( \(slow\))?", text)
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef):
                marks = [ast.unparse(one) for one in function.decorator_list]
                found[function.name] = "pytest.mark.slow" in marks
    assert len(named) > number
    for name, slow in named:
        assert found[name] == bool(slow), name


def test_what_the_pages_print_of_the_trained_memory():
    """Numbers of other weights than those that come along."""
    model, config = shipped.load(folders.shipped_path(ROOT / "checkpoints", "RNN-LN-FW"))
    symbols = "g5o8k1??g"
    tokens = data.encode_sample(symbols, config.num_pairs)[None]
    one_hot = keras.ops.one_hot(tokens, data.NUM_CLASSES)
    trace = trace_memory(model.get_layer("rnn"), one_hot)
    attention = np.asarray(trace.attention)[0, -1, 0]
    lines = [f"{symbol} {weight:8.2f}" for symbol, weight in zip(symbols, attention, strict=True)]
    assert "\n".join(lines) in (ROOT / "docs/examples.md").read_text(encoding="utf-8")
    norms = np.linalg.norm(trace.written[0], axis=-1)
    row = f"| {' | '.join(f'{norm:.2f}' for norm in norms)} |"
    assert row in (ROOT / "docs/memory.md").read_text(encoding="utf-8")
