"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

ROOT = Path(__file__).resolve().parent.parent

# Nothing in the checkout but .venv/ and .lab/.
set_hypothesis_home_dir(ROOT / ".venv/cache/hypothesis")
# Time says something about the machine's load, nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout, which is the collection's root."""
    return ROOT
