"""What has to happen to a node: for every combination of what is there and what is declared."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import SETTINGS, parse_prefs, parse_status
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_login import Secret, hidden, refusal
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale_plan import (
    DECLARABLE,
    DEFAULTS,
    Desired,
    compare,
    desired_from,
    kept,
    set_arguments,
    up_arguments,
)
from ansible_collections.baremetal.gpu.tests.support.tailscale_answers import FRESH_PREFS, SERVER, prefs, status

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "advertise_routes": st.sampled_from([(), ("10.1.0.0/16",), ("10.1.0.0/16", "10.2.0.0/16")]),
    "exit_node": st.sampled_from(["", "auto:any"]),
    "hostname": st.sampled_from(["", "spark", "spark-02"]),
    "netfilter_mode": st.sampled_from(["on", "nodivert", "off"]),
    "operator": st.sampled_from(["", "ops"]),
    "tags": st.sampled_from([(), ("tag:a",), ("tag:a", "tag:b")]),
}
VALUES = st.fixed_dictionaries({setting.name: KINDS.get(setting.name, st.booleans()) for setting in SETTINGS})
DECLARED = st.fixed_dictionaries({}, optional={name: KINDS.get(name, st.booleans()) for name in DECLARABLE})


def after_set(values: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """What the settings are when a command with these arguments has done what they say."""
    found = dict(values)
    by_flag = {setting.flag: setting.name for setting in SETTINGS}
    for argument in arguments:
        flag, _equals, text = argument.removeprefix("--").partition("=")
        if flag in by_flag:
            old = DEFAULTS[by_flag[flag]]
            words = tuple(text.split(",")) if text else ()
            found[by_flag[flag]] = words if isinstance(old, tuple) else text if isinstance(old, str) else text == "true"
    return found


def observed(values: dict[str, Any]) -> Any:
    found = parse_prefs(prefs())
    return type(found)(found.control_url, found.logged_out, values)


@given(VALUES, DECLARED, KINDS["tags"])
def test_what_is_declared_is_so_afterwards_and_nothing_else_changed(
    values: dict[str, Any], declared: dict[str, Any], tags: tuple[str, ...]
) -> None:
    desired = Desired(SERVER, declared, tags)
    running = parse_status(status())
    plan = compare(running, observed(values), desired, NOW)
    if plan.needs_up:
        # Whatever `up` does not know goes back to its default.
        lost = {setting.name: DEFAULTS[setting.name] for setting in SETTINGS if not setting.in_up}
        then = after_set({**values, **lost}, up_arguments(values, plan.changes, SERVER, running.peers))
        rest = compare(running, observed(then), desired, NOW)
        assert not rest.needs_up
        then = after_set(then, set_arguments([*rest.changes, *kept(values, then, desired, running.peers)]))
    else:
        then = after_set(values, set_arguments(plan.changes))
    assert not compare(running, observed(then), desired, NOW).changed
    wanted = {**values, **declared, **({"tags": tags} if tags else {})}
    assert then == wanted
    assert plan.changed == (wanted != values)


@given(VALUES, DECLARED)
def test_a_difference_is_told_with_what_was_and_what_will_be(values: dict[str, Any], declared: dict[str, Any]) -> None:
    plan = compare(parse_status(status()), observed(values), Desired(SERVER, declared), NOW)
    diff = plan.diff()
    assert set(diff["before"]) == set(diff["after"]) == {change.name for change in plan.changes}
    assert all(diff["before"][name] != diff["after"][name] for name in diff["before"])
    json.dumps(diff)


def test_the_defaults_are_those_of_a_node_that_never_logged_in() -> None:
    assert parse_prefs(json.dumps(FRESH_PREFS)).values == DEFAULTS


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"tags": ["tag:"]}, "tag"),
        ({"tags": ["tag:1a"]}, "tag"),
        ({"hostname": "-a"}, "hostname"),
        ({"hostname": "a" * 64}, "hostname"),
        ({"advertise_routes": ["here"]}, "route"),
        ({"tailnet_ranges": ["100.64.0.1/10"]}, "range"),
        ({"login_server": "https://a b"}, "login server"),
    ],
)
def test_an_impossible_declaration_names_what_is_impossible(params: dict[str, Any], word: str) -> None:
    with pytest.raises(GpuError, match=f"BG-TAILNET-015: .*{word}"):
        desired_from({"login_server": SERVER, **params})


@given(st.text(max_size=40), st.text(max_size=40), st.text(alphabet="abcdef0123456789", min_size=16, max_size=60))
def test_no_message_keeps_the_secret(before: str, after: str, value: str) -> None:
    for secret in (Secret(value), Secret(f"tskey-client-{value}?ephemeral=false", is_oauth=True)):
        bare = secret.value.partition("?")[0]
        assert bare not in hidden(f"{before}{secret.value}{after} {bare}", secret)
    assert value not in hidden(f"cannot use tskey-auth-{value}", Secret("other"))
    assert value not in repr(Secret(value))


def test_words_that_waiting_may_change_are_no_refusal() -> None:
    for said in (
        "dial tcp 10.0.0.1:443: connect: connection refused",
        "register request: http 502",
        "",
        "node key rotated",
    ):
        assert refusal(said) is None
