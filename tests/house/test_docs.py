"""The docs say what the code does: generated pages are current, every verb and every setting has its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import DOCS, PAGES

ROOT = DOCS.parent


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    """Where this fails, run `python tests/house/documents.py` and read what changed."""
    assert (DOCS / name).read_text(encoding="utf8") == PAGES[name]()


def test_every_verb_is_documented() -> None:
    from danlu.cli.app import app

    verbs = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    for page in (ROOT / "README.md", ROOT / "README.zh.md"):
        text = page.read_text(encoding="utf8")
        assert not [verb for verb in verbs if f"danlu {verb}" not in text], page.name


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_both_readmes_have_the_same_shape() -> None:
    def shape(path: Path) -> tuple[int, int]:
        text = path.read_text(encoding="utf8")
        return len(re.findall(r"^## ", text, re.M)), text.count("```")

    assert shape(ROOT / "README.md") == shape(ROOT / "README.zh.md")


def test_every_example_states_its_score() -> None:
    pages = sorted(ROOT.glob("examples/*/README.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf8")
        assert re.search(r"0\.\d{3}", text), page
        assert "danlu train" in text, page
        assert "MB" in text, page
