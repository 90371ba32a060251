"""Builds the site from every page, with links that also work on a forge. Needs no network, and its pages ask nobody for anything."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tools.docs.markup import ROOT

CONFIGURATION = Path(__file__).with_name("mkdocs.yml")
SITE = ROOT / ".lab" / "site"
# Where files lie in the site that are linked from a page and are not below docs/.
ELSEWHERE = "repository"

_FENCE = re.compile(r"^(```|~~~)")
_LINK = re.compile(r"(?P<before>!?\[(?:[^\]\\]|\\.)*\]\()(?P<target>[^)\s]+)(?P<after>(?:\s+\"[^\"]*\")?\))")
_OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class DeadLinkError(Exception):
    """Links of pages that lead nowhere, one line each."""


@dataclass(frozen=True)
class Link:
    """One link of a page: where it stands, what it says, and the file of the checkout that it means; `anchor` with its `#`."""

    page: PurePosixPath
    line: int
    target: str
    file: PurePosixPath
    anchor: str


def links(page: PurePosixPath, text: str) -> Iterator[Link]:
    """The links of a page into this checkout. Addresses elsewhere, links within the page and code are left out."""
    for number, line in _prose(text):
        for found in _LINK.finditer(line):
            target = found["target"]
            if not _OUTSIDE.match(target) and not target.startswith("#"):
                path, sign, anchor = target.partition("#")
                yield Link(page, number, target, _joined(page, path), sign + anchor)


def resolved(root: Path, file: PurePosixPath) -> PurePosixPath | None:
    """The file that a link means: itself, or the README of a folder. None when there is neither."""
    if (root / file).is_file():
        return file
    if (root / file / "README.md").is_file():
        return file / "README.md"
    return None


def place(file: PurePosixPath) -> PurePosixPath:
    """Where a file of the checkout lies in the source of the site."""
    if file == PurePosixPath("README.md"):
        return PurePosixPath("index.md")
    if file.parts[0] == "docs":
        return file.relative_to("docs")
    return PurePosixPath(ELSEWHERE, *(part.lstrip(".") for part in file.parts))


def rewritten(root: Path, page: PurePosixPath, text: str) -> str:
    """A page with links that fit the site. Its links must be good."""
    targets = {(link.line, link.target): link for link in links(page, text)}
    lines = text.splitlines()
    for number, line in _prose(text):

        def replace(found: re.Match[str], number: int = number) -> str:
            link = targets.get((number, found["target"]))
            file = resolved(root, link.file) if link else None
            if link is None or file is None:
                return found[0]
            relative = os.path.relpath(place(file), place(page).parent)
            return f"{found['before']}{relative}{link.anchor}{found['after']}"

        lines[number - 1] = _LINK.sub(replace, line)
    return "\n".join(lines) + "\n"


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without those of code blocks."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if _FENCE.match(line.lstrip()):
            inside = not inside
        elif not inside:
            yield number, line


def _joined(page: PurePosixPath, target: str) -> PurePosixPath:
    """A relative path from a page as one from the checkout. A path that leaves the checkout keeps its `..`."""
    return PurePosixPath(os.path.normpath(page.parent / target))


def stage(root: Path, source: Path) -> list[PurePosixPath]:
    """Write the site's source: README and docs/, and every file of the checkout that a page links to. Returns the pages.

    Raises DeadLinkError when a link leads nowhere, before anything is built.
    """
    start = [
        PurePosixPath("README.md"),
        *(PurePosixPath(path.relative_to(root)) for path in (root / "docs").rglob("*")),
    ]
    waiting = [file for file in start if (root / file).is_file()]
    seen: set[PurePosixPath] = set()
    dead: list[str] = []
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        target = source / place(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".md":
            shutil.copyfile(root / file, target)
            continue
        text = (root / file).read_text(encoding="utf-8")
        for link in links(file, text):
            meant = None if ".." in link.file.parts else resolved(root, link.file)
            if meant is None:
                dead.append(f"{link.page}:{link.line}: {link.target}")
            else:
                waiting.append(meant)
        target.write_text(rewritten(root, file, text), encoding="utf-8")
    if dead:
        raise DeadLinkError("links that lead nowhere:\n" + "\n".join(sorted(dead)))
    return sorted(place(file) for file in seen if file.suffix == ".md")


def navigation(items: list[Any], pages: list[PurePosixPath]) -> list[Any]:
    """The navigation with `{title: folder/}` filled with the pages of that folder."""
    filled: list[Any] = []
    for item in items:
        ((title, value),) = item.items()
        if isinstance(value, list):
            filled.append({title: navigation(value, pages)})
        elif value.endswith("/"):
            inside = [page for page in pages if page.parent == PurePosixPath(value)]
            filled.append({title: [{page.stem: str(page)} for page in inside]})
        else:
            filled.append({title: value})
    return filled


def completed(navigated: list[Any], pages: list[PurePosixPath]) -> list[Any]:
    """A filled navigation with the pages that it does not name behind it, so that none is lost."""
    named = set(_named(navigated))
    rest = [str(page) for page in pages if str(page) not in named and page.parts[0] != ELSEWHERE]
    return [*navigated, *([{"More": rest}] if rest else [])]


def _named(items: list[Any]) -> Iterator[str]:
    for item in items:
        for value in item.values():
            if isinstance(value, list):
                yield from _named(value)
            else:
                yield value


def build(target: Path = SITE, root: Path = ROOT) -> Path:
    """Build the whole site into `target`, which is made anew. Raises DeadLinkError, or mkdocs' Abort for any of its warnings."""
    # Imported here: nothing else of this package needs it.
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "docs"
        pages = stage(root, source)
        settings = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
        settings["nav"] = completed(navigation(settings["nav"], pages), pages)
        file = Path(scratch) / "mkdocs.yml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        target.parent.mkdir(parents=True, exist_ok=True)
        build_site(load_config(str(file), docs_dir=str(source), site_dir=str(target)))
    return target
