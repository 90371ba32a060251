"""The module k3s_node on a host that is a folder, with a systemd that only answers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded, k3s_removal
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import BINARY, CONFIGURATION, IMAGES, SERVICES
from ansible_collections.baremetal.gpu.plugins.modules import k3s_node
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import run_module, write

TOKEN = "K10" + "a" * 64 + "::server:secret"
RELEASE = "v9.1.0+k3s1"
TOKEN_FILE = SERVICES["agent"].token_file
UNIT_FILE = SERVICES["agent"].unit_file


class Machine:
    """A host below a folder. ``active`` is the service's state, ``started_us`` when it started on the monotonic clock."""

    def __init__(self, root: Path) -> None:
        self.root = root / "host"
        self.mirror = root / "mirror"
        self.active, self.enabled = "inactive", False
        self.started_us = 0
        self.calls: list[list[str]] = []
        self.tailnet: dict[str, Any] = {}
        write(self.root / "etc/machine-id", "own\n")
        self.offer(RELEASE)
        write(self.mirror / "images.tar", "images")

    def offer(self, release: str) -> None:
        """A binary on the mirror that says it is this release."""
        write(self.mirror / "k3s", release)

    def run(self, command: list[str], _timeout_s: float, _descriptors: Any = ()) -> bounded.Completed:
        self.calls.append(command)
        output, status = "", 0
        if command[:2] == ["systemctl", "show"]:
            file_state = "enabled" if self.enabled else "disabled"
            output = (
                f"ActiveState={self.active}\nUnitFileState={file_state}\n"
                f"ExecMainStartTimestampMonotonic={self.started_us}\n"
            )
        elif command[1:] == ["--version"]:
            output = f"k3s version {Path(command[0]).read_text(encoding='utf-8')} (test)\n"
        elif command[0] == "tailscale":
            output, status = json.dumps(self.tailnet) if self.tailnet else "", 0 if self.tailnet else 1
        elif command[0] == "umount":
            status = 32
        return bounded.Completed(return_code=status, output=output, errors="busy" if status else "", elapsed_s=0.0)

    def start(self) -> None:
        self.enabled = True
        self.active, self.started_us = "active", time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 + 1

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(k3s_node, "ROOT", str(found.root))
    monkeypatch.setattr(bounded, "run", found.run)
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(machine: Machine, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "service": "agent",
        "release": RELEASE,
        "binary_url": f"file://{machine.mirror}/k3s",
        "binary_sha256": sha256(machine.mirror / "k3s"),
        "image_archives": [
            {"url": f"file://{machine.mirror}/images.tar", "sha256": sha256(machine.mirror / "images.tar")}
        ],
        "settings": {"server": "https://10.0.0.20:6443", "node-label": ["a=1"]},
        "token": TOKEN,
        **changes,
    }
    return run_module(k3s_node, arguments, check_mode=check_mode)


def tree(machine: Machine) -> dict[str, bytes]:
    """What is on the host, but for the lock, which is gone with the next boot."""
    paths = (path for path in machine.root.rglob("*") if path.is_file() and path.name != "k3s.lock")
    return {str(path): path.read_bytes() for path in paths}


def test_a_bare_host_gets_everything_and_then_nothing(machine: Machine) -> None:
    first = run(machine)
    assert (first["changed"], first["restart_needed"], first["service_state"]) == (True, False, "inactive")
    assert first["parts"] == ["binary", "images", "configuration", "token", "unit"]
    assert (machine.path(BINARY).read_text(), machine.path(f"{IMAGES}/images.tar").read_text()) == (RELEASE, "images")
    modes = {path: machine.path(path).stat().st_mode & 0o777 for path in (BINARY, CONFIGURATION, TOKEN_FILE, UNIT_FILE)}
    assert modes == {BINARY: 0o755, CONFIGURATION: 0o600, TOKEN_FILE: 0o600, UNIT_FILE: 0o644}
    machine.start()
    before = tree(machine)
    again = run(machine)
    assert (again["changed"], again["start_needed"], again["parts"], again["diff"]) == (False, False, [], [])
    assert tree(machine) == before


