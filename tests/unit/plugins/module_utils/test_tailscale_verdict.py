"""Findings about a Tailscale node."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_verdict import judge

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CONNECTED: dict[str, Any] = {
    "known": True,
    "login": "",
    "settings": [],
    "backend_state": "Running",
    "online": True,
    "network_device": True,
    "addresses": ["100.64.0.2"],
    "dns_name": "spark.tailnet.example",
    "tags": [],
    "key_expires": "",
}


@pytest.mark.parametrize(
    ("changes", "node", "key"),
    [
        ({}, "ok", "ok"),
        ({"settings": ["hostname"]}, "fail", "ok"),
        ({"online": False}, "fail", "ok"),
        ({"network_device": False}, "fail", "ok"),
        ({"login": "join", "backend_state": "", "online": False}, "fail", "unknown"),
        ({"login": "start", "backend_state": "Stopped", "online": False}, "fail", "ok"),
        ({"known": False, "backend_state": ""}, "unknown", "unknown"),
        ({"key_expires": "2030-01-01T00:00:01Z"}, "ok", "warn"),
        ({"key_expires": "2030-01-01T00:00:00Z"}, "ok", "fail"),
        ({"key_expires": "2029-01-01T00:00:00Z", "login": "reauthenticate"}, "fail", "fail"),
    ],
)
def test_a_node_is_judged_by_what_it_is_now(changes: dict[str, Any], node: str, key: str) -> None:
    found = judge("spark-02", {**CONNECTED, **changes}, True, "spark", NOW)
    assert [(finding.code, finding.status) for finding in found[:2]] == [
        ("BG-TAILNET-020", node),
        ("BG-TAILNET-021", key),
    ]
    for finding in found:
        assert finding.status == "ok" or (finding.reason and finding.remedy)
        assert (finding.subject, finding.simulated, finding.requirements) == ("spark-02", False, ("SPARK-05",))


def test_differing_settings_are_named() -> None:
    assert (
        judge("a", {**CONNECTED, "settings": ["hostname", "ssh"]}, True, "spark", NOW)[0].reason
        == "settings differ: hostname, ssh"
    )


def test_a_node_in_userspace_mode_needs_no_network_device() -> None:
    assert judge("a", {**CONNECTED, "network_device": False}, False, "", NOW)[0].status == "ok"


@pytest.mark.parametrize(
    ("hostname", "changes", "status"),
    [
        ("spark", {}, "ok"),
        ("Spark", {}, "ok"),
        ("spark", {"dns_name": "spark-1.tailnet.example"}, "warn"),
        ("spark", {"dns_name": ""}, "skipped"),
        ("", {}, "skipped"),
        ("spark", {"known": False, "dns_name": ""}, "unknown"),
    ],
)
def test_a_name_that_another_node_has_is_told(hostname: str, changes: dict[str, Any], status: str) -> None:
    finding = judge("a", {**CONNECTED, **changes}, True, hostname, NOW)[2]
    assert (finding.code, finding.status) == ("BG-TAILNET-022", status)
