"""What stands of a role's setup on a host, read from a tree of files and from programs that answer from memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.bounded import Completed
from ansible_collections.baremetal.gpu.plugins.module_utils.setup_readings import (
    collect,
    difference,
    package_manager,
    parse_rpm,
    parse_units,
    text_setting,
)
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, write

NOTHING: dict[str, list[dict[str, Any]]] = {
    name: [] for name in ("packages", "files", "services", "programs", "images", "nodes")
}
CLOCKS = (1_000_000.0, 500.0)
UNITS = """\
Id=containerd.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
ActiveEnterTimestampMonotonic=400000000

Id=kubelet.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
ActiveEnterTimestampMonotonic=0
"""
REPOSITORY = """\
X-Repolib-Name: lab-mirror
Signed-By: /usr/share/keyrings/lab-mirror.asc
Types: deb
URIs: http://mirror/apt
"""


class Programs:
    """Programs by name with what they print; ``None`` for one that does not answer in time."""

    def __init__(self, **outputs: str | None) -> None:
        self.outputs = {name.replace("_", "-"): text for name, text in outputs.items()}
        self.commands: list[Sequence[str]] = []

    def find(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.outputs else None

    def run(self, command: Sequence[str], timeout_s: float) -> Completed:
        self.commands.append(command)
        text = self.outputs[Path(command[0]).name]
        # Ended with 1, as both query programs do when one of several packages is not installed.
        return Completed(None if text is None else 1, text or "", "", 0.1)


def read(root: Path, host: Programs | None = None, /, **wanted: Any) -> dict[str, Any]:
    installed = host or Programs()
    return collect(str(root), {**NOTHING, **wanted}, installed.find, installed.run, 5, CLOCKS)


def system(root: Path, text: str) -> Path:
    write(root / "etc/os-release", text)
    return root


@pytest.mark.parametrize(
    ("text", "manager"),
    [
        ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', "apt"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n', "dnf"),
        ("ID=derivative\nID_LIKE=debian\n", "apt"),
        ("ID=arch\n", None),
        ("", None),
    ],
)
def test_the_package_manager_is_the_distribution_s(tmp_path: Path, text: str, manager: str | None) -> None:
    assert package_manager(str(system(tmp_path, text))) == manager


def test_without_a_release_file_the_package_manager_is_not_known(tmp_path: Path) -> None:
    assert package_manager(str(tmp_path)) is None


def test_packages_of_debian_are_read_with_their_states(tmp_path: Path) -> None:
    programs = Programs(dpkg_query="ii |one|1.17.8-1\niU |two|1.0\nrc |three|2.0\n")
    found = read(
        system(tmp_path, "ID=ubuntu\n"), programs, packages=[{"names": ["one", "two", "three", "four"], "version": "1"}]
    )
    assert found["packages"] == {
        "one": {"state": "installed", "version": "1.17.8-1"},
        "two": {"state": "half", "version": "1.0"},
        "three": {"state": "removed", "version": "2.0"},
    }
    assert programs.commands[0][0] == "/usr/bin/dpkg-query"


def test_packages_of_rocky_are_read_and_absent_ones_left_out(tmp_path: Path) -> None:
    programs = Programs(rpm="kubelet|1.34.4|1\npackage kubectl is not installed\n", dpkg_query="never asked")
    found = read(system(tmp_path, "ID=rocky\n"), programs, packages=[{"names": ["kubelet", "kubectl"], "version": "1"}])
    assert found["packages"] == {"kubelet": {"state": "installed", "version": "1.34.4"}}


@pytest.mark.parametrize(
    ("release", "programs", "why"),
    [
        ("ID=arch\n", Programs(), "the distribution is not one whose packages are known here (/etc/os-release)"),
        ("ID=rocky\n", Programs(), "rpm is not installed"),
        ("ID=rocky\n", Programs(rpm=None), "rpm did not answer within 5 s"),
    ],
)
def test_packages_that_cannot_be_read_have_a_reason(tmp_path: Path, release: str, programs: Programs, why: str) -> None:
    found = read(system(tmp_path, release), programs, packages=[{"names": ["kubelet"], "version": "1"}])
    assert (found["packages"], found["why_no_packages"]) == (None, why)


def test_what_nobody_asks_for_runs_no_program(tmp_path: Path) -> None:
    programs = Programs(rpm="", systemctl="")
    found = read(system(tmp_path, "ID=rocky\n"), programs)
    assert programs.commands == []
    assert (found["packages"], found["services"], found["files"], found["machine_id"]) == ({}, {}, [], None)


def test_a_unit_s_start_is_told_by_the_present_clock() -> None:
    units = parse_units(UNITS, CLOCKS)
    assert units["containerd.service"] == {
        "installed": True,
        "active": True,
        "state": "active (running)",
        "enabled": "enabled",
        "started": 999_900.0,
    }
    assert (units["kubelet.service"]["installed"], units["kubelet.service"]["started"]) == (False, None)


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        (Programs(), "systemctl is not installed"),
        (Programs(systemctl=None), "systemctl did not answer within 5 s"),
        (
            Programs(systemctl="System has not been booted with systemd\n"),
            "systemctl says nothing about containerd.service",
        ),
    ],
)
def test_services_that_cannot_be_read_have_a_reason(tmp_path: Path, programs: Programs, why: str) -> None:
    found = read(tmp_path, programs, services=[{"name": "containerd.service", "reads": []}])
    assert (found["services"], found["why_no_services"]) == (None, why)


def test_when_a_service_s_files_were_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "etc/containerd/config.toml", "version = 2\n")
    os.utime(path, (999_000, 999_000))
    service = {"name": "containerd.service", "reads": ["/etc/containerd/config.toml", "/etc/none"]}
    found = read(tmp_path, Programs(systemctl=UNITS), services=[service])
    assert found["modified"] == {"/etc/containerd/config.toml": 999_000.0, "/etc/none": None}


def test_a_file_tells_only_what_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "etc/repo", REPOSITORY + "Password: canary\n")
    entry = {"path": "/etc/repo", "settings": {"URIs": "x"}, "refused": {"Trusted": "yes"}}
    found = read(tmp_path, files=[entry])["files"][0]
    assert found["settings"] == {"URIs": "http://mirror/apt", "Trusted": None}
    assert "canary" not in str(found)


def test_a_file_that_is_not_there_is_told_from_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/folder").mkdir(parents=True)
    absent, unreadable = read(tmp_path, files=[{"path": "/etc/none"}, {"path": "/etc/folder"}])["files"]
    assert (absent["exists"], absent["problem"]) == (False, "")
    assert (unreadable["exists"], unreadable["problem"]) == (None, "/etc/folder: Is a directory")


def test_comments_and_indentation_make_no_difference() -> None:
    found = difference("# Managed\n\n  a = 1\n[b]\n    c = 2\n", "a = 1\n[b]\n# why\nc = 2")
    assert found == {"same": True, "lacking": [], "further": [], "count": 0}


def test_a_difference_names_declared_lines_and_of_others_only_the_key() -> None:
    found = difference('mode = "legacy"\npassword = "canary"\n', 'mode = "cdi"\n')
    assert found == {"same": False, "lacking": ['mode = "cdi"'], "further": ["mode", "password"], "count": 3}


def test_lines_in_another_order_are_a_difference() -> None:
    assert difference("a\nb\n", "b\na\n") == {"same": False, "lacking": [], "further": [], "count": 0}


@given(st.text(), st.text())
def test_a_text_is_like_itself_and_what_it_lacks_is_not_in_it(found: str, declared: str) -> None:
    assert difference(declared, declared)["same"]
    there = [line.strip() for line in found.splitlines()]
    assert all(line not in there for line in difference(found, declared)["lacking"] if len(line) < 160)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (REPOSITORY, "Signed-By", "/usr/share/keyrings/lab-mirror.asc"),
        ("[x]\ngpgcheck = 1\n", "gpgcheck", "1"),
        ("    image: registry/kube-apiserver:v1\n    imagePullPolicy: Always\n", "image", "registry/kube-apiserver:v1"),
        ("- image: a\n", "image", "a"),
        ('server: "https://x:6443"\n', "server", "https://x:6443"),
        ("# enabled = 0\nxenabled = 0\n", "enabled", None),
        ("enabled =\n", "enabled", ""),
        ("", "enabled", None),
    ],
)
def test_settings_are_read_in_the_forms_of_repositories_and_manifests(text: str, key: str, value: str | None) -> None:
    assert text_setting(text, key) == value


@given(st.text())
def test_no_output_of_a_program_is_too_strange(text: str) -> None:
    assert all(name for name in parse_rpm(text))
    assert isinstance(parse_units(text, CLOCKS), dict)


def test_programs_are_found_by_path_and_by_name(tmp_path: Path) -> None:
    add_program(tmp_path / "usr/bin", "nvidia-container-runtime", "")
    write(tmp_path / "usr/bin/text", "")
    paths = ["/usr/bin/nvidia-container-runtime", "/usr/bin/text", "/usr/bin/none", "runc", "crun"]
    found = read(tmp_path, Programs(runc=""), programs=[{"paths": paths}])["programs"]
    assert found == dict(zip(paths, (True, False, False, True, False), strict=True))


def test_images_are_unknown_without_archive_or_client(tmp_path: Path) -> None:
    entry = {"archives": ["/images/a.tar"], "address": "/run/c.sock", "namespace": "k8s.io", "ctr": ["ctr"]}
    absent = read(tmp_path, images=[entry])["images"][0]
    assert absent["problem"].startswith("BG-IMG-001")
    clientless = read(tmp_path, images=[{**entry, "archives": []}])["images"][0]
    assert clientless["problem"].startswith("BG-IMG-002")


def test_the_machine_id_leaves_the_host_as_digest_only(tmp_path: Path) -> None:
    write(tmp_path / "etc/machine-id", "0f2c5d8c9a7b4e0d8f0c7d2b1a3e4f50\n")
    found = read(tmp_path, nodes=[{"name": "n1"}])["machine_id"]
    assert len(found) == 64
    assert found != "0f2c5d8c9a7b4e0d8f0c7d2b1a3e4f50"
    assert read(tmp_path / "other", nodes=[{"name": "n1"}])["machine_id"] == ""
