"""The committed generated pages are what `make docs` writes today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import make_docs


@pytest.mark.parametrize("name", sorted(make_docs.PAGES))
def test_page_is_current(root: Path, name: str) -> None:
    committed = (root / "docs" / name).read_text(encoding="utf-8")
    assert committed == make_docs.PAGES[name](), "out of date: run `make docs`"


def test_no_generated_page_is_left_over(root: Path) -> None:
    """A page whose maker is gone would never be renewed."""
    generated = {path for path in (root / "docs").rglob("*.md") if make_docs.NOTICE in path.read_text(encoding="utf-8")}
    assert {path.relative_to(root / "docs").as_posix() for path in generated} == set(make_docs.PAGES)
