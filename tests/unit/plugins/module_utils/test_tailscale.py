"""The parsers of what a Tailscale node says of itself."""

from __future__ import annotations

import ipaddress
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.tailscale import (
    SETTINGS,
    normal_routes,
    parse_prefs,
    parse_status,
    parse_time,
)
from ansible_collections.baremetal.gpu.tests.support.tailscale_answers import (
    FRESH_PREFS,
    FRESH_STATUS,
    SERVER,
    prefs,
    status,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_node_in_a_tailnet_is_running_and_online() -> None:
    found = parse_status(status(own={"Tags": ["tag:b", "tag:a", "tag:a"]}))
    assert (found.state, found.connected, found.has_node_key, found.tun) == ("Running", True, True, True)
    assert found.addresses == ("100.64.0.2", "fd7a:115c:a1e0::2")
    assert found.dns_name == "spark.tailnet.example"
    assert found.tags == ("tag:a", "tag:b")
    assert (found.key_expires, found.has_expired(NOW)) == (None, False)
    assert [(peer.identity, peer.name) for peer in found.peers] == [("7", "gate.tailnet.example")]


@pytest.mark.parametrize(
    "text",
    [
        '{"BackendState":"Stopped"}',
        '{"BackendState":"NeedsLogin","Self":{}}',
        '{"BackendState":"NeedsLogin","Self":null,"Peer":null,"TailscaleIPs":null,"Health":null}',
        json.dumps(FRESH_STATUS),
    ],
)
def test_a_node_outside_of_a_tailnet_may_have_nothing_to_say_of_itself(text: str) -> None:
    found = parse_status(text)
    assert (found.connected, found.addresses, found.tags, found.peers, found.dns_name) == (False, (), (), (), "")


@pytest.mark.parametrize(("state", "online"), [("Running", False), ("Stopped", True), ("Starting", True)])
def test_addresses_alone_are_no_connection(state: str, online: bool) -> None:
    found = parse_status(status(own={"Online": online}, BackendState=state))
    assert found.addresses
    assert not found.connected


def test_addresses_are_also_found_below_self() -> None:
    assert parse_status(status(TailscaleIPs=None)).addresses == ("100.64.0.2", "fd7a:115c:a1e0::2")


def test_the_login_servers_last_word_is_found_among_the_health_texts() -> None:
    text = "You are logged out. The last login error was: register request: http 401: authkey expired"
    found = parse_status(status(Health=["Tailscale is stopped.", text]))
    assert found.login_error == "register request: http 401: authkey expired"
    assert parse_status(status(Health=["You are logged out."])).login_error == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2027-05-01T12:00:00Z", datetime(2027, 5, 1, 12, tzinfo=UTC)),
        ("2027-05-01T12:00:00.123456789Z", datetime(2027, 5, 1, 12, tzinfo=UTC)),
        ("2027-05-01T14:30:00+02:30", datetime(2027, 5, 1, 12, tzinfo=UTC)),
        ("2027-05-01T10:00:00-02:00", datetime(2027, 5, 1, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        (None, None),
        ("", None),
    ],
)
def test_times_of_go_are_read_in_utc(value: Any, expected: datetime | None) -> None:
    assert parse_time(value) == expected


@pytest.mark.parametrize("value", ["soon", "2027-13-01T00:00:00Z", "2027-05-01", 5, True, "٢٠٢٧-05-01T12:00:00Z"])
def test_an_end_that_cannot_be_read_is_not_taken_for_none(value: Any) -> None:
    with pytest.raises(GpuError, match="BG-TAILNET-101"):
        parse_status(status(own={"KeyExpiry": value}))


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.integers(0, 999_999_999),
)
def test_every_time_survives_its_spelling(moment: datetime, offset_min: int, nanoseconds: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_min)))
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    sign, (hours, minutes) = "-" if offset_min < 0 else "+", divmod(abs(offset_min), 60)
    zone = f"{sign}{hours:02d}:{minutes:02d}" if offset_min else "Z"
    assert parse_time(f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}") == moment


