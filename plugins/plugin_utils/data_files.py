"""Reads the collection's data files on the controller. Nothing here is shipped to managed hosts."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any, Iterable

import yaml

# Every task runs in a process of its own that reads its data anew: libyaml's parser takes 2 ms for it, Python's 20 ms.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COLLECTION_ROOT = Path(__file__).resolve().parents[2]


def load(relative: str) -> Any:
    """A data file of the collection, by its path below the collection's root; read once per process.

    Raises ``OSError`` when it cannot be read and ``ValueError`` when it is not YAML. Callers must not change it.
    """
    return _load(str(COLLECTION_ROOT / relative))


def codes() -> Any:
    """The registry: what is known of each code. Raises as ``load`` does."""
    return load("data/codes.yml")["codes"]


@functools.cache
def _load(path: str) -> Any:
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error


def names(directory: str) -> list[str]:
    """Names of the YAML files in a data directory, without extension."""
    return sorted(path.stem for path in (COLLECTION_ROOT / directory).glob("*.yml"))


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean gb10?`` or the whole list of known names: the end of an error about an unknown name."""
    choices = sorted(known)
    near = difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}? Known are {', '.join(choices)}"
    return f"known are {', '.join(choices) or 'none'}"
