"""The preflight's data files are valid, and agree with the roles and playbooks that they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_flags import FIXED
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import SITE_VARIABLES
from ansible_collections.baremetal.gpu.plugins.plugin_utils import preflight_rules


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["k3s", "platforms", "ranges", "readiness", "systems"])
def test_data_file_is_valid(root: Path, name: str) -> None:
    schema = json.loads((root / f"data/schemas/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(load(root / f"data/{name}.yml"), schema)


def test_ranges_are_about_numbers_of_roles() -> None:
    rules = preflight_rules.load_rules()
    options = {name: option for known in rules.options.values() for name, option in known.items()}
    for name, bounds in rules.ranges.items():
        assert options[name]["type"] == "int", name
        assert bounds.minimum < bounds.maximum, name
        if isinstance(options[name].get("default"), int):
            assert bounds.minimum <= options[name]["default"] <= bounds.maximum, name


def test_keys_of_the_role_are_ones_that_it_writes(root: Path) -> None:
    rules = preflight_rules.load_rules()
    role = root / "roles/k3s_agent"
    sources = [*role.glob("templates/config*"), *role.glob("vars/*.yml")]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert rules.agent_keys_of_role.keys() <= rules.agent_keys
    assert set(rules.agent_keys_of_role.values()) <= rules.options["k3s_agent"].keys()
    # The token has no place in a configuration file.
    assert {key for key in rules.agent_keys_of_role if f"'{key}':" not in text} <= {"token", "token-file"}


def test_agent_keys_are_the_ones_that_the_lab_s_k3s_knows() -> None:
    from lab.k3s_standin.options import AGENT

    assert preflight_rules.load_rules().agent_keys | FIXED == set(AGENT)


def test_groups_of_a_system_are_the_ones_that_its_playbook_runs_on(root: Path) -> None:
    for name in preflight_rules.system_names():
        system = preflight_rules.load_system(name)
        assert system is not None
        text = (root / f"playbooks/{name}.yml").read_text(encoding="utf-8")
        hosts = {play["hosts"] for play in yaml.safe_load(text) if "hosts" in play}
        assert hosts <= system.required.keys() | set(system.inside.values())


def test_site_variables_are_described(root: Path) -> None:
    text = (root / "docs/preflight.md").read_text(encoding="utf-8")
    assert {name for name in SITE_VARIABLES if f"`{name}`" not in text} == set()
