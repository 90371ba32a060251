"""The versions of what the lab builds, from the collection's one table `data/versions.yml`."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from lab.settings import REPOSITORY

TABLE = REPOSITORY / "data" / "versions.yml"


@cache
def _components() -> dict[str, dict[str, Any]]:
    components: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["components"]
    return components


def version(component: str) -> str:
    """The pinned version as the project itself writes it, for example `v1.34.4`. Raises KeyError for an unknown component."""
    return str(_components()[component]["version"])


def number(component: str) -> str:
    """The version without a leading `v`, as packages and image tags of some projects write it."""
    return version(component).removeprefix("v")
