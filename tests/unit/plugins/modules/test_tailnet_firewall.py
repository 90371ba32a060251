"""A host's rules are compared with what its own nft makes of the declared ones; what cannot be read or loaded is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.baremetal.gpu.plugins.module_utils import firewall_host
from ansible_collections.baremetal.gpu.plugins.modules import access_guard, tailnet_firewall
from ansible_collections.baremetal.gpu.tests.unit.plugins.support import add_program, run_module

CHAIN = {"chain": {"family": "inet", "table": "baremetal_gpu", "name": "input", "policy": "drop", "handle": 1}}
# Lists what the test put beside it; loading copies the file's first line to where it is listed from.
NFT = """
case "$*" in
    -f*) cp "$2" "$HOST/loaded.nft"; [ ! -e "$HOST/fails" ] || { echo "Error: planted" >&2; exit 1; } ;;
    *--json*) [ -e "$HOST/listing.json" ] || { cat "$HOST/reason" >&2; exit 1; }; cat "$HOST/listing.json" ;;
    *) echo "table inet baremetal_gpu { }" ;;
esac
"""
UNSHARE = """
[ ! -e "$HOST/refused" ] || { echo "Error: syntax error, planted" >&2; exit 1; }
cat "$HOST/wanted.json"; printf %s "$8"; echo "table inet baremetal_gpu { wanted }"
"""


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "run/systemd/system").mkdir(parents=True)
        self.bin = root / "bin"
        self.bin.mkdir()
        for name, script in {
            "nft": NFT,
            "unshare": UNSHARE,
            "systemctl": '[ "$1" != show ] || echo active\n',
            "ip": 'echo "2: ts0    inet 100.64.0.7/32 scope global ts0"\n',
        }.items():
            add_program(self.bin, name, script)
        (root / "reason").write_text("Error: No such file or directory\n", encoding="utf-8")
        self.lists("wanted.json", CHAIN)

    def lists(self, name: str, *objects: Any) -> None:
        (self.root / name).write_text(json.dumps({"nftables": list(objects)}), encoding="utf-8")

    def run(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        rendered = {"ruleset": "wanted rules", "published": "published rules", "interface": "ts0"}
        others: dict[str, list[str]] = {key: [] for key in ("trusted_interfaces", "ports", "rich_rules")}
        given = {"declared": {**rendered, **others, "ufw": ["allow in on ts0"]}, **arguments}
        return run_module(tailnet_firewall, given, check_mode)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    monkeypatch.setenv("HOST", str(tmp_path))
    monkeypatch.setattr(tailnet_firewall, "ROOT", str(tmp_path))
    monkeypatch.setattr(access_guard, "ROOT", str(tmp_path))
    return made


def test_host_without_our_table_differs_and_is_only_looked_at(host: Host) -> None:
    result = host.run()
    assert result["changed"] is True
    assert result["differences"][0] == "the table inet baremetal_gpu is not loaded"
    assert "{ wanted }" in result["diff"][1]["after"]
    assert result["diff"][0]["prepared"].startswith("the table inet baremetal_gpu is not loaded\n")
    assert result["addresses"] == ["100.64.0.7"]
    assert not (host.root / "loaded.nft").exists()
    assert not (host.root / "etc").exists()


def test_change_is_loaded_then_confirmed_and_then_nothing_differs(host: Host) -> None:
    applied = host.run(apply=True, identifier="x")
    assert applied["pending"]["state"] == "applied"
    assert (host.root / "loaded.nft").read_text(encoding="utf-8") == "wanted rules"
    assert not (host.root / "etc/baremetal-gpu").exists(), "nothing lasts before it is confirmed"
    confirmed = run_module(access_guard, {"state": "confirmed", "identifier": "x"})
    assert (confirmed["changed"], confirmed["pending"]) == (True, None)
    host.lists("listing.json", CHAIN)
    again = host.run()
    assert (again["changed"], again["differences"]) == (False, [])


def test_taking_back_loads_what_was(host: Host) -> None:
    host.lists("listing.json")
    host.run(apply=True, identifier="x")
    assert run_module(access_guard, {"state": "rolled_back"}, check_mode=True)["changed"] is True
    taken_back = run_module(access_guard, {"state": "rolled_back"})
    assert (taken_back["changed"], taken_back["rolled_back"]) == (True, "the firewall")
    loaded = (host.root / "loaded.nft").read_text(encoding="utf-8")
    assert loaded.startswith("table inet baremetal_gpu\ndelete table inet baremetal_gpu\ntable inet baremetal_gpu { }")
    assert run_module(access_guard, {"state": "rolled_back"})["changed"] is False


def test_check_mode_applies_nothing(host: Host) -> None:
    result = host.run(check_mode=True, apply=True, identifier="x")
    assert (result["changed"], result["pending"]) == (True, None)
    assert not (host.root / "loaded.nft").exists()


def test_load_that_fails_is_taken_back(host: Host) -> None:
    (host.root / "fails").touch()
    add_program(host.bin, "nft", NFT.replace("cp ", 'case "$2" in *former*) exit 0 ;; esac; cp '))
    result = host.run(apply=True, identifier="x")
    assert result["code"] == "BG-ACCESS-121"
    assert "planted" in result["msg"]
    assert run_module(access_guard, {})["pending"] is None


def test_rules_that_nft_refuses_are_told(host: Host) -> None:
    (host.root / "refused").touch()
    result = host.run()
    assert result["code"] == "BG-ACCESS-106"
    assert "syntax error" in result["msg"]


def test_rules_that_cannot_be_read_are_not_taken_for_none(host: Host) -> None:
    (host.root / "reason").write_text("Error: Operation not permitted\n", encoding="utf-8")
    assert host.run()["code"] == "BG-ACCESS-123"


def test_listing_that_is_none_is_told(host: Host) -> None:
    (host.root / "listing.json").write_text("Segmentation fault", encoding="utf-8")
    assert host.run()["code"] == "BG-ACCESS-123"


def test_host_without_nft_is_predicted_and_not_changed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_host.Firewall.__init__, "__defaults__", (lambda name: None,))
    assert host.run()["differences"] == ["nft is not installed"]
    assert host.run(apply=True, identifier="x")["code"] == "BG-ACCESS-106"


UFW = """
case "$*" in
    status) echo "Status: active" ;;
    "show added") echo "Added user rules:"; cat "$HOST/etc/ufw/rules" ;;
    allow*) echo "ufw $*" >> "$HOST/etc/ufw/rules" ;;
    delete*) shift; grep -vxF "ufw $*" "$HOST/etc/ufw/rules" > "$HOST/rest"; cat "$HOST/rest" > "$HOST/etc/ufw/rules" ;;
    default*) echo 'DEFAULT_INPUT_POLICY="DROP"' >> "$HOST/etc/default/ufw" ;;
    reload) cp "$HOST/etc/ufw/rules" "$HOST/running" ;;
