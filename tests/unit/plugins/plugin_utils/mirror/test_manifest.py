"""The manifest has everything that hosts need, once, and says of each field that is not known why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.artifact_manifest import FilterModule, artifact_manifest
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.mirror.manifest import (
    Artefact,
    Target,
    document,
    manifest,
    parse_document,
)

VERSIONS = data_files.load("data/versions.yml")
PLATFORMS = list(data_files.load("data/compat.yml")["attributes"]["platform"]["values"])
TARGETS = [Target(platform, architecture) for platform in PLATFORMS for architecture in ("amd64", "arm64")]
SYSTEMS = ("spark", "onyx", "controller")


def names(artefacts: tuple[Artefact, ...], kind: str) -> set[str]:
    return {artefact.name for artefact in artefacts if artefact.kind == kind}


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_manifest_is_valid_and_says_why_something_is_not_known(root: Path, target: Target, system: str) -> None:
    schema = json.loads((root / "data/schemas/artifacts.schema.json").read_text(encoding="utf-8"))
    found = document(manifest(VERSIONS, [target], [system]))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(found)))
    assert found["artefacts"]
    assert not any("{" in entry["source"] for entry in found["artefacts"])


def test_a_spark_gets_its_own_packages_of_its_own_processor() -> None:
    found = manifest(VERSIONS, [Target("dgx-os-7", "arm64")], ["spark"])
    assert {"nvidia-driver-580-open", "cuda-toolkit-13-0", "libnccl2", "nvidia-container-toolkit"} <= names(
        found, "apt"
    )
    assert names(found, "rpm") == set()
    assert {"k3s-arm64", "k3s-airgap-images-arm64.tar.zst", "nfd-api-crds.yaml"} <= names(found, "file")
    assert "nvcr.io/nvidia/k8s-device-plugin" in names(found, "image")
    assert not any("amd64" in artefact.source or "x86_64" in artefact.source for artefact in found)


def test_onyx_gets_rpms_with_the_key_that_signs_them() -> None:
    found = manifest(VERSIONS, [Target("rocky-9", "amd64")], ["onyx"])
    assert {"nvidia-driver", "nvidia-fabricmanager"} <= names(found, "rpm")
    assert names(found, "apt") == set()
    keys = {artefact.key for artefact in found if artefact.name == "nvidia-fabricmanager"}
    assert keys == {VERSIONS["keys"]["cuda_rpm"]["fingerprint"]}
    driver, manager = (
        next(each.version for each in found if each.name == name) for name in ("nvidia-driver", "nvidia-fabricmanager")
    )
    assert driver == manager


def test_hosts_that_share_an_artefact_get_it_once() -> None:
    one = manifest(VERSIONS, TARGETS[:1], SYSTEMS)
    assert manifest(VERSIONS, TARGETS[:1] * 3, SYSTEMS) == one
    every = manifest(VERSIONS, TARGETS, SYSTEMS)
    keys = [(each.kind, each.source, each.platform, each.architecture, each.name) for each in every]
    assert len(set(keys)) == len(keys)
    assert manifest(VERSIONS, reversed(TARGETS), reversed(SYSTEMS)) == every


def test_no_two_files_have_one_path() -> None:
    paths = [each.path for each in manifest(VERSIONS, TARGETS, SYSTEMS) if each.path]
    assert len(set(paths)) == len(paths)


def test_versions_of_packages_begin_with_a_number() -> None:
    packages = [each for each in manifest(VERSIONS, TARGETS, SYSTEMS) if each.kind in ("apt", "rpm")]
    assert {each.name for each in packages if not each.version[0].isdigit()} == set()
    assert "tailscale" in {each.name for each in packages}


def test_what_only_the_lab_needs_is_in_no_site_s_manifest() -> None:
    assert {"kwok", "flannel", "go", "headscale"}.isdisjoint(
        each.component for each in manifest(VERSIONS, TARGETS, SYSTEMS)
    )


def test_the_site_s_checksums_are_taken_and_their_reasons_dropped() -> None:
    target = [Target("dgx-os-7", "arm64")]
    path = next(each.path for each in manifest(VERSIONS, target, ["spark"]) if each.name == "k3s-arm64")
    site = {str(path): {"sha256": "a" * 64, "size": 5}}
    (found,) = [each for each in manifest(VERSIONS, target, ["spark"], site) if each.path == path]
    assert (found.sha256, found.size, found.unknown) == ("a" * 64, 5, {})


def test_an_established_checksum_is_not_overruled() -> None:
    versions: dict[str, Any] = {
        "keys": {},
        "components": {
            "tool": {
                "version": "1.0",
                "urls": {"any": "https://x.example/tool-{version}"},
                "sha256": {"any": "b" * 64},
                "systems": ["spark"],
            }
        },
    }
    path = "files/tool/1.0/any/tool-1.0"
    (found,) = manifest(versions, TARGETS[:1], ["spark"])
    assert (found.path, found.sha256, list(found.unknown)) == (path, "b" * 64, ["size"])
    with pytest.raises(GpuError, match="BG-MIRROR-005"):
        manifest(versions, TARGETS[:1], ["spark"], {path: {"sha256": "a" * 64}})


def test_a_manifest_is_read_as_it_was_written() -> None:
    found = manifest(VERSIONS, TARGETS, SYSTEMS)
    assert parse_document(json.loads(json.dumps(document(found)))) == found


@pytest.mark.parametrize(
    "data", [{}, {"schema": 2, "artefacts": []}, {"schema": 1, "artefacts": [{"kind": "apt"}]}, [], None]
)
def test_anything_else_is_no_manifest(data: Any) -> None:
    with pytest.raises(ValueError, match=r"schema|no manifest"):
        parse_document(data)


def test_the_filter_gives_the_same() -> None:
    kinds = [{"platform": "dgx-os-7", "architecture": "arm64"}]
    expected = document(manifest(VERSIONS, [Target("dgx-os-7", "arm64")], ["spark"]))
    assert artifact_manifest(kinds, ["spark"]) == expected
    assert FilterModule().filters() == {"artifact_manifest": artifact_manifest}


@pytest.mark.parametrize(
    "kinds", [[{"platform": "dgx-os-9", "architecture": "arm64"}], [{"platform": "rocky-9"}], ["x"]]
)
def test_the_filter_refuses_unknown_hosts(kinds: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="artifact_manifest"):
        artifact_manifest(kinds, ["spark"])
