"""air_gap.yml writes what the hosts of an inventory install, from what they declare, and contacts none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.tests.unit.preflight.conftest import RunPlaybooks

ADDRESS = {"ansible_host": "192.0.2.1"}
SPARK = {**ADDRESS, "gpu_verify_hardware_profile": "gb10", "site_gpu_stack": {"platform": "dgx-os-7", "driver": "580"}}
ONYX = {**ADDRESS, "site_gpu_stack": {"platform": "rocky-9", "architecture": "amd64"}}
CASES: dict[str, dict[str, Any]] = {
    "both": {"spark": {"hosts": {"spark-01": SPARK, "spark-02": SPARK}}, "onyx": {"hosts": {"onyx-m1": ONYX}}},
    "spark": {"spark": {"hosts": {"spark-01": SPARK}}},
    "undeclared": {"spark": {"hosts": {"spark-01": {**SPARK, "site_gpu_stack": {"driver": "580"}}}}},
}


@pytest.fixture(scope="module")
def outcomes(
    run_playbooks: RunPlaybooks, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, str, list[dict[str, Any]]]]:
    """Exit status, output and artefacts of every case."""
    folder = tmp_path_factory.mktemp("air-gap")
    jobs = []
    for name, children in CASES.items():
        place = folder / name
        place.mkdir()
        (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}), encoding="utf-8")
        extra = json.dumps({"air_gap_manifest": str(place / "manifest.json")})
        arguments = ["-i", str(place / "hosts.yml"), "-e", extra, str(root / "playbooks/air_gap.yml")]
        jobs.append({"arguments": arguments, "log": str(place / "log"), "verdict": str(place / "verdict.json")})
    statuses = run_playbooks(folder, jobs)
    found = {}
    for name, status in zip(CASES, statuses, strict=True):
        manifest = folder / name / "manifest.json"
        artefacts = json.loads(manifest.read_text(encoding="utf-8"))["artefacts"] if manifest.exists() else []
        found[name] = (status, (folder / name / "log").read_text(encoding="utf-8"), artefacts)
    return found


def test_every_kind_of_host_of_the_inventory_is_listed(outcomes: Any) -> None:
    status, output, artefacts = outcomes["both"]
    assert status == 0, output
    assert {each["kind"] for each in artefacts} == {"apt", "rpm", "chart", "file", "image"}
    assert {each["platform"] for each in artefacts} == {"any", "dgx-os-7", "rocky-9"}
    assert "UNREACHABLE!" not in output


def test_nothing_of_another_system_is_listed(outcomes: Any) -> None:
    status, output, artefacts = outcomes["spark"]
    assert status == 0, output
    assert {each["architecture"] for each in artefacts} == {"arm64", "any"}
    assert "kubernetes" not in {each["component"] for each in artefacts}


def test_a_host_that_does_not_say_what_it_is_is_refused(outcomes: Any) -> None:
    status, output, artefacts = outcomes["undeclared"]
    assert (status != 0, artefacts) == (True, [])
    assert "platform '' is unknown" in output
