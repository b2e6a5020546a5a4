"""The Python of the pages runs, and the files and tests that they name exist."""

import ast
import re
import shutil

import numpy as np
import pytest
from processes import ROOT

from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_of(page):
    """Returns the Python blocks of a page as one program, with the line numbers of the page."""
    kept, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
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
    "page", [page for page in PAGES if python_of(page).strip()], ids=lambda page: page.stem
)
def test_python_of_the_page_runs(page, trained, tmp_path, monkeypatch):
    """Catches an example that no longer works."""
    directory = shutil.copytree(trained, tmp_path / "copy")
    shutil.copytree(ROOT / "docs", directory / "docs", ignore=shutil.ignore_patterns("results"))
    monkeypatch.chdir(directory)
    names = {}
    exec(compile(python_of(page), page.name, "exec"), names)
    if page.stem == "examples":
        assert names["history"].history["accuracy"][-1] > 0.55
        assert names["masked"].history["accuracy"][-1] > 0.52
        assert np.isfinite(names["written"].history["loss"]).all()
    if page.stem == "export":
        assert np.shape(names["logits"]) == (2, 37)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
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
