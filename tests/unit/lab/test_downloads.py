"""What is interrupted goes on: a broken connection, a killed download, and another run ask only for what is missing."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab import debs, golang
from lab.commands import persist, stream
from lab.golang import Module
from lab.progress import Activity

MODIFIED = email.utils.formatdate(1_700_000_000, usegmt=True)


@dataclass
class Mirror:
    """A web server whose connections can be cut. `asked` has each request with the byte from which it wants the file."""

    files: dict[str, bytes]
    cut_once: set[str] = field(default_factory=set)
    """Paths whose first answer ends in the middle."""
    stall_once: set[str] = field(default_factory=set)
    """Paths whose first answer stops in the middle until `go_on` is set."""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def starts(self, path: str) -> list[int]:
        """From which byte this path was asked for, in order."""
        return [start for asked, start in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def do_GET(self) -> None:
        path = self.path.removeprefix("/").removeprefix("./")
        body = self.mirror.files.get(path)
        if body is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        # As the standard has it: another date means another file, which is sent whole.
        start = int(asked[1]) if asked and self.headers.get("If-Range", MODIFIED) == MODIFIED else 0
        self.mirror.asked.append((path, start))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Last-Modified", MODIFIED)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        half = (start + len(body)) // 2
        if path in self.mirror.cut_once:
            self.mirror.cut_once.discard(path)
            self.wfile.write(body[start:half])
            self.close_connection = True
        elif path in self.mirror.stall_once:
            self.mirror.stall_once.discard(path)
            self.wfile.write(body[start:half])
            self.wfile.flush()
            self.mirror.stalled.set()
            self.mirror.go_on.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(body[start:])

    def log_message(self, *_: object) -> None:
        """Quiet: the tests look at `asked`."""


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    known = Mirror({})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"mirror": known}))
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield known
    known.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


def activity() -> Activity:
    return Activity("test", time.monotonic())


def publish_debs(mirror: Mirror, sizes: dict[str, int]) -> None:
    """An apt repository without signatures; the packages are noise, which apt downloads and does not open."""
    entries = []
    for name, size in sizes.items():
        content = random.Random(name).randbytes(size)
        mirror.files[f"{name}_1_amd64.deb"] = content
        entries.append(
            f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.test>\n"
            f"Filename: ./{name}_1_amd64.deb\nSize: {size}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
            f"Description: noise\n"
        )
    packages = "\n".join(entries).encode()
    mirror.files["Packages"] = packages
    digest = hashlib.sha256(packages).hexdigest()
    release = f"Date: {MODIFIED}\nSHA256:\n {digest} {len(packages)} Packages\n"
    mirror.files["Release"] = release.encode()


def depot(mirror: Mirror, folder: Path) -> debs.Depot:
    options = ("Acquire::Retries::Delay=false", "Acquire::http::Proxy=DIRECT", "Acquire::http::Timeout=60")
    return debs.Depot(folder / "suite", (f"deb [trusted=yes] {mirror.url} ./",), options, (0.0, 0.0))


def test_a_debian_package_whose_connection_broke_is_continued(mirror: Mirror, tmp_path: Path) -> None:
    publish_debs(mirror, {"large": 400_000, "small": 1000})
    mirror.cut_once = {"large_1_amd64.deb"}
    place = depot(mirror, tmp_path)
    place.download(["large", "small"], activity())
    assert mirror.starts("large_1_amd64.deb") == [0, 200_000]
    assert mirror.starts("small_1_amd64.deb") == [0]
    assert (place.archives / "large_1_amd64.deb").read_bytes() == mirror.files["large_1_amd64.deb"]


def test_debian_packages_that_are_there_are_not_downloaded_again(mirror: Mirror, tmp_path: Path) -> None:
    publish_debs(mirror, {"one": 1000, "two": 1000})
    depot(mirror, tmp_path).download(["one"], activity())
    depot(mirror, tmp_path).download(["one", "two"], activity())
    assert mirror.starts("one_1_amd64.deb") == [0]
    assert mirror.starts("two_1_amd64.deb") == [0]


def test_indexes_are_read_once_for_the_steps_that_follow_each_other(mirror: Mirror, tmp_path: Path) -> None:
    publish_debs(mirror, {"one": 1000, "two": 1000})
    depot(mirror, tmp_path).download(["one"], activity())
    read = len(mirror.starts("Packages"))
    depot(mirror, tmp_path).download(["two"], activity())
    assert len(mirror.starts("Packages")) == read == 1
    mark = tmp_path / "suite/updated"
    os.utime(mark, (1.0, 1.0))
    asked = len(mirror.asked)
    depot(mirror, tmp_path).download(["two"], activity())
    assert len(mirror.asked) > asked


def test_a_damaged_debian_package_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    publish_debs(mirror, {"one": 1000})
    mirror.files["one_1_amd64.deb"] = bytes(1000)
    with pytest.raises(RuntimeError, match="Hash Sum mismatch"):
        depot(mirror, tmp_path).download(["one"], activity())
    assert not (tmp_path / "suite/archives/one_1_amd64.deb").exists()


SCRIPT = """\
import sys, time
from pathlib import Path
from lab.debs import Depot
from lab.progress import Activity
url, folder, *packages = sys.argv[1:]
options = ("Acquire::http::Proxy=DIRECT", "Acquire::http::Timeout=60")
Depot(Path(folder), (f"deb [trusted=yes] {url} ./",), options, ()).download(packages, Activity("test", time.monotonic()))
"""


@pytest.mark.parametrize(("number", "continued"), [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_a_killed_download_goes_on_in_the_next_run(
    mirror: Mirror, tmp_path: Path, number: signal.Signals, continued: bool
) -> None:
    """What was complete is kept in any case. The file in the middle is continued unless apt had no chance to note which one it was."""
    publish_debs(mirror, {"alpha": 1000, "omega": 400_000})
    depot(mirror, tmp_path).download(["alpha"], activity())
    mirror.stall_once = {"omega_1_amd64.deb"}
    command = [sys.executable, "-c", SCRIPT, mirror.url, str(tmp_path / "suite"), "alpha", "omega"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    partial = tmp_path / "suite/archives/partial/omega_1_amd64.deb"
    assert mirror.stalled.wait(60)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    for each in [*descendants(process.pid), process.pid]:
        # Some end by themselves, or with those before them.
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)
    process.wait(60)
    depot(mirror, tmp_path).download(["alpha", "omega"], activity())
    assert mirror.starts("alpha_1_amd64.deb") == [0]
    first, second = mirror.starts("omega_1_amd64.deb")
    assert first == 0
    assert (second > 0) == continued
    complete = (tmp_path / "suite/archives/omega_1_amd64.deb").read_bytes()
    assert complete == mirror.files["omega_1_amd64.deb"]


def descendants(pid: int) -> list[int]:
    """All processes below one, the youngest first."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(text.rpartition(") ")[2].split()[1]), []).append(int(text.split()[0]))
    found: list[int] = []
    for child in parents.get(pid, []):
        found = [*descendants(child), child, *found]
    return found


