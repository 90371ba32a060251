"""The lab's systems as data."""

from __future__ import annotations

import pytest

from lab.model import hosts_of, mirror, select, systems


def test_every_system_has_the_mirror_and_a_playbook():
    for system in systems().values():
        assert mirror() in system.hosts
        assert system.playbook == f"{system.name}.yml"


def test_hosts_have_different_names_and_addresses():
    hosts = hosts_of(select(None))
    assert len({host.name for host in hosts}) == len({host.address for host in hosts}) == len(hosts)


def test_one_system_can_be_chosen():
    assert [host.name for host in hosts_of(select(["onyx"]))] == ["mirror", "onyx-m1", "onyx-g1"]


def test_a_shared_host_is_listed_once():
    assert [host.name for host in hosts_of(select(["spark", "onyx"]))].count("mirror") == 1


def test_an_unknown_system_is_refused():
    with pytest.raises(KeyError):
        select(["moon"])