@pytest.mark.parametrize("change", [{"active": "inactive"}, {"active": "failed"}, {"enabled": False}])
def test_a_service_that_does_not_run_now_or_at_boot_is_to_be_started(machine: Machine, change: dict[str, Any]) -> None:
    run(machine)
    machine.start()
    for name, value in change.items():
        setattr(machine, name, value)
    result = run(machine)
    assert (result["changed"], result["restart_needed"], result["start_needed"]) == (False, False, True)


def test_what_a_killed_run_left_at_work_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = write(machine.path("/run/baremetal-gpu/k3s.lock"), "")
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waited = threading.Timer(0.3, fcntl.flock, (other, fcntl.LOCK_UN))
        waited.start()
        assert run(machine)["changed"]
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(k3s_node, "WAIT_FOR_OTHERS_S", 0.0)
        before = tree(machine)
        refused = run(machine, token=TOKEN + "new")
    assert (refused["failed"], refused["code"]) == (True, "BG-K3S-019")
    assert tree(machine) == before


def test_check_mode_predicts_the_same_and_writes_nothing(machine: Machine) -> None:
    before = tree(machine)
    predicted = run(machine, check_mode=True)
    assert tree(machine) == before
    real = run(machine)
    for key in ("changed", "restart_needed", "start_needed", "parts", "diff"):
        assert predicted[key] == real[key], key


@pytest.mark.parametrize(
    ("changes", "part", "restart"),
    [
        ({"settings": {"server": "https://10.0.0.20:6443", "node-label": ["a=2"]}}, "configuration", False),
        ({"settings": {"server": "https://10.0.0.99:6443", "node-label": ["a=1"]}}, "configuration", True),
        ({"token": TOKEN + "new"}, "token", True),
    ],
)
def test_a_running_service_restarts_only_for_what_it_reads(
    machine: Machine, changes: dict[str, Any], part: str, restart: bool
) -> None:
    run(machine)
    machine.start()
    predicted = run(machine, check_mode=True, **changes)
    real = run(machine, **changes)
    for result in (predicted, real):
        assert (result["changed"], result["parts"], result["restart_needed"]) == (True, [part], restart)
    machine.start()
    assert not run(machine, **changes)["changed"]


CONNECTED = {"BackendState": "Running", "TUN": True, "TailscaleIPs": ["100.64.0.2"], "Self": {"Online": True}}
OVER: dict[str, Any] = {"tailnet_interface": "tailscale0"}
TAILNET_FILE = SERVICES["agent"].tailnet_file


def test_a_node_over_the_tailnet_has_the_address_that_the_host_has_there(machine: Machine) -> None:
    predicted = run(machine, check_mode=True, **OVER)
    refused = run(machine, **OVER)
    assert (refused["failed"], refused["code"]) == (True, "BG-TAILNET-101"), "there is no tailscaled yet"
    machine.tailnet = {**CONNECTED, "BackendState": "Stopped"}
    refused = run(machine, **OVER)
    assert (refused["failed"], refused["code"]) == (True, "BG-K3S-022")
    assert not machine.path(CONFIGURATION).exists()
    machine.tailnet = CONNECTED
    done = run(machine, **OVER)
    assert predicted["parts"] == done["parts"] == ["binary", "images", "configuration", "token", "unit"]
    text = machine.path(CONFIGURATION).read_text(encoding="utf-8")
    assert ('node-ip: "100.64.0.2"' in text, 'flannel-iface: "tailscale0"' in text) == (True, True)
    assert "After=tailscaled.service" in machine.path(TAILNET_FILE).read_text(encoding="utf-8")
    machine.start()
    before = tree(machine)
    assert not run(machine, **OVER)["changed"]
    machine.tailnet = {}
    assert not run(machine, check_mode=True, **OVER)["changed"], "a node keeps its address when it logs in again"
    assert tree(machine) == before