esac
"""


@pytest.fixture
def ufw(host: Host) -> Host:
    add_program(host.bin, "ufw", UFW)
    for path, text in {"ufw/rules": "ufw allow 22/tcp\n", "default/ufw": 'DEFAULT_FORWARD_POLICY="ACCEPT"\n'}.items():
        (host.root / "etc" / path).parent.mkdir(parents=True, exist_ok=True)
        (host.root / "etc" / path).write_text(text, encoding="utf-8")
    return host


def test_active_ufw_gets_the_rules_and_our_table_only_what_ufw_does_not_see(ufw: Host) -> None:
    assert ufw.run()["backend"] == "ufw"
    ufw.run(apply=True, identifier="x")
    assert (ufw.root / "running").read_text(encoding="utf-8") == "ufw allow in on ts0\n"
    assert (ufw.root / "loaded.nft").read_text(encoding="utf-8") == "published rules"
    run_module(access_guard, {"state": "confirmed", "identifier": "x"})
    ufw.lists("listing.json", CHAIN)
    assert ufw.run()["differences"] == []


def test_ufw_comes_back_as_it_was(ufw: Host) -> None:
    ufw.run(apply=True, identifier="x")
    run_module(access_guard, {"state": "rolled_back"})
    assert (ufw.root / "running").read_text(encoding="utf-8") == "ufw allow 22/tcp\n"
    assert "INPUT" not in (ufw.root / "etc/default/ufw").read_text(encoding="utf-8")


def test_unit_loads_the_rules_before_the_network_and_after_others_flushed() -> None:
    text = firewall_host.unit("/usr/sbin/nft")
    assert "Before=network-pre.target" in text
    assert "After=local-fs.target systemd-modules-load.service nftables.service" in text
    assert "ExecStart=/usr/sbin/nft -f /etc/baremetal-gpu/firewall.nft\n" in text
