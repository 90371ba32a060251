"""Renders a host's rules from the port table, and lets the module of the same name change them with the guard behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, Finding
from ansible_collections.baremetal.gpu.plugins.module_utils.firewall_policy import (
    policy_from,
    render,
    render_published,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.other_firewalls import firewalld_zones, ufw_rules
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files
from ansible_collections.baremetal.gpu.plugins.plugin_utils.guarded_action import GuardedAction

_LIST = {"type": "list", "elements": "str", "default": []}


class ActionModule(GuardedAction):
    """The controller knows the table, the host its rules."""

    MODULE = "baremetal.gpu.tailnet_firewall"
    ARGUMENTS: ClassVar[Mapping[str, Any]] = {
        "interface": {"type": "str", "default": ""},
        "tailscale_port": {"type": "int", "default": 0},
        "links": _LIST,
        "nodes": _LIST,
        "sources": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {"source": {"type": "str", "required": True}, "ports": _LIST},
        },
        "pod_networks": _LIST,
        "pod_interfaces": _LIST,
        "container_interfaces": _LIST,
    }

    def told(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The rules and the tailnet's interface."""
        policy = policy_from(data_files.load("data/ports.yml"), arguments)
        trusted, others = firewalld_zones(policy)
        rendered = {
            "ruleset": render(policy),
            "published": render_published(policy),
            "ufw": list(ufw_rules(policy)),
            "trusted_interfaces": list(trusted.interfaces),
            "ports": list(others.ports),
            "rich_rules": list(others.rich_rules),
            "interface": policy.open_interfaces[0],
        }
        return {"declared": rendered}

    def refuse(self, seen: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        """Without a tailnet nobody would come in, unless sources are declared; the way back is proven then by them."""
        if not seen["addresses"] and not arguments["sources"]:
            interface = arguments["interface"] or "the tailnet's interface"
            state = "has no address" if seen["addresses"] is not None else "is not there"
            raise GpuError(
                "BG-ACCESS-104",
                f"{interface} {state}: the tailnet is not up",
                "nobody could reach the host afterwards; nothing was changed",
                "join the host to its tailnet first, or declare who else may reach it (tailnet_firewall_sources)",
            )

    def judge(self, subject: str, seen: Mapping[str, Any], requirements: tuple[str, ...]) -> list[Finding]:
        """BG-ACCESS-001."""
        differences = list(seen["differences"])
        evidence = {"backend": seen["backend"], "differences": differences}
        if differences:
            remedy = "run the role tailnet_firewall again; find out who changes the rules when it does not stay"
            return [
                Finding(
                    "BG-ACCESS-001", subject, FAIL, "; ".join(differences), remedy, evidence, requirements=requirements
                )
            ]
        return [Finding("BG-ACCESS-001", subject, OK, "rules are as declared", "", evidence, requirements=requirements)]