def test_only_what_runs_otherwise_restarts_a_node_over_the_tailnet(machine: Machine) -> None:
    machine.tailnet = CONNECTED
    run(machine, **OVER)
    machine.start()
    machine.path(TAILNET_FILE).unlink()
    machine.calls.clear()
    ordered = run(machine, **OVER)
    assert (ordered["changed"], ordered["parts"], ordered["restart_needed"]) == (True, ["unit"], False)
    assert ["systemctl", "daemon-reload"] in machine.calls
    machine.tailnet = {**CONNECTED, "TailscaleIPs": ["100.64.0.3"]}
    moved = run(machine, **OVER)
    assert (moved["parts"], moved["restart_needed"]) == (["configuration", "unit"], True)
    machine.start()
    left = run(machine, settings={"server": "https://10.0.0.20:6443", "node-ip": "10.0.0.21"})
    assert (left["parts"], left["restart_needed"]) == (["configuration", "unit"], True)
    assert not machine.path(TAILNET_FILE).exists()


@pytest.mark.parametrize("is_shared", [False, True])
def test_the_order_goes_with_the_node_and_other_drop_ins_stay(machine: Machine, is_shared: bool) -> None:
    machine.tailnet = CONNECTED
    run(machine, **OVER)
    folder = machine.path(TAILNET_FILE).parent
    if is_shared:
        write(folder / "site.conf", "[Service]\n")
    assert TAILNET_FILE in run_module(k3s_node, {"service": "agent", "state": "absent"})["removed"]
    assert [path.name for path in folder.glob("*")] == (["site.conf"] if is_shared else [])
    assert folder.exists() is is_shared


def test_a_change_of_release_asks_for_no_tailnet(machine: Machine) -> None:
    assert run(machine, parts=["binary", "images"], **OVER)["parts"] == ["binary", "images"]
    assert not any(call[0] == "tailscale" for call in machine.calls)


def test_a_run_that_was_cut_short_before_the_restart_is_made_good(machine: Machine) -> None:
    run(machine)
    machine.start()
    run(machine, token=TOKEN + "new")
    # No restart happened, and everything is written.
    again = run(machine, token=TOKEN + "new")
    assert (again["changed"], again["parts"], again["restart_needed"]) == (True, [], True)
    machine.start()
    assert not run(machine, token=TOKEN + "new")["changed"]


def test_an_agent_whose_node_was_deleted_starts_anew_to_register(machine: Machine) -> None:
    assert not run(machine, node_absent=True)["restart_needed"], "it is not running yet"
    machine.start()
    predicted = run(machine, check_mode=True, node_absent=True)
    assert (predicted["changed"], predicted["restart_needed"], predicted["parts"]) == (True, True, [])
    assert not run(machine, node_absent=False)["changed"]


def test_a_secret_is_in_no_result(machine: Machine) -> None:
    assert TOKEN not in str(run(machine))
    assert "secret" not in str(run(machine, token="K10x::server:other-secret")["parts"])


def test_an_artefact_that_is_not_the_declared_one_changes_nothing(machine: Machine) -> None:
    before = tree(machine)
    result = run(machine, binary_sha256="0" * 64)
    assert (result["failed"], result["code"]) == (True, "BG-K3S-008")
    assert tree(machine) == before


def test_an_artefact_that_cannot_be_fetched_changes_nothing(machine: Machine) -> None:
    run(machine)
    before = tree(machine)
    result = run(machine, binary_sha256="0" * 64, binary_url=f"file://{machine.mirror}/absent")
    assert (result["failed"], result["code"]) == (True, "BG-K3S-008")
    assert tree(machine) == before


def test_a_binary_of_another_release_than_declared_is_refused(machine: Machine) -> None:
    before = tree(machine)
    machine.offer("v9.1.0+k3s7")
    result = run(machine)
    assert (result["code"], "v9.1.0+k3s7" in result["msg"]) == ("BG-K3S-008", True)
    assert tree(machine) == before


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_release_of_a_running_service_is_not_changed_by_surprise(machine: Machine, check_mode: bool) -> None:
    run(machine)
    machine.start()
    machine.offer("v9.2.0+k3s1")
    before = tree(machine)
    result = run(machine, check_mode=check_mode, release="v9.2.0+k3s1", settings={"debug": True})
    assert (result["failed"], result["code"]) == (True, "BG-K3S-006")
    assert tree(machine) == before, "refused before the first change, also of the configuration"


