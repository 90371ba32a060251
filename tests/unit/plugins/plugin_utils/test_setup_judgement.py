"""Readings of a host's setup against what roles declare: each good case beside its faults."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, UNKNOWN, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.setup_readings import difference, digest
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.setup_judgement import is_version, judge
from ansible_collections.baremetal.gpu.tests.unit.plugins.filter.test_openpgp_fingerprints import FINGERPRINT, KEY

MACHINE = "0f2c5d8c9a7b4e0d8f0c7d2b1a3e4f50"
CONFIG = '[runtimes.nvidia]\nBinaryName = "/usr/bin/nvidia-container-runtime"\n'
RUNTIME = "/usr/bin/nvidia-container-runtime"


def file(code: str, path: str, **asked: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"package_manager": None, "absent": False, "content": None, "settings": {}, "refused": {}}
    return {"code": code, "path": path, **empty, "fingerprint": None, **asked}


WANTED: dict[str, Any] = {
    "packages": [
        {"code": "BG-CTRD-001", "names": ["containerd.io"], "version": "1.7.20"},
        {"code": "BG-CTK-002", "names": ["nvidia-container-toolkit", "libnvidia-container1"], "version": "1.17.8"},
        {"code": "BG-K8S-009", "names": ["kubelet"], "version": "1.34.4"},
    ],
    "files": [
        file("BG-CTRD-002", "/etc/containerd/config.toml", content=CONFIG),
        file("BG-CTK-003", "/etc/nvidia-container-runtime/config.toml", content='mode = "cdi"\n'),
        file(
            "BG-REPO-003",
            "/etc/yum.repos.d/x.repo",
            package_manager="dnf",
            settings={"baseurl": "http://mirror/rpm", "gpgcheck": "1"},
            refused={"enabled": "0"},
        ),
        file("BG-REPO-003", "/etc/apt/sources.list.d/x.sources", package_manager="apt", settings={"URIs": "no"}),
        file("BG-REPO-004", "/etc/pki/x", fingerprint=FINGERPRINT.lower()),
        file("BG-K8S-005", "/etc/kubernetes/pki/.kubeadm-initialised"),
        file("BG-K8S-005", "/etc/kubernetes/.kubeadm-init-begun", absent=True),
        file("BG-K8S-006", "/etc/kubernetes/manifests/kube-apiserver.yaml", settings={"image": "r/kube-apiserver:v1"}),
    ],
    "services": [
        {"code": "BG-CTRD-003", "name": "containerd.service", "reads": ["/etc/containerd/config.toml"]},
        {"code": "BG-K8S-010", "name": "kubelet.service", "reads": []},
    ],
    "programs": [{"code": "BG-CTRD-004", "paths": [RUNTIME]}],
    "images": [{"code": "BG-IMG-006"}],
    "nodes": [{"code": "BG-K8S-008", "name": "onyx-g1", "labels": {"role": "gpu"}}],
    "releases": [{"code": "BG-K8S-007", "release": "v1.34.4"}],
    "cluster": {
        "server_version": "v1.34.4",
        "nodes": {"onyx-g1": {"machine_id": MACHINE, "labels": {"role": "gpu", "zone": "a"}}},
    },
}


def found(path: str, **read: Any) -> dict[str, Any]:
    return {"path": path, "exists": True, "problem": "", "differs": None, "settings": {}, "key": "", **read}


def unit(started: float | None = 1000.0, **other: Any) -> dict[str, Any]:
    state = {"installed": True, "active": True, "state": "active (running)", "enabled": "enabled"}
    return {**state, "started": started, **other}


READINGS: dict[str, Any] = {
    "schema": 1,
    "package_manager": "dnf",
    "packages": {
        "containerd.io": {"state": "installed", "version": "1.7.20"},
        "nvidia-container-toolkit": {"state": "installed", "version": "1.17.8-1"},
        "libnvidia-container1": {"state": "installed", "version": "1.17.8-1"},
        "kubelet": {"state": "installed", "version": "1.34.4"},
    },
    "why_no_packages": "",
    "files": [
        found("/etc/containerd/config.toml", differs=difference(CONFIG, CONFIG)),
        found("/etc/nvidia-container-runtime/config.toml", differs=difference('mode = "cdi"', 'mode = "cdi"\n')),
        found(
            "/etc/yum.repos.d/x.repo",
            settings={"baseurl": "http://mirror/rpm", "gpgcheck": "1", "enabled": None},
        ),
        found("/etc/apt/sources.list.d/x.sources", exists=False),
        found("/etc/pki/x", key=KEY),
        found("/etc/kubernetes/pki/.kubeadm-initialised"),
        found("/etc/kubernetes/.kubeadm-init-begun", exists=False),
        found("/etc/kubernetes/manifests/kube-apiserver.yaml", settings={"image": "r/kube-apiserver:v1"}),
    ],
    "services": {"containerd.service": unit(), "kubelet.service": unit()},
    "why_no_services": "",
    # A file's clock is coarse: it may seem a moment younger than what was started after it.
    "modified": {"/etc/containerd/config.toml": 1001.0},
    "programs": {RUNTIME: True},
    "images": [{"count": 12, "differing": [], "problem": ""}],
    "machine_id": digest(MACHINE),
}
CODES = [
    "BG-CTRD-001",
    "BG-CTK-002",
    "BG-K8S-009",
    "BG-CTRD-002",
    "BG-CTK-003",
    "BG-REPO-003",
    "BG-REPO-004",
    "BG-K8S-005",
    "BG-K8S-006",
    "BG-CTRD-003",
    "BG-K8S-010",
    "BG-CTRD-004",
    "BG-IMG-006",
    "BG-K8S-008",
    "BG-K8S-007",
]


def judged(readings: dict[str, Any], wanted: dict[str, Any]) -> list[Finding]:
    return judge(readings, wanted, "onyx-g1", data_files.codes())


def test_a_host_that_is_as_declared_is_ok_in_every_code() -> None:
    findings = judged(READINGS, WANTED)
    assert [(finding.code, finding.status) for finding in findings] == [(code, OK) for code in CODES]
    assert {(finding.action, finding.remedy, finding.subject) for finding in findings} == {("none", "", "onyx-g1")}
    assert all(finding.requirements for finding in findings)


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def at(part: str, key: Any, value: Any) -> Change:
    """Replace one reading."""
    return lambda readings, _wanted: readings[part].__setitem__(key, value)


def file_is(number: int, **read: Any) -> Change:
    return lambda readings, _wanted: readings["files"][number].update(read)


FAULTS: list[tuple[str, Change, str, str, str]] = [
    # What happened, how it is read, and code, status and reason of the only finding that is not ok.
    ("another version", at("packages", "containerd.io", {"state": "installed", "version": "1.6.9"}), "BG-CTRD-001", FAIL, "containerd.io is 1.6.9, declared is 1.7.20"),
    ("a longer version", at("packages", "kubelet", {"state": "installed", "version": "1.34.40"}), "BG-K8S-009", FAIL, "kubelet is 1.34.40, declared is 1.34.4"),
    ("removed", at("packages", "libnvidia-container1", {"state": "removed", "version": "1.17.8-1"}), "BG-CTK-002", FAIL, "libnvidia-container1 is not installed"),
    ("half installed", at("packages", "nvidia-container-toolkit", {"state": "half", "version": "1.17.8-1"}), "BG-CTK-002", FAIL, "nvidia-container-toolkit is only half installed"),
    ("runtime taken away", file_is(0, differs=difference("[runtimes.runc]\n", CONFIG)), "BG-CTRD-002", FAIL, "lacks [runtimes.nvidia], BinaryName"),
    ("lines twice", file_is(0, differs=difference(CONFIG * 2, CONFIG)), "BG-CTRD-002", FAIL, "another order, or twice"),
    ("configuration removed", file_is(0, exists=False, differs=None), "BG-CTRD-002", FAIL, "/etc/containerd/config.toml is not there"),
    ("configuration unreadable", file_is(0, exists=None, problem="/etc/x: Permission denied", differs=None), "BG-CTRD-002", UNKNOWN, "/etc/x: Permission denied"),
    ("toolkit edited", file_is(1, differs=difference('mode = "legacy"\n', 'mode = "cdi"\n')), "BG-CTK-003", FAIL, 'lacks mode = "cdi"; also sets mode'),
    ("signatures switched off", file_is(2, settings={"baseurl": "http://mirror/rpm", "gpgcheck": "0"}), "BG-REPO-003", FAIL, "gpgcheck is 0, declared is 1"),
    ("repository switched off", file_is(2, settings={"baseurl": "http://mirror/rpm", "gpgcheck": "1", "enabled": "0"}), "BG-REPO-003", FAIL, "enabled is 0"),
    ("address gone", file_is(2, settings={"baseurl": None, "gpgcheck": "1"}), "BG-REPO-003", FAIL, "baseurl is not set, declared is http://mirror/rpm"),
    ("no key", file_is(4, key="<html>"), "BG-REPO-004", FAIL, "holds no key that can be read"),
    ("another key", lambda _readings, wanted: wanted["files"][4].update(fingerprint="0" * 40), "BG-REPO-004", FAIL, f"holds the key {FINGERPRINT}"),
    ("never initialised", file_is(5, exists=False), "BG-K8S-005", FAIL, ".kubeadm-initialised is not there"),
    ("interrupted", file_is(6, exists=True), "BG-K8S-005", FAIL, ".kubeadm-init-begun is there"),
    ("static pod of another release", file_is(7, settings={"image": "r/kube-apiserver:v2"}), "BG-K8S-006", FAIL, "image is r/kube-apiserver:v2"),
    ("stopped", at("services", "containerd.service", unit(active=False, state="inactive (dead)", started=None)), "BG-CTRD-003", FAIL, "containerd.service is inactive (dead)"),
    ("not started since", at("modified", "/etc/containerd/config.toml", 1002.5), "BG-CTRD-003", FAIL, "started before /etc/containerd/config.toml was written"),
    ("time unreadable", at("modified", "/etc/containerd/config.toml", None), "BG-CTRD-003", UNKNOWN, "cannot be read"),
    ("disabled", at("services", "kubelet.service", unit(enabled="disabled")), "BG-K8S-010", FAIL, "does not start at boot (disabled)"),
    ("enabled until the reboot", at("services", "kubelet.service", unit(enabled="enabled-runtime")), "BG-K8S-010", FAIL, "does not start at boot"),
    ("no unit", at("services", "kubelet.service", unit(installed=False)), "BG-K8S-010", FAIL, "kubelet.service is not installed"),
    ("runtime's program gone", at("programs", RUNTIME, False), "BG-CTRD-004", FAIL, f"{RUNTIME} is not there"),
    ("image gone", at("images", 0, {"count": 12, "differing": ["r/pause:3"], "problem": ""}), "BG-IMG-006", FAIL, "containerd lacks r/pause:3"),
    ("containerd silent", at("images", 0, {"count": 0, "differing": [], "problem": "BG-IMG-002: no answer"}), "BG-IMG-006", UNKNOWN, "BG-IMG-002: no answer"),
    ("another machine", lambda readings, _wanted: readings.update(machine_id=digest("b" * 32)), "BG-K8S-008", FAIL, "node onyx-g1 is another machine"),
    ("no machine id", lambda readings, _wanted: readings.update(machine_id=""), "BG-K8S-008", UNKNOWN, "no machine id to compare"),
    ("label gone", lambda _readings, wanted: wanted["cluster"]["nodes"]["onyx-g1"]["labels"].pop("role"), "BG-K8S-008", FAIL, "lacks the label role=gpu"),
    ("label changed", lambda _readings, wanted: wanted["cluster"]["nodes"]["onyx-g1"]["labels"].update(role="cpu"), "BG-K8S-008", FAIL, "has role=cpu instead of role=gpu"),
    ("no such node", lambda _readings, wanted: wanted["cluster"]["nodes"].clear(), "BG-K8S-008", FAIL, "the cluster has no node onyx-g1"),
    ("another API server", lambda _readings, wanted: wanted["cluster"].update(server_version="v1.33.0"), "BG-K8S-007", FAIL, "the API server is v1.33.0, declared is v1.34.4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "status", "reason"), [pytest.param(*each[1:], id=each[0]) for each in FAULTS]
)
def test_a_fault_has_its_own_code_and_nothing_else_does(change: Change, code: str, status: str, reason: str) -> None:
    readings, wanted = copy.deepcopy(READINGS), copy.deepcopy(WANTED)
    change(readings, wanted)
    bad = [finding for finding in judged(readings, wanted) if finding.status != OK]
    assert [(finding.code, finding.status) for finding in bad] == [(code, status)]
    assert reason in bad[0].reason
    assert bad[0].remedy
    assert bad[0].action in ("fix_configuration", "restart_app")
    assert bool(bad[0].blame) == (status == FAIL)


def test_what_cannot_be_read_is_unknown_in_every_code_that_needs_it() -> None:
    readings = {
        **copy.deepcopy(READINGS),
        "package_manager": None,
        "packages": None,
        "why_no_packages": "no rpm",
        "services": None,
        "why_no_services": "no systemctl",
    }
    wanted = {**WANTED, "cluster": {"failed": True, "msg": "BG-CAP-101: the Kubernetes API does not answer"}}
    statuses = {finding.code: finding.status for finding in judged(readings, wanted)}
    unknown = {code for code, status in statuses.items() if status == UNKNOWN}
    assert unknown == {
        *("BG-CTRD-001", "BG-CTK-002", "BG-K8S-009", "BG-REPO-003"),
        *("BG-CTRD-003", "BG-K8S-010", "BG-K8S-008", "BG-K8S-007"),
    }
    assert set(statuses.values()) == {OK, UNKNOWN}


def test_files_of_the_other_package_manager_are_not_looked_at() -> None:
    readings = copy.deepcopy(READINGS)
    readings["files"][3].update(exists=True, settings={"URIs": "http://elsewhere"})
    assert {finding.status for finding in judged(readings, WANTED)} == {OK}


def test_the_worst_of_one_code_counts_and_every_fault_is_told() -> None:
    readings = copy.deepcopy(READINGS)
    readings["files"][5].update(exists=None, problem="/x: Input/output error")
    readings["files"][6].update(exists=True)
    finding = next(each for each in judged(readings, WANTED) if each.code == "BG-K8S-005")
    assert finding.status == FAIL
    assert finding.reason == "/x: Input/output error; /etc/kubernetes/.kubeadm-init-begun is there"


@pytest.mark.parametrize(
    ("version", "declared", "same"),
    [
        ("1.17.8-1", "1.17.8", True),
        ("1:1.17.8-1", "1.17.8", True),
        ("1.17.8", "1.17.8", True),
        ("1.17.8~rc1-1", "1.17.8", False),
        ("1.17.80-1", "1.17.8", False),
        ("1.17.8.1-1", "1.17.8", False),
    ],
)
def test_epoch_and_release_of_a_version_do_not_matter(version: str, declared: str, same: bool) -> None:
    assert is_version(version, declared) is same
