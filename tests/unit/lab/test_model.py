"""The lab's systems as data."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lab import golang
from lab.model import SharedHostError, all_hosts, find_host, fleet, hosts_of, mirror, select, systems
from lab.settings import REPOSITORY


def test_every_system_has_the_mirror_and_a_playbook():
    for system in systems().values():
        assert mirror() in system.hosts
        assert (REPOSITORY / "playbooks" / system.playbook).is_file()


def test_an_optional_system_is_left_out_unless_it_is_named():
    optional = {name for name, system in systems().items() if system.optional}
    assert optional == {"access", "spark-before", "spark-pair"}
    assert {system.name for system in select(None)} == set(systems()) - optional
    assert {"headscale", "outsider"} <= {host.name for host in hosts_of(select(["access"]))}
    # Faults and shells find its hosts all the same.
    assert find_host("spark-02") in all_hosts()


def test_modules_of_a_system_are_optional_ones_that_can_be_built():
    wanted = {module for system in systems().values() for module in system.modules}
    assert wanted <= {module.folder for module in golang.modules() if module.optional}


def test_hosts_have_different_names_and_addresses():
    hosts = all_hosts()
    assert len({host.name for host in hosts}) == len({host.address for host in hosts}) == len(hosts)


def test_one_system_can_be_chosen():
    assert [host.name for host in hosts_of(select(["onyx"]))] == ["mirror", "onyx-m1", "onyx-g1"]


def test_a_shared_host_is_listed_once():
    assert [host.name for host in hosts_of(select(["spark", "onyx"]))].count("mirror") == 1


def test_an_unknown_system_is_refused():
    with pytest.raises(KeyError):
        select(["moon"])


def test_systems_that_share_a_host_are_not_chosen_together():
    with pytest.raises(SharedHostError, match="spark and spark-pair share calypso, spark-01: choose one"):
        select(["spark", "spark-pair"])
    assert len(select(["spark", "spark"])) == 2, "the same one twice is one"


def test_a_host_without_a_group_stands_in_the_inventory():
    declared = yaml.safe_load((REPOSITORY / "inventories/lab/hosts.yml").read_text(encoding="utf-8"))

    def names(group: dict[str, Any]) -> set[str]:
        below = (names(each) for each in (group.get("children") or {}).values())
        return set(group.get("hosts") or {}).union(*below)

    managed = {host.name for host in all_hosts() if host.purpose in ("managed", "k3s-server") and not host.group}
    # One that no play manages: it looks at others from outside.
    assert managed - {"outsider"} == names(declared["all"])
    assert not {host.name for host in all_hosts() if host.group} & names(declared["all"])


def test_a_fleet_is_numbered_and_belongs_to_no_system():
    hosts = fleet(12)
    assert [host.name for host in hosts][::11] == ["fleet-01", "fleet-12"]
    assert not set(hosts) & set(all_hosts())


def test_a_fleet_s_addresses_are_its_own():
    taken = {host.address for host in all_hosts()}
    addresses = [host.address for host in fleet(99)]
    assert len(set(addresses)) == 99
    assert not taken & set(addresses)
    assert max(addresses) < 255


def test_a_fleet_that_has_no_addresses_is_refused():
    with pytest.raises(ValueError, match="not 100"):
        fleet(100)
