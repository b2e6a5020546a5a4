"""Sets the readme and the URLs of a distribution. pyproject.toml has everything else.

A package index shows the README without the repository, so its relative links need the address of
the repository. The release workflow sets REPOSITORY_URL to it. Otherwise, the README is unchanged
and there are no URLs.
"""

import os
import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "fast_weights/__init__.py").read_text())[1]


def absolute_links(text: str, url: str) -> str:
    """Returns a page of the repository's root with absolute links to the release at a URL."""

    def replace(match):
        image, target = match.groups()
        if "://" in target:
            return match[0]
        # An index gives headings no anchors, so links within the page lead to the repository, too.
        page = f"README.md{target}" if target.startswith("#") else target
        kind = "raw" if image else "blob"
        return f"{image or ''}]({url}/{kind}/v{VERSION}/{page})"

    # A link can contain an image, so the start of a link is not matched.
    return re.sub(r"(!\[[^\]]*)?\]\(([^)\s]+)\)", replace, text)


def metadata(url: str | None) -> dict:
    """Returns the arguments of `setuptools.setup` for a repository at a URL."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    arguments = {"long_description_content_type": "text/markdown"}
    if not url:
        return {**arguments, "long_description": text}
    return {
        **arguments,
        "long_description": absolute_links(text, url),
        "project_urls": {
            "Repository": url,
            "Changelog": f"{url}/blob/v{VERSION}/CHANGELOG.md",
            "Issues": f"{url}/issues",
        },
    }


if __name__ == "__main__":
    setuptools.setup(**metadata(os.environ.get("REPOSITORY_URL")))
