"""What Tailscale answered elsewhere; skipped where the captures are not beside the checkout."""

from __future__ import annotations

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import parse_status
from ansible_collections.baremetal.gpu.tests.shared.test_reference_captures import SAMPLES

FOLDER = SAMPLES / "tailscale"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="reference captures are not beside this checkout")


def capture(name: str) -> list[str]:
    """The lines of a capture, without the first, which says where it is from."""
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()[1:]


def test_a_running_node_is_connected_with_its_peers() -> None:
    found = parse_status("\n".join(capture("status-running-1.102.4.json")))
    assert (found.connected, found.dns_name) == (True, "mac-host.example-tailnet.ts.net")
    assert found.addresses == ("100.64.0.10", "fd7a:115c:a1e0::f801:3fab")
    assert sorted(peer.name for peer in found.peers) == [
        "cachyos-host.example-tailnet.ts.net",
        "windows-host.example-tailnet.ts.net",
    ]


def test_a_node_that_is_stopped_or_logged_out_may_have_no_self() -> None:
    found = [parse_status(line) for line in capture("status-other-states.jsonl")]
    assert [(status.state, status.connected, status.addresses) for status in found] == [
        ("Stopped", False, ()),
        ("NeedsLogin", False, ()),
    ]
