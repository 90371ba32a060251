"""The half of the inventory that the engine generates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lab import site
from lab.model import Host, find_host, fleet, hosts_of, select, systems


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the inventory of hosts and returns it."""
    monkeypatch.setattr(site, "STATE", tmp_path)
    monkeypatch.setattr(site, "address", lambda number: f"192.0.2.{number}")
    monkeypatch.setattr(site, "ssh_key", lambda: tmp_path / "key")
    artefacts: Any = SimpleNamespace(sha256={}, key_fingerprint="0" * 40)

    def write(hosts: tuple[Host, ...], **variables: Any) -> dict[str, Any]:
        site.write_inventory(hosts, artefacts, variables)
        found: dict[str, Any] = yaml.safe_load((tmp_path / "inventory/hosts.yml").read_text(encoding="utf-8"))["all"]
        return found

    return write


def test_hosts_that_are_declared_are_in_no_group_of_it(written):
    found = written(hosts_of(select(["spark"])))
    assert (list(found["hosts"]), "children" in found) == (["calypso", "spark-01"], False)
    assert found["hosts"]["calypso"] == {"ansible_host": "192.0.2.20"}


def test_a_host_that_is_there_only_when_asked_for_brings_its_group(written):
    found = written(hosts_of(select(["spark-pair"])))
    assert found["children"] == {"spark": {"hosts": {find_host("spark-03").name: None}}}
    members = written(fleet(2))["children"]
    assert members == {"fleet": {"hosts": {"fleet-01": None, "fleet-02": None}}}


def test_what_a_system_s_inventory_says_besides_is_for_every_host(written):
    variables = systems()["spark-before"].variables
    found = written(hosts_of(select(["spark-before"])), **variables)["vars"]
    assert list(variables) == ["site_k3s_release"]
    assert found.items() >= variables.items()
