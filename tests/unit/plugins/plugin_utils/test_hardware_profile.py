"""Hardware profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile, parse_profile

PROFILES = sorted((data_files.COLLECTION_ROOT / "data/hardware").glob("*.yml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_follows_the_schema_and_names_its_sources(path: Path) -> None:
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema = json.loads((data_files.COLLECTION_ROOT / "data/schemas/hardware.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schema)
    values = {f"{section}.{key}" for section in ("gpu", "host", "driver", "health") for key in data[section]}
    assert set(data["sources"]) == values
    assert load_profile(path.stem).name == path.stem


def test_what_gpu_health_expects_is_read() -> None:
    server, spark = load_profile("h100-sxm-8").health, load_profile("gb10").health
    assert server is not None
    assert spark is not None
    assert (server.rdma.ports, server.rdma.rate_gb_per_s, server.rdma.required) == (8, 400.0, True)
    assert (spark.rdma.ports, spark.rdma.mtu, spark.rdma.required, spark.governor) == (2, 9000, False, "")


def test_an_unknown_profile_names_the_near_one() -> None:
    with pytest.raises(GpuError, match=r"BG-GPU-101: there is no hardware profile 'gb-10'; .*did you mean gb10\?"):
        load_profile("gb-10")


@pytest.mark.parametrize("name", ["../versions", "", "GB10 ", "gb10.yml"])
def test_a_profiles_name_is_no_path(name: str) -> None:
    with pytest.raises(GpuError, match=r"^BG-GPU-101"):
        load_profile(name)


def test_a_profile_that_misses_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "load", lambda path: {"schema": 1, "name": "gb10"})
    with pytest.raises(GpuError, match=r"BG-GPU-102: .*key 'gpu' is missing"):
        load_profile("gb10")


def test_a_profile_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 2 is not 1"):
        parse_profile({"schema": 2})
