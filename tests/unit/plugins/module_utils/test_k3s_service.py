"""What k3s needs on a host, and what counts as a difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils import k3s_flags
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import (
    BINARY,
    CONFIGURATION,
    SERVICES,
    Download,
    Found,
    TextFile,
    blocks,
    compare,
    counts_at_start,
    difference,
    release_in,
    render,
    wanted_downloads,
    wanted_files,
)
from lab.k3s_standin import options

AGENT = SERVICES["agent"]
SETTINGS: dict[str, Any] = {"server": "https://10.0.0.20:6443", "node-label": ["a=1"], "node-ip": "10.0.0.21"}
SHA256 = "0" * 64


def found_as_wanted(wanted: list[Any]) -> dict[str, Found]:
    """A host on which everything is as wanted."""
    return {
        item.path: Found(sha256=item.sha256, mode=item.mode)
        if isinstance(item, Download)
        else Found(text=item.text, mode=item.mode)
        for item in wanted
    }


def everything() -> list[Any]:
    archives = [{"url": "http://mirror/images/a.tar?x=1", "sha256": SHA256}]
    return [*wanted_downloads("http://mirror/k3s", SHA256, archives), *wanted_files(AGENT, SETTINGS, "K10secret")]


def test_a_host_as_wanted_has_no_change() -> None:
    wanted = everything()
    plan = compare(wanted, found_as_wanted(wanted))
    assert (plan.changes, plan.concerns_what_runs) == ((), False)


def test_a_bare_host_needs_everything() -> None:
    wanted = everything()
    plan = compare(wanted, {})
    assert {change.path for change in plan.changes} == {item.path for item in wanted}
    assert plan.concerns_what_runs


@pytest.mark.parametrize(
    ("part", "restart"), [("binary", True), ("images", False), ("configuration", True), ("token", True), ("unit", True)]
)
def test_what_is_read_at_start_needs_a_restart(part: str, restart: bool) -> None:
    wanted = everything()
    found = found_as_wanted(wanted)
    path = next(item.path for item in wanted if item.part == part)
    found[path] = replace(found[path], sha256="f" * 64, text='other: "x"\n')
    plan = compare(wanted, found)
    assert [(change.part, change.at_start) for change in plan.changes] == [(part, restart)]
    assert plan.concerns_what_runs is restart


@pytest.mark.parametrize("spoilt", [{"mode": 0o644}, {"owner": (1000, 0)}])
def test_a_file_open_to_others_is_corrected_without_a_restart(spoilt: dict[str, Any]) -> None:
    wanted = everything()
    found = found_as_wanted(wanted)
    found[AGENT.token_file] = replace(found[AGENT.token_file], **spoilt)
    plan = compare(wanted, found)
    assert [(change.path, change.content) for change in plan.changes] == [(AGENT.token_file, False)]
    assert not plan.concerns_what_runs


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("node-label", ["a=2"], False), ("node-taint", ["x:NoSchedule"], False), ("node-ip", "10.0.0.22", True)],
)
def test_labels_and_taints_of_a_registered_node_need_no_restart(key: str, value: Any, expected: bool) -> None:
    assert counts_at_start(render(SETTINGS), render({**SETTINGS, key: value})) is expected


def test_a_configuration_that_is_not_there_counts_at_start() -> None:
    assert counts_at_start(None, render(SETTINGS))


def test_a_setting_that_somebody_added_counts_at_start() -> None:
    assert counts_at_start(render(SETTINGS) + "debug: true\n", render(SETTINGS))


def test_comments_and_order_do_not_count_at_start() -> None:
    reordered = dict(reversed(SETTINGS.items()))
    assert not counts_at_start("# mine\n\n" + render(reordered), render(SETTINGS))


_KEYS = st.text(st.characters(categories=["Ll"], max_codepoint=127), max_size=12).map("k3s-{}".format)
_SCALARS = st.one_of(st.text(min_size=1), st.booleans(), st.integers(-(2**31), 2**31))


@given(st.dictionaries(_KEYS, st.one_of(_SCALARS, st.lists(_SCALARS, min_size=1, max_size=3)), max_size=6))
def test_what_is_rendered_is_what_yaml_reads(settings: dict[str, Any]) -> None:
    assert (yaml.safe_load(render(settings)) or {}) == settings


@given(st.dictionaries(_KEYS, st.one_of(_SCALARS, st.lists(_SCALARS, min_size=1, max_size=3)), max_size=6))
def test_every_setting_is_one_block(settings: dict[str, Any]) -> None:
    assert set(blocks(render(settings))) == set(settings)


def test_empty_settings_are_left_out() -> None:
    assert yaml.safe_load(render({"a": "", "b": [], "c": None, "d": False})) == {"d": False}


def test_a_setting_with_no_place_in_the_file_is_refused() -> None:
    with pytest.raises(GpuError, match="BG-K3S-004"):
        render({"kubelet-arg": {"max-pods": 10}})


def test_the_token_is_named_by_its_file_only() -> None:
    files = {file.part: file for file in wanted_files(AGENT, SETTINGS, "K10secret")}
    assert yaml.safe_load(files["configuration"].text)["token-file"] == AGENT.token_file
    assert "K10secret" not in files["configuration"].text + files["unit"].text
    assert (files["token"].text, files["token"].mode) == ("K10secret\n", 0o600)


def test_a_server_without_a_given_token_makes_its_own() -> None:
    files = wanted_files(SERVICES["server"], {"node-ip": "10.0.0.20"}, None)
    assert [file.part for file in files] == ["configuration", "unit"]
    assert "token" not in files[0].text


def test_a_diff_shows_no_secret() -> None:
    wanted = [TextFile("token", AGENT.token_file, "K10new", 0o600, secret=True)]
    found = {AGENT.token_file: Found(text="K10old", mode=0o600)}
    (shown,) = difference(compare(wanted, found), found)
    assert "K10" not in str(shown)
    assert shown["before"] != shown["after"]


def test_a_diff_of_a_configuration_shows_both_texts_and_modes() -> None:
    wanted = wanted_files(AGENT, SETTINGS, None)
    found = {**found_as_wanted(wanted), CONFIGURATION: Found(text="old\n", mode=0o644)}
    (shown,) = difference(compare(wanted, found), found)
    assert (shown["before"], shown["after"]) == ("old\n", render(SETTINGS))
    assert (shown["before_header"], shown["after_header"]) == (
        f"{CONFIGURATION} (mode 0644)",
        f"{CONFIGURATION} (mode 0600)",
    )


def test_a_server_tells_systemd_when_it_is_up_and_an_agent_does_not() -> None:
    assert "\nType=notify\n" in SERVICES["server"].unit()
    assert "\nType=exec\n" in AGENT.unit()
    for service in SERVICES.values():
        assert f"\nExecStart={BINARY} {service.command}\n" in service.unit(), "everything else is in config.yaml"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("k3s version v1.34.4+k3s1 (c6017918)\ngo version go1.24\n", "v1.34.4+k3s1"),
        ("k3s version v1.34.4+k3s1 (stand-in)", "v1.34.4+k3s1"),
        ("rke2 version v1.34.4+rke2r1", ""),
        ("", ""),
    ],
)
def test_the_release_is_read_from_what_the_binary_says(said: str, expected: str) -> None:
    assert release_in(said) == expected


@pytest.mark.parametrize("service", ["agent", "server"])
def test_known_settings_are_those_of_the_stand_in(service: str) -> None:
    """Two tables, one for what is refused and one for what is accepted, must not drift apart."""
    assert k3s_flags.FLAGS[service] == set(options.known(service))


def test_a_misspelt_setting_is_refused_with_a_near_name() -> None:
    with pytest.raises(GpuError, match=r"BG-K3S-004: .*node-lable \(did you mean node-label\?\)"):
        k3s_flags.check_keys("agent", {"node-lable": ["a=1"]})


def test_a_server_s_setting_is_unknown_to_an_agent() -> None:
    k3s_flags.check_keys("server", {"tls-san": ["x"], "node-label+": ["a=1"]})
    with pytest.raises(GpuError, match="BG-K3S-004"):
        k3s_flags.check_keys("agent", {"tls-san": ["x"]})


def test_a_setting_of_another_release_can_be_vouched_for() -> None:
    k3s_flags.check_keys("agent", {"brand-new": True}, ["brand-new"])


def test_the_places_of_k3s_are_fixed() -> None:
    with pytest.raises(GpuError, match=r"BG-K3S-004: .*data-dir"):
        k3s_flags.check_keys("server", {"data-dir": "/srv"})
