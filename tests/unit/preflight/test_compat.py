"""Versions that may not meet are refused with the whole inventory, before any host is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight import compat
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Refusal
from ansible_collections.baremetal.gpu.tests.unit.preflight.conftest import RunPlaybooks, Spoil

STACK = {"platform": "dgx-os-7", "driver": "580.159.03", "cuda": "13.0.3", "triton_vllm": "25.11"}


def refusals(spoil: Spoil, **changes: Any) -> list[Refusal]:
    return list(compat.check(spoil("spark-01", **changes)))


def test_a_stack_that_fits_is_not_refused(spoil: Spoil) -> None:
    assert refusals(spoil, site_gpu_stack=STACK) == []


@pytest.mark.requirement("SPARK-04", part="the table answers; what roles install later is compared by them")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site_gpu_stack": {"driver": "590.48.01"}}, "BG-COMPAT-001"),
        ({"nvidia_device_plugin_version": "v0.17.3"}, "BG-COMPAT-001"),
        ({"site_gpu_stack": {"features": ["mps_by_label"]}, "nvidia_device_plugin_version": "v0.19.3"}, "BG-COMPAT-001"),
        ({"site_gpu_stack": {"gpu": "h100-sxm-8", "driver": "550.1.1", "fabric_manager": "550.1.2"},
          "gpu_verify_hardware_profile": ""}, "BG-COMPAT-002"),
        ({"site_gpu_stack": {"platform": "rocky-9"}}, "BG-COMPAT-003"),
        ({"site_gpu_stack": {"drivers": "580"}}, "BG-COMPAT-004"),
        ({"site_gpu_stack": {"triton": 25.10}}, "BG-COMPAT-004"),
        ({"site_gpu_stack": ["driver"]}, "BG-COMPAT-004"),
        ({"site_gpu_stack": {"device_plugin": "0.20.0"}, "nvidia_device_plugin_version": "v0.18.0"}, "BG-COMPAT-004"),
        ({"site_gpu_stack_accepted": {"gb10-cuba": "x"}}, "BG-COMPAT-004"),
        ({"site_gpu_stack_accepted": {"gb10-cuda": ""}}, "BG-COMPAT-004"),
        ({"site_gpu_stack": {"triton_trtllm": "25.10"}}, "BG-COMPAT-005"),
        ({"site_gpu_stack": {"gpu_operator": "25.10.1"}, "nvidia_device_plugin_version": "v0.18.0"}, "BG-COMPAT-006"),
        ({"site_gpu_stack": {"triton": "99.01"}}, "BG-COMPAT-007"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(spoil: Spoil, changes: dict[str, Any], code: str) -> None:
    found = refusals(spoil, **changes)
    assert [refusal.code for refusal in found] == [code]
    assert found[0].subject == "spark-01"


@pytest.mark.requirement("SPARK-22", part="against the declared release of Calypso's Triton")
def test_the_refusal_names_row_reason_and_the_nearest_allowed_combination(spoil: Spoil) -> None:
    (refusal,) = refusals(spoil, site_gpu_stack={**STACK, "driver": "590.48.01"})
    assert refusal.what.startswith("driver 590.48.01 must be of branch 580 with GPU gb10")
    assert "(row gb10-driver-branch)" in refusal.what
    assert refusal.hint == "take driver 580.178.04 instead of 590.48.01"
    assert refusal.variable == "site_gpu_stack"


def test_an_accepted_row_does_not_refuse(spoil: Spoil) -> None:
    stack = {**STACK, "driver": "590.48.01"}
    accepted = {"gb10-driver-branch": "tried here for a month"}
    assert refusals(spoil, site_gpu_stack=stack, site_gpu_stack_accepted=accepted) == []


def test_a_host_with_other_roles_is_judged_by_what_it_declares(spoil: Spoil) -> None:
    """Calypso, which only answers for the cluster, may declare its own stack."""
    found = compat.check(spoil("calypso", site_gpu_stack={"driver": "570.148.08", "triton_vllm": "25.11"}))
    assert [(refusal.code, refusal.subject) for refusal in found] == [("BG-COMPAT-005", "calypso")]


@pytest.fixture(scope="module")
def planned(run_playbooks: RunPlaybooks, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """The example's plan with a driver that GB10 has not, for a host that answers nobody."""
    folder = tmp_path_factory.mktemp("plan")
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    hosts = {
        "all": {
            "children": {
                "spark_system": {
                    "children": {"spark": {"hosts": {"spark-01": {}}}, "k3s_server": {"hosts": {"calypso": {}}}}
                }
            },
            "vars": {
                "ansible_host": "192.0.2.1",
                "gpu_verify_hardware_profile": "gb10",
                "site_gpu_stack": {"driver": "590.48.01"},
            },
        }
    }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    job = {
        "arguments": ["-i", str(inventory), "-e", json.dumps({}), str(root / "playbooks/plan.yml")],
        "log": str(folder / "log"),
        "verdict": str(folder / "verdict.json"),
    }
    (status,) = run_playbooks(folder, [job])
    return status, (folder / "log").read_text(encoding="utf-8")


def test_the_plan_is_refused_before_any_host_is_asked(planned: tuple[int, str]) -> None:
    status, output = planned
    assert status != 0
    assert "BG-COMPAT-001 spark-01" in output
    assert "take driver 580.178.04 instead of 590.48.01" in output
    tried = re.findall(r"^(?:ok|changed|fatal|skipping): \[([\w-]+)(?: -> [\w-]+)?\].*$", output, re.M)
    assert set(tried) == {"calypso"}
    assert "UNREACHABLE!" not in output
