"""helm for the controller: where it lies, and what it must be told so that it keeps out of the home folder."""

from __future__ import annotations

from pathlib import Path

from lab.settings import STATE

FOLDER = STATE / "helm"
"""Folder with `bin/helm` and `plugins`, and with what helm itself keeps: a name that stays when the cache's changes."""


def environment() -> dict[str, str]:
    """The variables with which helm finds its plugins."""
    own = {f"HELM_{name.upper()}_HOME": str(FOLDER / name) for name in ("cache", "config", "data")}
    return {"HELM_PLUGINS": str(FOLDER / "plugins"), **own}


def link(made: Path) -> None:
    """Let the folder have the programs of `made`, an entry of the cache. Safe to repeat."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("bin", "plugins"):
        place = FOLDER / name
        if not place.is_symlink() or place.readlink() != made / name:
            place.unlink(missing_ok=True)
            place.symlink_to(made / name)
