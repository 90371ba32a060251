"""Versions stand in `data/versions.yml`. Anywhere else a literal stays behind when the pin moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = re.compile(r"(?<![\d.\w])v?\d+\.\d+\.\d+(?![\d.]|\.\d)")
# Which release of this collection brought something is no pin.
VERSION_ADDED = re.compile(r'^\s*version_added: "[\d.]+"$', re.MULTILINE)

# Whole files and folders whose literals are no pins of this collection, or are the pins of another tool.
FREE = {
    r"data/.*": "the table itself, and readings of hardware with their sources",
    r"docs/(reference/.*|traceability\.md)": "generated from data",
    r"docs/benchmarks(\.md|/.*\.(json|svg))": "on which machine, and of which release, was measured",
    r"tests/.*": "samples of input, which are meant to stay when a pin moves",
    r"requirements/.*": "Python packages, each with its hash",
    r"lab/go/[\w-]+/go\.(mod|sum)": "what the Go toolchain itself reads, with its hashes; a unit test compares the top entry",
    r"lab/(hardware|simulation/profiles)/.*\.yml": "what simulated hardware answers",
    r"(CHANGELOG\.md|changelogs/.*)": "releases of this collection",
    r"(galaxy|collections/requirements|meta/runtime)\.yml": "this release, and what it asks of collections and of Ansible",
}
# Single literals that pin nothing: (file, literal).
ALLOWED = {
    # A floor that the option's description explains.
    ("roles/nvidia_device_plugin/meta/argument_specs.yml", "v0.17.4"),
    # Samples in documentation.
    *(("plugins/modules/gpu_info.py", sample) for sample in ("580.95.05", "7.2.3", "7.6.0", "0.5.0", "1.17.8")),
    *(("lab/simulation/README.md", sample) for sample in ("550.90.07", "580.95.05")),
    ("lab/simulation/profile.py", "580.95.05"),
    ("lab/simulation/src/simulated_hardware.h", "580.95.05"),
    ("lab/versions.py", "v1.34.4"),
    ("lab/debian.py", "1.7.24"),
    # The number of a file format, whichever release writes it.
    ("lab/go/flannel/cni.go", "1.0.0"),
    ("plugins/plugin_utils/mirror/registry.py", "1.0.0"),
    # How the Kubernetes project numbers its RPMs, the same for every release of it.
    ("lab/catalogue.py", "150500.1.1"),
    # A section of a standard.
    ("plugins/filter/openpgp_fingerprints.py", "5.5.4"),
    # What a distribution that lab hosts are dressed as says of itself; nothing is fetched by it.
    ("lab/dress.py", "24.04.3"),
}


def literals(text: str) -> Iterator[str]:
    yield from VERSION.findall(VERSION_ADDED.sub("", text))


def is_free(path: str) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in FREE)


def test_no_version_is_written_outside_the_one_table(root: Path, texts: dict[Path, str]) -> None:
    named = {path.relative_to(root).as_posix(): text for path, text in texts.items()}
    found = {(name, literal) for name, text in named.items() if not is_free(name) for literal in literals(text)}
    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), "allowed, and written nowhere any more"


def test_every_exemption_is_of_something(root: Path, texts: dict[Path, str]) -> None:
    names = [path.relative_to(root).as_posix() for path in texts]
    assert [pattern for pattern in FREE if not any(re.fullmatch(pattern, name) for name in names)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: v1.34.4", ["v1.34.4"]),
        ("pod_subnet: 10.244.0.0/16", []),
        ("ip: 10.0.0.1", []),
        ("k3s-1.34.4+k3s1", ["1.34.4"]),
        ('  version_added: "0.1.0"', []),
        ("https://example.org/v1.2.3/file", ["v1.2.3"]),
    ],
)
def test_version_literals_are_told_from_addresses(text: str, expected: list[str]) -> None:
    assert list(literals(text)) == expected


@pytest.mark.parametrize("path", ["roles/k3s_agent/tasks/main.yml", "playbooks/spark.yml", "lab/debian.py", "Makefile"])
def test_what_does_work_is_not_exempt(path: str) -> None:
    assert not is_free(path)