def test_a_stopped_service_may_get_another_release(machine: Machine) -> None:
    run(machine)
    machine.offer("v9.2.0+k3s1")
    assert run(machine, release="v9.2.0+k3s1")["parts"] == ["binary"]


def test_a_damaged_binary_of_the_same_release_is_replaced(machine: Machine) -> None:
    run(machine)
    machine.start()
    wanted = sha256(machine.mirror / "k3s")
    machine.path(BINARY).write_text(RELEASE + "\n", encoding="utf-8")
    result = run(machine, binary_sha256=wanted)
    assert (result["parts"], result["restart_needed"]) == (["binary"], True)


def test_an_upgrade_touches_binary_and_images_only_and_keeps_the_way_back(machine: Machine) -> None:
    run(machine)
    machine.start()
    machine.offer("v9.2.0+k3s1")
    upgrade: dict[str, Any] = {"release": "v9.2.0+k3s1", "release_change": True, "parts": ["binary", "images"]}
    result = run(machine, **upgrade, settings={"debug": True})
    assert (result["parts"], result["restart_needed"]) == (["binary"], True)
    assert "debug" not in machine.path(CONFIGURATION).read_text(encoding="utf-8")
    back = run_module(k3s_node, {"service": "agent", "state": "previous"})
    assert (back["changed"], machine.path(BINARY).read_text(encoding="utf-8")) == (True, RELEASE)
    assert not run_module(k3s_node, {"service": "agent", "state": "previous"})["changed"]


def test_what_an_earlier_upgrade_left_is_no_way_back_from_this_one(machine: Machine) -> None:
    run(machine)
    write(machine.path(BINARY + ".previous"), "very old")
    machine.start()
    machine.offer("v9.2.0+k3s1")
    failed = run(machine, release="v9.2.0+k3s1", release_change=True, binary_url="file:///absent")
    assert failed["code"] == "BG-K3S-008"
    assert not run_module(k3s_node, {"service": "agent", "state": "previous"})["changed"]
    assert machine.path(BINARY).read_text(encoding="utf-8") == RELEASE


@pytest.mark.parametrize(("registered", "refused"), [("other", True), ("own", False), ("", False)])
def test_the_node_of_another_machine_is_not_taken_over(machine: Machine, registered: str, refused: bool) -> None:
    before = tree(machine)
    result = run(machine, other_machine=registered)
    assert (result.get("code") == "BG-K3S-007") is refused
    assert (tree(machine) == before) is refused


def add_process(machine: Machine, number: int, parent: int, *arguments: str) -> None:
    write(machine.path(f"/proc/{number}/cmdline"), "\0".join(arguments) + "\0")
    write(machine.path(f"/proc/{number}/stat"), f"{number} (a) b) S {parent} 1 1")


