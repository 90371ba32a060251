"""The committed reference pages are what `make docs` writes today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def make_docs(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_docs", root / "tools/make_docs.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["codes.md", "deviations.md", "modules.md", "roles.md", "versions.md"])
def test_page_is_current(root: Path, make_docs: ModuleType, name: str) -> None:
    committed = (root / "docs/reference" / name).read_text(encoding="utf-8")
    assert committed == make_docs.PAGES[name](), "out of date: run `make docs`"
