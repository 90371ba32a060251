"""Runs a command and says what it cost; reads how busy the machine was meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """One finished command. `cpu_s` is user plus system time of it and of every descendant that it waited for."""

    returncode: int
    wall_s: float
    cpu_s: float


def run(command: Sequence[str], log: Path, *, cwd: Path, environment: Mapping[str, str]) -> Usage:
    """Run a command to its end with its output in a file.

    A file, not a pipe: ssh's shared connections outlive the command and would hold a pipe open. They are also what is not in
    `cpu_s`, because nobody waits for them.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_s = time.monotonic() - begun
    # wait4 has taken what Popen would wait for.
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(process.returncode, wall_s, usage.ru_utime + usage.ru_stime)


@dataclass(frozen=True)
class Ticks:
    """Cumulative times of all processors, in clock ticks since boot (proc(5), the line `cpu` of /proc/stat)."""

    busy: int
    idle: int
    stolen: int

    @classmethod
    def parse(cls, stat: str) -> Ticks:
        """From the text of /proc/stat. Time of guests is part of user time already and is not added."""
        user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, stat.split()[1:9])
        return cls(user + nice + system + interrupts + soft, idle + waiting, stolen)

    @classmethod
    def now(cls) -> Ticks:
        return cls.parse(Path("/proc/stat").read_text(encoding="ascii"))


@dataclass
class Load:
    """What the machine did during a part of the benchmark, in per cent of all its processors' time.

    `stolen` went to other guests of the same hardware. `runnable` is the load average when the part began: without a quiet
    machine the figures are not comparable.
    """

    runnable: float = field(default_factory=lambda: os.getloadavg()[0])
    busy: float = 0.0
    stolen: float = 0.0

    def finish(self, before: Ticks, after: Ticks) -> None:
        busy, idle, stolen = after.busy - before.busy, after.idle - before.idle, after.stolen - before.stolen
        total = busy + idle + stolen
        if total:
            self.busy, self.stolen = 100.0 * busy / total, 100.0 * stolen / total


@contextmanager
def load() -> Iterator[Load]:
    """Fills the yielded `Load` when the block ends."""
    found, before = Load(), Ticks.now()
    try:
        yield found
    finally:
        found.finish(before, Ticks.now())


def machine() -> dict[str, object]:
    """What the figures were measured on, without a name of it."""
    memory_kib = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        if line.startswith("MemTotal:")
    )
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 1024**2, 1),
        "processor": models[0] if models else "unknown",
        "kernel": os.uname().release,
    }
