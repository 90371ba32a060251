"""A machine that cannot run the lab is refused with every reason at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import machine
from lab.machine import Machine, observe, refusals

GOOD = Machine(architecture="x86_64", root=True, package_manager="/usr/bin/apt-get", free_disk_gb=50.0, memory_gb=24.0)


def test_a_good_machine_is_not_refused():
    assert refusals(GOOD, cache_exists=False) == []


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"root": False}, "root"),
        ({"architecture": "aarch64"}, "aarch64"),
        ({"package_manager": None}, "apt-get"),
        ({"free_disk_gb": 3.0}, "3 GB are free"),
        ({"memory_gb": 2.0}, "2 GB of memory"),
    ],
)
def test_each_fault_is_named(fault, word):
    (reason,) = refusals(replace(GOOD, **fault), cache_exists=False)
    assert word in reason


def test_all_faults_are_told_at_once():
    assert len(refusals(replace(GOOD, root=False, memory_gb=1.0), cache_exists=False)) == 2


def test_a_filled_cache_needs_no_more_disk():
    assert refusals(replace(GOOD, free_disk_gb=3.0), cache_exists=True) == []


def test_only_a_built_mirror_makes_a_filled_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CACHE", tmp_path)
    (tmp_path / "go").mkdir()
    assert not machine.cache_is_filled()
    (tmp_path / "mirror/0123/tree").mkdir(parents=True)
    assert machine.cache_is_filled()


def test_this_machine_can_be_read():
    assert observe().memory_gb > 0