@pytest.mark.parametrize("own", [{"Expired": True}, {"KeyExpiry": "2029-12-31T23:59:59Z"}])
def test_an_expired_key_is_seen_by_its_mark_and_by_its_date(own: dict[str, Any]) -> None:
    assert parse_status(status(own=own)).has_expired(NOW)
    assert not parse_status(status(own={"KeyExpiry": "2030-01-01T00:00:01Z"})).has_expired(NOW)


def test_settings_are_read_by_their_meaning() -> None:
    values = parse_prefs(
        prefs(
            CorpDNS=False,
            RouteAll=True,
            Hostname="spark-02",
            NoSNAT=True,
            NetfilterMode=1,
            AdvertiseRoutes=["10.2.0.0/16", "10.1.0.0/16", "0.0.0.0/0", "::/0"],
            AdvertiseTags=["tag:b", "tag:a"],
            AutoUpdate={"Check": False, "Apply": False},
        )
    ).values
    assert values["accept_dns"] is False
    assert values["accept_routes"] is True
    assert values["hostname"] == "spark-02"
    assert values["snat_subnet_routes"] is False
    assert values["netfilter_mode"] == "nodivert"
    assert values["advertise_routes"] == ("10.1.0.0/16", "10.2.0.0/16")
    assert values["advertise_exit_node"] is True
    assert values["tags"] == ("tag:a", "tag:b")
    assert (values["auto_update"], values["update_check"]) == (False, False)


def test_an_automatic_update_that_nobody_decided_on_is_neither_on_nor_off() -> None:
    assert parse_prefs(prefs()).values["auto_update"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"ExitNodeIP": "100.64.0.7"}, "100.64.0.7"),
        ({"ExitNodeID": "n7"}, "id:n7"),
        ({"AutoExitNode": "any", "ExitNodeID": "n7"}, "auto:any"),
    ],
)
def test_an_exit_node_is_read_as_it_was_chosen(changes: dict[str, Any], expected: str) -> None:
    assert parse_prefs(prefs(**changes)).values["exit_node"] == expected


def test_a_daemon_that_never_logged_in_has_no_server() -> None:
    found = parse_prefs(json.dumps(FRESH_PREFS))
    assert (found.control_url, found.logged_out) == ("", True)
    assert parse_prefs(prefs()).control_url == SERVER


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"BackendState":3}', "<html>", "[" * 100_000])
def test_what_is_no_answer_is_refused(text: str) -> None:
    for parse in (parse_status, parse_prefs):
        with pytest.raises(GpuError, match="BG-TAILNET-101"):
            parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)
STATUS_FIELDS = st.sampled_from(
    ["Version", "TUN", "BackendState", "HaveNodeKey", "TailscaleIPs", "Self", "Health", "Peer"]
)
SELF_FIELDS = st.sampled_from(["Online", "DNSName", "TailscaleIPs", "Tags", "KeyExpiry", "Expired"])


@given(st.dictionaries(STATUS_FIELDS, JSON), st.dictionaries(SELF_FIELDS, JSON))
def test_no_answer_ends_otherwise_than_in_a_status_or_a_refusal(top: dict[str, Any], own: dict[str, Any]) -> None:
    document = {**json.loads(status(own=own)), **top}
    with suppress(GpuError):
        found = parse_status(json.dumps(document))
        assert found.state == document["BackendState"]
        # What is no boolean in the answer is never taken for one.
        own_now = document["Self"] if isinstance(document["Self"], dict) else {}
        assert found.online is (own_now.get("Online") is True)


PREFS_FIELDS = st.sampled_from(sorted(json.loads(prefs())))


@given(st.dictionaries(PREFS_FIELDS, JSON))
def test_no_preferences_end_otherwise_than_in_settings_or_a_refusal(changes: dict[str, Any]) -> None:
    with suppress(GpuError):
        found = parse_prefs(prefs(**changes))
        assert set(found.values) == {setting.name for setting in SETTINGS}


NETWORKS = st.ip_addresses(v=4).map(lambda each: str(ipaddress.ip_network(f"{each}/24", strict=False)))


@given(st.lists(NETWORKS))
def test_routes_have_one_order_and_no_doubles(routes: list[str]) -> None:
    assert normal_routes(routes) == normal_routes(reversed(routes * 2))
    assert set(normal_routes(routes)) == set(routes)