@pytest.fixture
def ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes that were killed; a killed one is gone at once."""
    numbers: list[int] = []

    def kill(number: int, _signal: int) -> None:
        numbers.append(number)
        for name in ("cmdline", "stat"):
            machine.path(f"/proc/{number}/{name}").unlink()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(k3s_removal, "END_TIMEOUT_S", 0.0)
    return numbers


def installed(machine: Machine) -> None:
    run(machine)
    machine.start()
    write(machine.path("/var/lib/rancher/k3s/agent/client-kubelet.crt"), "x")
    write(machine.path("/var/lib/kubelet/pods/1/x"), "x")
    write(machine.path("/etc/cni/other"), "theirs")


def remove(machine: Machine, check_mode: bool = False) -> dict[str, Any]:
    return run_module(k3s_node, {"service": "agent", "state": "absent"}, check_mode=check_mode)


def test_removal_takes_what_k3s_made_and_nothing_else(machine: Machine, ended: list[int]) -> None:
    installed(machine)
    predicted = remove(machine, check_mode=True)
    assert machine.path(BINARY).exists()
    result = remove(machine)
    assert (result["changed"], result["removed"]) == (True, predicted["removed"])
    for path in (BINARY, UNIT_FILE, "/etc/rancher/k3s", "/var/lib/rancher/k3s", "/var/lib/kubelet"):
        assert not machine.path(path).exists(), path
    assert machine.path("/etc/cni/other").exists()
    assert ["systemctl", "disable", "--now", "k3s-agent"] in machine.calls
    assert ended == []


def test_removal_of_nothing_changes_nothing(machine: Machine, ended: list[int]) -> None:
    installed(machine)
    remove(machine)
    calls = len(machine.calls)
    again = remove(machine)
    assert (again["changed"], again["removed"]) == (False, [])
    assert [call[:2] for call in machine.calls[calls:]] == [["systemctl", "show"]]


def test_removal_ends_containers_of_k3s_and_no_others(machine: Machine, ended: list[int]) -> None:
    installed(machine)
    add_process(
        machine,
        10,
        1,
        "/var/lib/rancher/k3s/data/x/bin/containerd-shim-runc-v2",
        "-address",
        "/run/k3s/containerd/containerd.sock",
    )
    add_process(machine, 11, 10, "sleep", "1")
    add_process(machine, 12, 11, "sleep", "1")
    add_process(machine, 20, 1, "/usr/bin/containerd-shim-runc-v2", "-address", "/run/containerd/containerd.sock")
    add_process(machine, 21, 20, "sleep", "1")
    # Its shim is gone already.
    add_process(machine, 30, 1, "sleep", "1")
    write(machine.path("/proc/30/cgroup"), "0::/kubepods/besteffort/pod1/x\n")
    remove(machine)
    assert sorted(ended) == [10, 11, 12, 30]


def mount(machine: Machine, *points: str) -> None:
    lines = [f"1 1 0:1 / {machine_point} rw - tmpfs x rw" for machine_point in points]
    write(machine.path("/proc/self/mountinfo"), "\n".join(lines) + "\n")


def test_a_volume_that_cannot_be_unmounted_stops_the_removal_before_data_is_deleted(
    machine: Machine, ended: list[int]
) -> None:
    installed(machine)
    mount(machine, "/var/lib/kubelet/pods/1")
    result = remove(machine)
    assert (result["failed"], result["code"]) == (True, "BG-K3S-013")
    assert machine.path("/var/lib/kubelet/pods/1/x").exists()
    assert machine.path(UNIT_FILE).exists(), "so that the next run goes on"


def test_what_others_mounted_and_the_users_volumes_stay(machine: Machine, ended: list[int]) -> None:
    installed(machine)
    mount(machine, "/var/lib/rancher/k3s/agent/own\\040disk", "/var/lib/kubelet")
    write(machine.path("/var/lib/rancher/k3s/agent/own disk/data"), "x")
    write(machine.path("/var/lib/rancher/k3s/storage/pvc-1/data"), "x")
    result = remove(machine)
    assert machine.path("/var/lib/rancher/k3s/agent/own disk/data").exists()
    assert machine.path("/var/lib/rancher/k3s/storage/pvc-1/data").exists()
    assert list(machine.path("/var/lib/kubelet").iterdir()) == [], "the mount point stays, its content goes"
    assert not machine.path("/var/lib/rancher/k3s/agent/client-kubelet.crt").exists()
    assert any("own disk" in line for line in result["left"])
    assert any("storage" in line for line in result["left"])
    assert not remove(machine)["changed"]


@pytest.mark.parametrize("unit", [SERVICES["server"].unit_file, "/etc/systemd/system/kubelet.service"])
def test_a_host_that_is_another_node_too_is_left_alone(machine: Machine, ended: list[int], unit: str) -> None:
    installed(machine)
    write(machine.path(unit), "")
    before = tree(machine)
    assert remove(machine)["code"] == "BG-K3S-012"
    assert tree(machine) == before


def test_a_service_that_does_not_stop_is_not_removed(
    machine: Machine, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(machine)
    answer = machine.run

    def refuse(command: list[str], timeout_s: float) -> bounded.Completed:
        if command[:2] == ["systemctl", "disable"]:
            return bounded.Completed(return_code=1, output="", errors="no", elapsed_s=0.0)
        return answer(command, timeout_s)

    monkeypatch.setattr(bounded, "run", refuse)
    assert remove(machine)["code"] == "BG-K3S-013"
    assert machine.path(BINARY).exists()
