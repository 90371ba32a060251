"""The kernel log of a host is its own: what stands in for /dev/kmsg keeps the contract of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists(), reason="mounting needs root and /dev/fuse"
)

# Each runs in a mount namespace of its own, on a file in place of /dev/kmsg: {log}, and the pipe of the kernel: {kernel}.
PREPARE = "set -e; mount --make-rprivate /; {program} {log} {kernel}; trap 'umount {log}' EXIT;"


# Python on the open log `fd`; `records()` are all that can be read without waiting.
READER = """
import os, select, sys
fd = os.open({log!r}, os.O_RDONLY | os.O_NONBLOCK)
def records():
    found = []
    try:
        while True:
            found.append(os.read(fd, 8192).decode())
    except BlockingIOError:
        return found
"""


def in_namespace(folder: Path, program: Path, script: str, reader: str = "") -> str:
    """What a shell script, and then a reader in Python, print with a kernel log mounted on `folder/log`."""
    names = {"log": str(folder / "log"), "kernel": str(folder / "kernel")}
    Path(names["log"]).touch()
    read = folder / "read.py"
    read.write_text(READER.format(**names) + reader, encoding="utf-8")
    then = f"; {sys.executable} {read} {names['kernel']}" if reader else ""
    command = ["unshare", "--mount", "timeout", "30", "sh", "-c"]
    command.append(PREPARE.format(program=program, **names) + script.format(**names) + then)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def program(stand_ins: Path) -> Path:
    return stand_ins / "simulated-kmsg"


def test_each_read_is_one_record_of_the_kernel(tmp_path: Path, program: Path) -> None:
    reader = "while len(found := records()) < 2:\n    os.lseek(fd, 0, os.SEEK_SET)\nprint(*found, sep='', end='')"
    script = "printf '<4>NVRM: Xid (PCI:0000:10:00): 79, gone\\n<6>second\\n' > {kernel}"
    first, second = in_namespace(tmp_path, program, script, reader).splitlines()
    prefix, _, text = first.partition(";")
    level, number, _, flags = prefix.split(",")
    assert (level, number, flags, text) == ("4", "0", "-", "NVRM: Xid (PCI:0000:10:00): 79, gone")
    assert second.startswith("6,1,")


def test_what_a_program_writes_is_not_of_the_kernel(tmp_path: Path, program: Path) -> None:
    out = in_namespace(tmp_path, program, "echo '<3>from a program' > {log}", "print(*records(), end='')")
    assert out.startswith("11,0,")  # facility 1 (user), level 3
    assert out.endswith(";from a program\n")


def test_a_reader_who_begins_at_the_end_is_woken_by_the_next_record(tmp_path: Path, program: Path) -> None:
    reader = (
        "os.lseek(fd, 0, os.SEEK_END)\nwaiting = select.epoll()\nwaiting.register(fd, select.EPOLLIN)\nprint(records())\n"
        "os.write(os.open(sys.argv[1], os.O_WRONLY), b'<2>new\\n')\n"
        "print(len(waiting.poll(10)), records()[0].partition(';')[2], end='')"
    )
    assert in_namespace(tmp_path, program, "echo old > {log}", reader) == "[]\n1 new\n"


def test_a_buffer_that_is_too_small_is_an_error(tmp_path: Path, program: Path) -> None:
    reader = "try:\n    os.read(fd, 4)\nexcept OSError as error:\n    print(error.errno)"
    assert in_namespace(tmp_path, program, "echo long enough > {log}", reader) == "22\n"


def test_a_killed_reader_does_not_hang(tmp_path: Path, program: Path) -> None:
    script = "cat {log} & reader=$!; sleep 0.2; kill -9 $reader; wait $reader || echo $?"
    assert in_namespace(tmp_path, program, script) == "137\n"


def test_dmesg_reads_it(tmp_path: Path, program: Path) -> None:
    script = "mount --bind {log} /dev/kmsg; printf '<4>NVRM: Xid\\n' > {kernel}; sleep 0.2; dmesg; umount /dev/kmsg"
    out = in_namespace(tmp_path, program, script)
    assert out.rstrip().endswith("] NVRM: Xid")
    assert out.count("\n") == 1
