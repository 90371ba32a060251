"""Findings about a Tailscale node, from what the module ``tailscale_node`` returned in check mode. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.baremetal.gpu.plugins.module_utils.findings import FAIL, OK, SKIPPED, UNKNOWN, WARN, Finding

REQUIREMENTS = ("SPARK-05",)

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def judge(subject: str, result: Mapping[str, Any], needs_device: bool, hostname: str, now: datetime) -> List[Finding]:
    """Findings about the node, the end of its key, and its name.

    ``needs_device`` says that it is not to run in userspace mode; ``hostname`` is the declared name, empty for none.
    """
    evidence: Dict[str, Any] = {
        name: result.get(name)
        for name in ("backend_state", "online", "network_device", "addresses", "dns_name", "tags", "key_expires")
    }
    evidence["read_at"] = now.strftime(_FORMAT)
    return [
        Finding("BG-TAILNET-020", subject, *_node(result, needs_device), evidence=evidence, requirements=REQUIREMENTS),
        Finding("BG-TAILNET-021", subject, *_key(result, now), evidence=evidence, requirements=REQUIREMENTS),
        Finding("BG-TAILNET-022", subject, *_name(result, hostname), evidence=evidence, requirements=REQUIREMENTS),
    ]


def _node(result: Mapping[str, Any], needs_device: bool) -> Tuple[str, str, str]:
    """Status, reason and remedy."""
    settle = "run the playbook that joins hosts to the tailnet"
    if not result.get("known"):
        return UNKNOWN, "tailscaled does not run", "start tailscaled, then verify again"
    if result.get("login"):
        return (
            FAIL,
            "the node is not in the tailnet ({0})".format(result.get("backend_state") or "no Tailscale"),
            settle,
        )
    if not result.get("online"):
        return FAIL, "the node is not online at the login server", "see `tailscale status` and `tailscale netcheck`"
    if needs_device and not result.get("network_device"):
        return FAIL, "tailscaled has no network device, so only it can use the tailnet", settle
    if result.get("settings"):
        return FAIL, "settings differ: {0}".format(", ".join(result["settings"])), settle
    return OK, "", ""


def _key(result: Mapping[str, Any], now: datetime) -> Tuple[str, str, str]:
    if not (result.get("known") and result.get("backend_state")):
        return UNKNOWN, "the node cannot be asked", "start tailscaled, then verify again"
    text = result.get("key_expires") or ""
    if not text:
        return OK, "", ""
    end = datetime.strptime(text, _FORMAT).replace(tzinfo=timezone.utc)
    remedy = "tag the node, or disable the expiry of its key on the login server"
    if end <= now:
        return (
            FAIL,
            "the node's key ended at {0}".format(text),
            "make a new auth key, run the playbook again; " + remedy,
        )
    days = (end - now).days
    return WARN, "the node drops out of the tailnet in {0} days, at {1}".format(days, text), remedy


def _name(result: Mapping[str, Any], hostname: str) -> Tuple[str, str, str]:
    """The login server gives each name once: a node that joins while another has its name gets a longer one."""
    name = result.get("dns_name") or ""
    if not hostname or (result.get("known") and not name):
        return SKIPPED, "no name is declared" if not hostname else "the tailnet gives its nodes no names", ""
    if not name:
        return UNKNOWN, "the node cannot be asked", "start tailscaled, then verify again"
    if name.partition(".")[0].lower() == hostname.lower():
        return OK, "", ""
    return (
        WARN,
        "the node is called {0}, declared is {1}: another node has that name".format(name, hostname),
        "delete the other node on the login server (an earlier life of this host stays listed there), or declare another name",
    )
