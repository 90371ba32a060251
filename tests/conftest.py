"""What all tests share."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from ansible_collections.baremetal.gpu.tests.support import turns

# Its assertions tell what differs, as those of a test.
pytest.register_assert_rewrite("ansible_collections.baremetal.gpu.tests.support.prediction")

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="every drift by itself and twenty killed runs, with the result in docs/test-full.md (hours)",
    )


# A wrapper comes before every other implementation: pytest-xdist reads the groups in one that wants to be first, too.
@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    # In a process of several; by itself a run keeps the order in which its tests were named.
    if hasattr(config, "workerinput"):
        turns.arrange(items)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with turns.turn(ROOT / ".venv/cache/turns", alone=item.get_closest_marker("alone") is not None):
        return (yield)
