"""Debian packages for images: downloaded by apt into the cache, where an interrupted download goes on.

apt keeps a file that it has in part and asks the server for the rest, after a broken connection, and also after it or the lab was
killed. mmdebstrap by itself downloads into the image that it makes, and throws everything away when that fails.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.commands import PAUSES_S, persist, stream
from lab.progress import Activity
from lab.settings import CACHE

ESSENTIAL = "?essential"
"""apt's pattern for what every Debian system has."""

_POLL_S = 2.0
_FRESH_S = 600.0
"""Indexes younger than this are not asked for again."""


@dataclass(frozen=True)
class Depot:
    """A folder with apt's state and downloads for one suite. `sources` are lines of a sources.list; `options` apt options such as `Acquire::…=…`."""

    folder: Path
    sources: tuple[str, ...]
    options: tuple[str, ...] = ()
    pauses_s: tuple[float, ...] = PAUSES_S

    @property
    def archives(self) -> Path:
        """The downloaded packages."""
        return self.folder / "archives"

    @property
    def lists(self) -> Path:
        """The downloaded indexes."""
        return self.folder / "lists"

    def download(self, packages: Sequence[str], activity: Activity) -> None:
        """Fetch these packages with all that they depend on, unless they are there. Raises RuntimeError when that cannot be done."""
        for folder in (self.archives / "partial", self.lists / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        activity.tell("waiting for another download of Debian packages")
        with self._alone():
            activity.tell("reading the package indexes")
            self._update()
            wanted: list[str] = []
            self._apt("install", "--print-uris", *packages, on_line=wanted.append)
            total = download_bytes(wanted)
            if total:
                with self._telling(total, activity):
                    persist(
                        "downloading Debian packages",
                        lambda: self._apt("install", "--download-only", *packages),
                        self.pauses_s,
                    )
            (self.folder.parent / ".used").touch()

    def _update(self) -> None:
        """Read the indexes, unless the step before this one has just done it for the same sources."""
        text = "".join(f"{line}\n" for line in self.sources)
        sources, mark = self.folder / "sources.list", self.folder / "updated"
        known = sources.exists() and sources.read_text(encoding="utf-8") == text
        if known and mark.exists() and time.time() - mark.stat().st_mtime < _FRESH_S:
            return
        (self.folder / "status").touch()
        sources.write_text(text, encoding="utf-8")
        persist("reading Debian's package indexes", lambda: self._apt("update"), self.pauses_s)
        mark.touch()

    def hooks(self) -> list[str]:
        """Options with which mmdebstrap finds the downloads in the image that it makes, and the indexes, so that it asks only whether they are current."""
        copies = " && ".join(
            f'mkdir -p "$1"{place} && cp --no-clobber {shlex.quote(str(source))}/*{ending} "$1"{place}'
            for source, place, ending in (
                (self.archives, "/var/cache/apt/archives", ".deb"),
                (self.lists, "/var/lib/apt/lists", "_*"),
            )
        )
        return [f"--setup-hook={copies}"]

    def _apt(self, *arguments: str, on_line: Callable[[str], None] = lambda _: None) -> None:
        settings = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::State::lists": self.lists,
            "Dir::Cache": self.folder / "cache",
            "Dir::Cache::archives": self.archives,
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Keep-Downloaded-Packages": "true",
            # apt's own unprivileged user cannot write into a cache below root's home.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        more = [word for option in self.options for word in ("-o", option)]
        command = ["apt-get", "--yes", "--quiet=2", "--error-on=any", *words, *more, *arguments]
        if arguments[0] != "update":
            command.remove("--error-on=any")
        stream(command, on_line)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two checkouts share the depot; apt refuses a second process instead of waiting for it."""
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _telling(self, total: int, activity: Activity) -> Iterator[None]:
        """Keep the activity's detail true while packages of `total` bytes arrive."""
        before, over = self._bytes(), threading.Event()

        def tell() -> None:
            while not over.wait(_POLL_S):
                activity.tell(f"{(self._bytes() - before) / 1e6:.0f} of {total / 1e6:.0f} MB downloaded")

        watcher = threading.Thread(target=tell, name="debian-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _bytes(self) -> int:
        """What lies in the depot, complete or in part."""
        total = 0
        for path in self.archives.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:  # moved from partial meanwhile
                continue
        return total


def depot(suite: str, sources: Sequence[str], keyring: Path, options: Sequence[str]) -> Depot:
    """The cache's depot for a suite; `sources` are plain `deb URI SUITE COMPONENT` lines, whose signatures must be of the keyring."""
    signed = tuple(re.sub(r"^deb ", f"deb [signed-by={keyring}] ", line) for line in sources)
    return Depot(CACHE / "debian" / suite, signed, tuple(options))


def download_bytes(lines: Sequence[str]) -> int:
    """The size of what apt would download, from lines `'URI' FILE BYTES HASH`; other lines are messages."""
    return sum(int(match[1]) for line in lines if (match := re.match(r"'\S+' \S+ (\d+)(?: |$)", line)))
