"""The examples of shared GPUs run as they stand: those of the filters' documentation, and the manifests of docs/examples/sharing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.baremetal.gpu.plugins.filter import (
    mps_environment,
    pod_sharing_faults,
    sharing_figures,
    tier_resources,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.quantity import parse_quantity
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers

FILTERS = (mps_environment, pod_sharing_faults, sharing_figures, tier_resources)
EVERY_TIER = ["small", "medium", "large"]
RENDERED: dict[str, dict[str, Any]] = {
    "ten": {},
    "two": {"gpu_sharing": {"strategy": "mps", "replicas": 2, "tiers": EVERY_TIER}, "example_nodes": 3},
    "text": {"gpu_sharing": {"strategy": "mps", "replicas": "{{ 8 // 2 }}", "tiers": ["small", "medium"]}},
    "above_cap": {"gpu_sharing": {"strategy": "mps", "replicas": 10, "tiers": EVERY_TIER}},
    "not_applied": {"gpu_sharing": {"strategy": "mps", "replicas": 10, "thread_cap": 100, "tiers": EVERY_TIER}},
}


@dataclass(frozen=True)
class Run:
    status: int
    output: str
    written: Path

    def objects(self) -> list[dict[str, Any]]:
        return [each for each in yaml.safe_load_all(self.written.read_text(encoding="utf-8")) if each]


def documented(folder: Path) -> Path:
    """A playbook of every example in the filters' documentation, over a manifest with a pod of the smallest tier."""
    container = {
        "name": "c",
        "env": mps_environment.mps_environment("small", {"strategy": "mps", "replicas": 10}),
        "resources": tier_resources.tier_resources("small", {"strategy": "mps", "replicas": 10}),
    }
    spec = {"securityContext": {"runAsUser": 1000}, "containers": [container]}
    pod = {"kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    # A list, too: Ansible's own mappings have to be taken apart as plain ones are.
    items = [pod, {"kind": "PodList", "items": [{"metadata": {"name": "b"}, "spec": spec}]}]
    (folder / "pods.yml").write_text(yaml.safe_dump_all(items), encoding="utf-8")
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"gpu_sharing": {"strategy": "mps", "replicas": "{{ 5 * 2 }}"}, "gpu_hardware_profile": "gb10"},
        "tasks": [task for module in FILTERS for task in yaml.safe_load(module.EXAMPLES)],
    }
    path = folder / "documented.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(run_playbooks: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Run]:
    folder = tmp_path_factory.mktemp("sharing")
    playbooks: dict[str, list[str]] = {"documented": [str(documented(folder))]}
    for name, variables in RENDERED.items():
        given = json.dumps({**variables, "example_file": str(folder / f"{name}.yml")})
        playbooks[name] = [str(root / "docs/examples/sharing/render.yml"), "-e", given]
    jobs = [
        {"arguments": arguments, "log": str(folder / f"{name}.log"), "verdict": str(folder / f"{name}.json")}
        for name, arguments in playbooks.items()
    ]
    statuses = run_playbooks(folder, jobs)
    return {
        name: Run(status, (folder / f"{name}.log").read_text(encoding="utf-8"), folder / f"{name}.yml")
        for name, status in zip(playbooks, statuses, strict=True)
    }


def test_examples_of_the_documentation_run(runs: Mapping[str, Run]) -> None:
    assert runs["documented"].status == 0, runs["documented"].output
    assert "0=16G" in runs["documented"].output
    assert "12.8" in runs["documented"].output


@pytest.mark.requirement("MPS-05", part="example Deployments rendered from the tiers")
@pytest.mark.parametrize(
    ("name", "tiers", "shares"), [("ten", ["small"], 10), ("two", EVERY_TIER, 6), ("text", ["small", "medium"], 4)]
)
def test_manifests_are_those_of_the_declaration(
    runs: Mapping[str, Run], name: str, tiers: list[str], shares: int
) -> None:
    assert runs[name].status == 0, runs[name].output
    namespace, policy, binding, quota, limits, *deployments = runs[name].objects()
    assert (namespace["kind"], quota["kind"], limits["kind"]) == ("Namespace", "ResourceQuota", "LimitRange")
    assert (policy["kind"], binding["spec"]["policyName"]) == ("ValidatingAdmissionPolicy", policy["metadata"]["name"])
    selector = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    assert selector == namespace["metadata"]["labels"]
    assert quota["spec"]["hard"] == {"requests.nvidia.com/gpu": str(shares)}
    (limit,) = limits["spec"]["limits"]
    assert (limit["max"]["nvidia.com/gpu"], limit["default"]["nvidia.com/gpu"]) == ("1", "0")
    assert all(parse_quantity(str(each)) >= 0 for key in ("default", "defaultRequest") for each in limit[key].values())
    assert [each["spec"]["template"]["metadata"]["labels"]["baremetal.gpu/tier"] for each in deployments] == tiers
    for tier, deployment in zip(tiers, deployments, strict=True):
        assert deployment["kind"] == "Deployment"
        pod = deployment["spec"]["template"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        (container,) = pod["spec"]["containers"]
        assert container["env"][0]["value"] == str(load_tiers()[tier].thread_percent)
        assert container["resources"]["requests"] == container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        assert pod["spec"]["securityContext"]["runAsUser"] == 1000


@pytest.mark.parametrize(("name", "code"), [("above_cap", "BG-SHARE-006"), ("not_applied", "BG-SHARE-010")])
def test_what_the_nodes_would_not_give_is_not_written(runs: Mapping[str, Run], name: str, code: str) -> None:
    assert runs[name].status == 2
    assert code in runs[name].output
    assert not runs[name].written.exists()
