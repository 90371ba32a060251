"""Roles keep the promises that make them predictable: one interface, written once, the same verbs everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import load
from tools.docs.markup import option_rows
from tools.docs.roles import role_section

# The same verbs everywhere; other task files are private parts of these.
VERBS = ("main", "preflight", "verify", "upgrade", "remove")

# Roles that leave nothing behind which could be true or false later, with the reason; docs/verbs.md says the same to users.
NOTHING_TO_VERIFY = {
    "host_preflight": "it only reads, before anything is there, and ends in a verdict of its own",
    "node_change": "it proves each node before it lets it in, and leaves the node's own roles to verify what they made of it",
    "node_sheet": "it writes pages on the controller, anew at each run, from what it reads then",
}


def specs(role: Path) -> dict[str, Any]:
    return dict(load(role / "meta/argument_specs.yml")["argument_specs"])


def declared(role_specs: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Entry point, name and specification of every option of every entry point."""
    return [
        (entry, name, option)
        for entry, spec in role_specs.items()
        for name, option in (spec.get("options") or {}).items()
    ]


def interface_faults(role: str, role_specs: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    """Where the argument specs and `defaults/main.yml` do not say the same, or say too little."""
    first: dict[str, Any] = {}
    for entry, name, option in declared(role_specs):
        where = f"{role} {entry}: {name}"
        if option != first.setdefault(name, option):
            yield f"{where} is specified otherwise by another entry point"
        if not name.startswith(f"{role}_"):
            yield f"{where} is not named after the role"
        if not option.get("description") or not option.get("type"):
            yield f"{where} has no description or no type"
        if ("default" in option) == bool(option.get("required")):
            yield f"{where} must be required or have a default"
        if "default" in option and (name not in defaults or defaults[name] != option["default"]):
            yield f"{where} has another default in defaults/main.yml"
    for name in defaults:
        if "default" not in first.get(name, {}):
            yield f"{role}: {name} has a default in defaults/main.yml and none in the argument specs"


def variables_read(role: str, text: str) -> set[str]:
    """Public variables of a role that a text names."""
    return set(re.findall(rf"(?<![\w./-]){role}_[a-z0-9_]+\b(?![/(=-]|\.\w+\b[/(])", text))


def rows_of(page: str) -> dict[str, set[str]]:
    """Options in the generated reference, by role."""
    found: dict[str, set[str]] = {}
    for section in page.split("\n## ")[1:]:
        found[section.split("\n")[0]] = set(re.findall(r"^\| `([\w.\[\]]+)` \|", section, re.MULTILINE))
    return found


def test_defaults_and_argument_specs_say_the_same(roles: list[Path]) -> None:
    faults: list[str] = []
    for role in roles:
        path = role / "defaults/main.yml"
        faults += interface_faults(role.name, specs(role), (load(path) or {}) if path.exists() else {})
    assert faults == []


def test_the_reference_holds_every_option_of_every_entry_point(root: Path, roles: list[Path]) -> None:
    for role in roles:
        page = (root / f"docs/reference/roles/{role.name}.md").read_text(encoding="utf-8")
        documented = set().union(*rows_of(page).values())
        wanted = {row[0].strip("`") for spec in specs(role).values() for row in option_rows(spec.get("options") or {})}
        assert documented == wanted, role.name


def test_every_entry_point_is_specified(roles: list[Path]) -> None:
    for role in roles:
        present = {path.stem for path in (role / "tasks").glob("*.yml")} & set(VERBS)
        assert set(specs(role)) == present, role.name
        assert "main" in present, role.name


def unjudged(role: str, verify: str, playbooks: str) -> set[str]:
    """What `verify.yml` of a role registers and no playbook that runs it gives to a verdict."""
    if "tasks_from: verify.yml" not in playbooks or f"baremetal.gpu.{role}" not in playbooks:
        return set()
    return {name for name in re.findall(r"register: (\w+)", verify) if name not in playbooks and "_read" not in name}


def test_every_role_verifies_what_it_leaves(roles: list[Path]) -> None:
    without = {role.name for role in roles if not (role / "tasks/verify.yml").exists()}
    assert without == set(NOTHING_TO_VERIFY)


def test_the_reasons_of_roles_that_verify_nothing_are_told_to_users(root: Path) -> None:
    page = (root / "docs/verbs.md").read_text(encoding="utf-8")
    assert [role for role in NOTHING_TO_VERIFY if f"`{role}`" not in page] == []


def test_what_a_role_verifies_reaches_a_verdict(root: Path, roles: list[Path]) -> None:
    playbooks = "\n".join(path.read_text(encoding="utf-8") for path in (root / "playbooks/parts").glob("*_verify.yml"))
    found = {
        role.name: unjudged(role.name, (role / "tasks/verify.yml").read_text(encoding="utf-8"), playbooks)
        for role in roles
        if role.name not in NOTHING_TO_VERIFY
    }
    assert {role: names for role, names in found.items() if names} == {}


def test_a_role_reads_only_variables_that_it_declares_and_declares_none_that_nobody_reads(
    root: Path, roles: list[Path], texts: dict[Path, str]
) -> None:
    everywhere = {path: text for path, text in texts.items() if path.relative_to(root).parts[0] in ("roles", "plugins")}
    assert roles
    for role in roles:
        options = {name for _, name, _ in declared(specs(role))}
        own = [
            path for path in everywhere if path.is_relative_to(role) and path.parent.name not in ("meta", "defaults")
        ]
        read = {name for path in own for name in variables_read(role.name, everywhere[path])}
        assert read - options == set(), f"{role.name} reads what it does not declare"
        # Defaults may build on each other, and preflight reads what roles declare.
        others = [path for path in everywhere if path.parent.name == "defaults" or path.suffix == ".py"]
        used = read | {
            name for path in others for name in variables_read(role.name, everywhere[path].replace(":", " "))
        }
        assert options - used == set(), f"{role.name} declares what nobody reads"


@pytest.mark.parametrize(
    ("playbook", "lost"),
    [
        ("name: baremetal.gpu.x\n tasks_from: verify.yml\n - {{ __x_setup }}", set()),
        ("name: baremetal.gpu.x\n tasks_from: verify.yml\n", {"__x_setup"}),
        ("name: baremetal.gpu.y\n tasks_from: verify.yml\n", set()),
    ],
)
def test_findings_that_no_verdict_gets_are_caught(playbook: str, lost: set[str]) -> None:
    assert unjudged("x", "- register: __x_setup\n- register: __x_cluster_read\n", playbook) == lost


SPECS = {"main": {"options": {"x_a": {"type": "str", "description": "A.", "default": "1"}}}}


@pytest.mark.parametrize(
    ("change", "defaults", "count"),
    [
        ({}, {"x_a": "1"}, 0),
        ({}, {"x_a": "2"}, 1),
        ({}, {"x_a": "1", "x_b": "1"}, 1),
        ({}, {}, 1),
        ({"required": True}, {"x_a": "1"}, 1),
        ({"description": ""}, {"x_a": "1"}, 1),
    ],
)
def test_an_interface_that_differs_is_caught(change: dict[str, Any], defaults: dict[str, Any], count: int) -> None:
    option = {**SPECS["main"]["options"]["x_a"], **change}
    assert len(list(interface_faults("x", {"main": {"options": {"x_a": option}}}, defaults))) == count


def test_entry_points_that_differ_are_caught() -> None:
    other = {"verify": {"options": {"x_a": {"type": "int", "description": "A.", "default": "1"}}}}
    assert len(list(interface_faults("x", {**SPECS, **other}, {"x_a": "1"}))) == 1


def test_an_option_of_another_role_s_name_is_caught() -> None:
    assert len(list(interface_faults("y", SPECS, {"x_a": "1"}))) == 1


def test_options_of_elements_and_of_other_entry_points_are_documented() -> None:
    inner = {"url": {"type": "str", "description": "Where.", "required": True}}
    main = {"short_description": "S", "options": {"x_a": {"type": "list", "description": "A.", "options": inner}}}
    verify = {"short_description": "V", "options": {"x_b": {"type": "str", "description": "B."}}}
    page = "\n".join(["# Role x", *role_section({"main": main, "verify": verify})])
    assert rows_of(page) == {"main": {"x_a", "x_a[].url"}, "verify": {"x_b"}}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ x_url }} and {{ x_list | first }}", {"x_url", "x_list"}),
        ("__x_private", set()),
        ("when: x_wanted", {"x_wanted"}),
        ("path: /etc/x_file", set()),
    ],
)
def test_variables_are_told_from_other_words(text: str, names: set[str]) -> None:
    assert variables_read("x", text) == names
