"""Fills the generated parts of README.md and docs/*.md.

python -m benchmarks.fill_pages

A part stands between `<!-- generated: NAME -->` and `<!-- end generated -->`, on lines of its
own or within a line. Its text comes from the records in `docs/results` and from the bundled
weights: the function that is decorated with `@part("NAME")` returns it. `tests/test_generated.py`
fails if a page is out of date.
"""

import importlib
import re

from benchmarks.runs import ROOT
from benchmarks.study import run_main
from benchmarks.tables import PARTS
from fast_weights.experiment import storage
from fast_weights.experiment.errors import UserError

# Importing a module adds its parts to `PARTS`.
MODULES = [
    importlib.import_module(f"benchmarks.{path.stem}")
    for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))
    if path.stem != "fill_pages"
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
START, END = "<!-- generated: ", "<!-- end generated -->"
PART = re.compile(rf"({START}(\S+) -->)(.*?)({END})", re.DOTALL)


def fill(page: str) -> str:
    """Returns the text of a page with its generated parts.

    Raises:
        UserError: if a part has an unknown name or no end.
    """
    if not len(PART.findall(page)) == page.count(START) == page.count(END):
        raise UserError(f"a generated part must start with {START}NAME --> and end with {END}")
    return PART.sub(_fill_part, page)


def _fill_part(match: re.Match) -> str:
    start, name, old, end = match.groups()
    if name not in PARTS:
        raise UserError(f"a generated part must be one of {', '.join(PARTS)}. Received: {name}")
    new = PARTS[name]()
    return f"{start}\n{new}\n{end}" if old.startswith("\n") else f"{start}{new}{end}"


def main() -> None:
    """Fills all pages."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        filled = fill(page)
        if filled != page:
            storage.write_text(path, filled)
            print(f"Wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    run_main(main)
