"""Roles keep the promises that make them predictable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

# The same verbs everywhere; other task files are private parts of these.
VERBS = ("main", "preflight", "verify", "remove")

VERSION = re.compile(r"(?<![\d.\w])v?\d+\.\d+\.\d+(?![\d.]|\.\d)")
VERSION_FREE = ("roles", "playbooks", "inventories", "plugins", "molecule")
# Which release of this collection brought something is no pin.
VERSION_ADDED = re.compile(r'^\s*version_added: "[\d.]+"$', re.MULTILINE)
# (file, literal) that pins nothing: floors that a description explains, samples in documentation, sections of standards.
VERSIONS_ALLOWED = {
    ("roles/nvidia_device_plugin/meta/argument_specs.yml", "v0.17.4"),
    *(("plugins/modules/gpu_info.py", sample) for sample in ("580.95.05", "7.2.3", "7.6.0", "0.5.0", "1.17.8")),
    ("plugins/filter/openpgp_fingerprints.py", "5.5.4"),
}

INJECTED_FACT = re.compile(r"(?<![\w.])ansible_[a-z_]+")
# Connection variables and Ansible's own special variables; everything else with this prefix would be an injected fact.
NOT_FACTS = {
    "ansible_check_mode",
    "ansible_collections",
    "ansible_connection",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_failed_result",
    "ansible_failed_task",
    "ansible_host",
    "ansible_limit",
    "ansible_managed",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_playbook_python",
    "ansible_python_interpreter",
    "ansible_ssh_common_args",
    "ansible_ssh_private_key_file",
    "ansible_user",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specs(role: Path) -> dict[str, Any]:
    return dict(load(role / "meta/argument_specs.yml")["argument_specs"])


def options(role: Path) -> dict[str, Any]:
    return {name: option for spec in specs(role).values() for name, option in (spec.get("options") or {}).items()}


def test_defaults_are_the_ones_of_the_argument_specs(roles: list[Path]) -> None:
    for role in roles:
        path = role / "defaults/main.yml"
        defaults = (load(path) or {}) if path.exists() else {}
        declared = {name: option["default"] for name, option in options(role).items() if "default" in option}
        assert defaults == declared, role.name


def test_every_option_is_required_or_has_a_default(roles: list[Path]) -> None:
    for role in roles:
        undecided = [
            name for name, option in options(role).items() if ("default" in option) == bool(option.get("required"))
        ]
        assert undecided == [], role.name


def test_every_option_is_described_and_named_after_its_role(roles: list[Path]) -> None:
    for role in roles:
        for name, option in options(role).items():
            assert name.startswith(f"{role.name}_"), name
            assert option.get("description"), name
            assert option.get("type"), name


def test_every_entry_point_is_specified(roles: list[Path]) -> None:
    for role in roles:
        present = {path.stem for path in (role / "tasks").glob("*.yml")} & set(VERBS)
        assert set(specs(role)) == present, role.name


def test_every_role_installs_or_proves_something(roles: list[Path]) -> None:
    assert roles
    for role in roles:
        assert (role / "tasks/main.yml").exists(), role.name


def test_no_role_names_an_inventory_group_or_another_role_s_files(root: Path, roles: list[Path]) -> None:
    inventory = load(root / "inventories/lab/hosts.yml")["all"]["children"]
    groups = {name for name in _groups(inventory) if "_" in name or name in ("spark", "onyx")}
    for path, text in _sources(roles):
        named = {group for group in groups if re.search(rf"groups(\.|\[['\"]){group}\b", text)}
        assert named == set(), path
        assert not re.search(r"(?:src|file|template):\s*\S*\.\./\.\./\w+/(?:files|tasks|templates)", text), path


def test_no_version_is_written_outside_the_one_table(root: Path, texts: dict[Path, str]) -> None:
    found = {
        (path.relative_to(root).as_posix(), literal)
        for path, text in texts.items()
        if path.relative_to(root).parts[0] in VERSION_FREE
        for literal in VERSION.findall(VERSION_ADDED.sub("", text))
    }
    assert found - VERSIONS_ALLOWED == set()
    assert VERSIONS_ALLOWED - found == set(), "allowed, and written nowhere any more"


def test_no_injected_fact_is_read(root: Path, roles: list[Path]) -> None:
    playbooks = [(path, path.read_text(encoding="utf-8")) for path in sorted((root / "playbooks").rglob("*.yml"))]
    for path, text in [*_sources(roles), *playbooks]:
        assert set(INJECTED_FACT.findall(text)) - NOT_FACTS == set(), path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: v1.34.4", ["v1.34.4"]),
        ("pod_subnet: 10.244.0.0/16", []),
        ("ip: 10.0.0.1", []),
        ("k3s-1.34.4+k3s1", ["1.34.4"]),
    ],
)
def test_version_literals_are_told_from_addresses(text: str, expected: list[str]) -> None:
    assert VERSION.findall(text) == expected


def _sources(roles: list[Path]) -> list[tuple[Path, str]]:
    paths = [path for role in roles for path in sorted(role.rglob("*")) if path.suffix in (".yml", ".j2")]
    return [(path, path.read_text(encoding="utf-8")) for path in paths]


def _groups(children: dict[str, Any]) -> set[str]:
    found = set(children)
    for group in children.values():
        found |= _groups((group or {}).get("children") or {})
    return found
