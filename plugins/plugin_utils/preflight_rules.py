"""What the preflight's checks know, from the collection's data files and roles."""

from __future__ import annotations

import functools
from typing import Any, Mapping

from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_flags import AGENT, FIXED
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Profile, Range, Rules, System
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.compat_rules import load_judge
from ansible_collections.baremetal.gpu.plugins.plugin_utils.hardware_profile import load_profile
from ansible_collections.baremetal.gpu.plugins.plugin_utils.sharing_data import load_tiers, memory_of


@functools.cache
def load_rules() -> Rules:
    """Everything at once; read once per process."""
    k3s = data_files.load("data/k3s.yml")
    return Rules(
        profiles=_profiles(),
        options={role: options_of(role) for role in role_names()},
        ranges={
            name: Range(entry["minimum"], entry["maximum"], entry["unit"])
            for name, entry in data_files.load("data/ranges.yml")["ranges"].items()
        },
        codes={code: entry["kind"] for code, entry in data_files.codes().items()},
        readiness=data_files.load("data/readiness.yml")["items"],
        agent_keys=AGENT - FIXED,
        agent_keys_of_role=k3s["agent"]["keys_of_role"],
        kubelet_arguments=k3s["kubelet"]["refused"],
        kubelet_labels=frozenset(k3s["kubelet"]["labels"]),
        kubelet_label_namespaces=frozenset(k3s["kubelet"]["label_namespaces"]),
        labels_by_api=_labels_by_api(),
        compatibility=load_judge(),
        tiers=load_tiers(),
    )


def load_system(name: str) -> System | None:
    """What groups a system's inventory needs; None for a name that is no system of its own."""
    entry = data_files.load("data/systems.yml")["systems"].get(name)
    if entry is None:
        return None
    exclusive = tuple(tuple(groups) for groups in entry["exclusive"])
    return System(name, entry["required"], entry["inside"], exclusive, entry["readiness"])


def system_names() -> list[str]:
    """The systems whose groups are known."""
    return sorted(data_files.load("data/systems.yml")["systems"])


def role_names() -> list[str]:
    """Roles of this collection."""
    return sorted(path.parents[1].name for path in data_files.COLLECTION_ROOT.glob("roles/*/meta/argument_specs.yml"))


def options_of(role: str) -> dict[str, Mapping[str, Any]]:
    """The options of a role's argument specs, over all of its entry points."""
    specs = data_files.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


def _profiles() -> dict[str, Profile]:
    loaded = [load_profile(name) for name in data_files.names("data/hardware")]
    return {
        profile.name: Profile(
            profile.name, profile.mig_mode is not None, profile.architecture_of_host, memory_of(profile)
        )
        for profile in loaded
    }


def _labels_by_api() -> str:
    """What the role k3s_agent says of labels that it does not leave to the kubelet; empty where it leaves all to it."""
    path = "roles/k3s_agent/vars/main.yml"
    if not (data_files.COLLECTION_ROOT / path).exists():
        return ""
    return str((data_files.load(path) or {}).get("__k3s_agent_api_only") or "")
