"""Labs live side by side, and leave nothing on the machine."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.baremetal.gpu.tests.support.breaking import Engine

pytestmark = [pytest.mark.lab, pytest.mark.alone]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "baremetal-gpu"
RUN = Path("/run/baremetal-gpu-lab")
SETTINGS = ("fs/inotify/max_user_instances", "net/ipv4/ip_forward")
# Where programs of the lab could leave something outside the checkout and the cache.
FOLDERS = (
    "/dev/shm",
    "/etc/containers",
    "/etc/cni",
    "/run/containers",
    "/run/libpod",
    "/run/netns",
    "/var/lib/cni",
    "/var/tmp",
)


@dataclass
class Snapshot:
    """What is on the machine, by kind."""

    kinds: dict[str, set[str]] = field(default_factory=dict)

    def more_than(self, former: Snapshot) -> dict[str, set[str]]:
        """What is there now and was not before."""
        return {kind: more for kind, there in self.kinds.items() if (more := there - former.kinds[kind])}


def snapshot() -> Snapshot:
    """Processes and containers of labs, interfaces, packet filter, mounts, loop devices, settings, and files outside the cache."""
    filters = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return Snapshot(
        {
            "processes": {line for line in command_lines() if re.search(r"\bbmg-[0-9a-f]{8}-|-m lab supervise", line)},
            "containers": names_below(CACHE / "podman/storage/overlay-containers"),
            "networks": names_below(CACHE / "podman/networks"),
            "volumes": names_below(CACHE / "podman/storage/volumes"),
            "interfaces": names_below(Path("/sys/class/net")),
            "packet filter": {line for line in filters if line.startswith("-A") or " - [" in line},
            "mounts": {line.split()[4] for line in mounts},
            "loop devices": {str(path) for path in Path("/sys/block").glob("loop*/loop")},
            "settings": {f"{name}={Path('/proc/sys', name).read_text().strip()}" for name in SETTINGS},
            "files": {str(path) for folder in (RUN, *map(Path, FOLDERS)) for path in folder.rglob("*")},
        }
    )


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"} if folder.is_dir() else set()


def command_lines() -> set[str]:
    """Process number and command line of every process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        found.add(f"{path.parent.name} {words}")
    return found


@dataclass(frozen=True)
class Story:
    """Two labs of one plain host each: what was seen before, while both ran, and after each was removed."""

    before: Snapshot
    both: Snapshot
    subnets: tuple[str, str]
    second_answers: bool
    settings_between: set[str]
    after: Snapshot
    states: tuple[Path, Path]


@pytest.fixture(scope="module")
def story(root: Path) -> Story:
    first, second = (Engine(root, root / f".lab/tiny-{number}") for number in (1, 2))
    before = snapshot()
    try:
        first.run("boot", "mirror")
        second.run("boot", "mirror")
        first.run("fault", "mirror", "net_slow")
        both = snapshot()
        subnets = [(lab.state / "subnet").read_text(encoding="utf-8").strip() for lab in (first, second)]
        first.run("clean")
        answers = second.shell("mirror", "systemctl is-system-running", check=False).strip() == "running"
        settings_between = snapshot().kinds["settings"]
    finally:
        first.run("clean")
        second.run("clean")
    states = (first.state, second.state)
    return Story(before, both, (subnets[0], subnets[1]), answers, settings_between, snapshot(), states)


def test_two_labs_run_at_the_same_time(story: Story) -> None:
    new = story.both.more_than(story.before)
    assert len([line for line in new["processes"] if "-m lab supervise" in line]) == 2
    assert len(new["networks"]) == 2
    assert len(new["loop devices"]) == 2


def test_each_lab_has_a_network_of_its_own(story: Story) -> None:
    assert story.subnets[0] != story.subnets[1]


def test_removing_one_lab_leaves_the_other_alone(story: Story) -> None:
    assert story.second_answers
    assert story.settings_between == story.both.kinds["settings"]


def test_nothing_is_left_on_the_machine(story: Story) -> None:
    assert story.after.more_than(story.before) == {}
    assert [state for state in story.states if state.exists()] == []
