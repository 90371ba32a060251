"""What holds on every ansible-core; run with the one that belongs to the running Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.lane

PLUGINS = {"modules": "module", "lookup": "lookup", "filter": "filter", "callback": "callback"}


def run(root: Path, program: str, *arguments: str) -> str:
    """Output of one of Ansible's programs over the checkout; what it complains about when it fails."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def specifications(root: Path) -> dict[str, dict[str, Any]]:
    """Options of every entry point of every role, by `role/entry`, without defaults, which need a host's variables."""
    return {
        f"{path.parents[1].name}/{entry}": without_defaults(spec.get("options") or {})
        for path in sorted((root / "roles").glob("*/meta/argument_specs.yml"))
        for entry, spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].items()
    }


def without_defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            key: without_defaults(value) if key == "options" else value
            for key, value in option.items()
            if key != "default"
        }
        for name, option in options.items()
    }


def sample(option: dict[str, Any]) -> Any:
    """A value that fits an option."""
    if "choices" in option:
        return option["choices"][0]
    inner = {name: sample(entry) for name, entry in (option.get("options") or {}).items() if entry.get("required")}
    values = {"int": 1, "float": 1.0, "bool": True, "list": [inner] if inner else [], "dict": inner}
    return values.get(option.get("type", "str"), "x")


def validation(name: str, options: dict[str, Any], arguments: dict[str, Any], refused: bool) -> dict[str, Any]:
    """A task that fails unless Ansible takes, or refuses, these arguments for these options."""
    task: dict[str, Any] = {
        "name": f"Validate {name}, {'spoilt' if refused else 'good'}",
        "ansible.builtin.validate_argument_spec": {"argument_spec": options, "provided_arguments": arguments},
        "register": "result",
    }
    return {**task, "failed_when": "result is not failed"} if refused else task


def test_every_playbook_is_parsed_with_all_its_roles_and_modules(root: Path) -> None:
    playbooks = sorted(str(path.relative_to(root)) for path in (root / "playbooks").glob("*.yml"))
    assert playbooks
    output = run(root, "ansible-playbook", "--syntax-check", "--inventory", "inventories/lab", *playbooks)
    assert [name for name in playbooks if f"playbook: {name}" not in output] == []


def test_argument_specs_take_good_values_and_refuse_others(root: Path, tmp_path: Path) -> None:
    found = specifications(root)
    assert found
    tasks = []
    for name, options in found.items():
        good = {key: sample(option) for key, option in options.items()}
        tasks.append(validation(name, options, good, refused=False))
        tasks.append(validation(name, options, {**good, "no_such_option": 1}, refused=True))
        wrong = next(
            (key for key, option in options.items() if option.get("type") in ("int", "bool", "list", "dict")), None
        )
        if wrong is not None:
            value = {"not": "that"} if options[wrong]["type"] == "list" else "neither"
            tasks.append(validation(name, options, {**good, wrong: value}, refused=True))
    play = {"name": "Validate", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    output = run(root, "ansible-playbook", str(tmp_path / "play.yml"))
    assert f"ok={len(tasks)} " in output


@pytest.mark.parametrize("folder", sorted(PLUGINS))
def test_every_plugin_is_documented_for_ansible_doc(root: Path, folder: str) -> None:
    names = [f"baremetal.gpu.{path.stem}" for path in sorted((root / "plugins" / folder).glob("*.py"))]
    assert names
    told = json.loads(run(root, "ansible-doc", "--json", "--type", PLUGINS[folder], *names))
    assert {name: bool(told[name]["doc"]["short_description"]) for name in names} == dict.fromkeys(names, True)


def test_every_role_is_documented_for_ansible_doc(root: Path) -> None:
    told = json.loads(run(root, "ansible-doc", "--json", "--type", "role", "--list", "baremetal.gpu"))
    entries = {f"{name.split('.')[-1]}/{entry}" for name, role in told.items() for entry in role["entry_points"]}
    assert entries == set(specifications(root))