def test_the_size_of_a_download_is_known_before_it_starts() -> None:
    lines = [
        "Reading package lists...",
        "'http://m.test/a.deb' a_1_amd64.deb 1200 SHA256:00",
        "'http://m.test/b' b 34 ",
    ]
    assert debs.download_bytes(lines) == 1234


def publish_module(mirror: Mirror, name: str, size: int) -> str:
    """A Go module with one large file, in the layout of a module proxy; returns its lines of a go.sum."""
    version = "v1.0.0"
    noise = random.Random(name).randbytes(size).hex()
    files = {
        "go.mod": f"module {name}\n\ngo 1.24\n",
        "code.go": f'package code\n\n// Text is noise.\nconst Text = "{noise}"\n',
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(f"{name}@{version}/{path}", text)
    mirror.files[f"{name}/@v/{version}.info"] = f'{{"Version":"{version}"}}'.encode()
    mirror.files[f"{name}/@v/{version}.mod"] = files["go.mod"].encode()
    mirror.files[f"{name}/@v/{version}.zip"] = content.getvalue()
    whole = go_hash({f"{name}@{version}/{path}": text for path, text in files.items()})
    return f"{name} {version} {whole}\n{name} {version}/go.mod {go_hash({'go.mod': files['go.mod']})}\n"


def go_hash(files: dict[str, str]) -> str:
    """Go's hash "h1:": SHA-256 over the sorted list of the files' own."""
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {path}\n" for path, text in sorted(files.items())]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def test_a_go_module_whose_connection_broke_is_fetched_again_and_the_others_are_not(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["example.test/broken", "example.test/whole"]
    folder = tmp_path / "sources/program"
    folder.mkdir(parents=True)
    sums = "".join(publish_module(mirror, name, 50_000) for name in names)
    (folder / "go.sum").write_text(sums, encoding="ascii")
    requirements = "".join(f"require {name} v1.0.0\n" for name in names)
    (folder / "go.mod").write_text(f"module lab/program\n\ngo 1.24\n\n{requirements}", encoding="ascii")
    imports = "".join(f'import _ "{name}"\n' for name in names)
    (folder / "main.go").write_text(f"package main\n\n{imports}\nfunc main() {{}}\n", encoding="ascii")
    monkeypatch.setattr(golang, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(golang, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("GOPROXY", mirror.url)
    mirror.cut_once = {"example.test/broken/@v/v1.0.0.zip"}
    golang.fetch(Module(folder="program", programs={"program": "."}, ldflags=""), activity(), (0.0, 0.0))
    assert mirror.starts("example.test/broken/@v/v1.0.0.zip") == [0, 0]
    assert mirror.starts("example.test/whole/@v/v1.0.0.zip") == [0]


def test_what_the_network_interrupts_is_tried_again_after_growing_pauses() -> None:
    slept: list[float] = []
    failures = [RuntimeError("cut"), RuntimeError("cut")]

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "whole"

    assert persist("a download", attempt, (1.0, 4.0, 9.0), slept.append) == "whole"
    assert slept == [1.0, 4.0]


def test_what_stays_broken_is_an_error_in_the_end() -> None:
    def attempt() -> None:
        raise RuntimeError("no route to host")

    with pytest.raises(RuntimeError, match="no route to host"):
        persist("a download", attempt, (0.0,), lambda _: None)


def test_a_program_that_fails_tells_its_last_lines() -> None:
    lines: list[str] = []
    with pytest.raises(RuntimeError, match="sh ended with 3:\none\ntwo"):
        stream(["sh", "-c", "echo one; echo two >&2; exit 3"], lines.append)
    assert lines == ["one", "two"]


def test_a_program_ends_with_what_watches_it() -> None:
    started: list[int] = []

    def stop(line: str) -> None:
        started.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(["sh", "-c", "echo $$; sleep 600 & wait"], stop)
    deadline = time.monotonic() + 30
    while alive(started[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(started[0]) == []


def alive(group: int) -> list[int]:
    """The processes of a group that still run; what is dead may wait for its parent for ever."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, its_group = text.rpartition(") ")[2].split()[:3]
        if int(its_group) == group and state not in "ZX":
            found.append(int(status.parent.name))
    return found
