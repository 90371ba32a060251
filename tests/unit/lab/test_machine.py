"""A machine that cannot run the lab is refused with every reason at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lab import machine, probes
from lab.machine import Machine, is_own_user_namespace, observe, refusals

GOOD = Machine(
    architecture="x86_64",
    root=True,
    package_manager="/usr/bin/apt-get",
    free_disk_gb=50.0,
    free_hosts_disk_gb=50.0,
    memory_gb=24.0,
)


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
        ({"free_hosts_disk_gb": 1.0}, "1 GB are free for the hosts' disks"),
        ({"own_user_namespace": True}, "user namespace"),
        ({"missing_capabilities": ("SYS_ADMIN", "MKNOD")}, "SYS_ADMIN, MKNOD"),
        ({"missing_controllers": ("memory",)}, "memory"),
        ({"seccomp": False}, "seccomp"),
        ({"fixed_settings": {"fs.inotify.max_user_instances": "128"}}, "cannot be raised to 8192"),
        ({"failures": {"namespaces": "Operation not permitted"}}, "--privileged"),
        ({"failures": {"overlay": "Invalid argument"}}, "XDG_CACHE_HOME"),
        ({"failures": {"loop": "No such file or directory"}}, "/dev/loop-control"),
        ({"failures": {"vxlan": "the kernel does not have it"}}, "CONFIG_VXLAN"),
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


def test_every_subject_that_is_tried_has_its_words(tmp_path):
    assert set(probes._trials(tmp_path)) == set(machine._SUBJECTS)


def test_what_fails_only_for_want_of_namespaces_is_not_told_again():
    failures = dict.fromkeys(machine._SUBJECTS, "Operation not permitted")
    assert len(refusals(replace(GOOD, failures=failures), cache_exists=True)) == 1


def test_every_reason_has_a_remedy_on_its_one_line():
    bad = replace(
        GOOD,
        free_hosts_disk_gb=1.0,
        own_user_namespace=True,
        missing_controllers=("cpu",),
        seccomp=False,
        failures={subject: "no" for subject in machine._SUBJECTS if subject != "namespaces"},
    )
    reasons = refusals(bad, cache_exists=True)
    assert len(reasons) == 4 + len(machine._SUBJECTS) - 1
    assert all(": " in reason and "\n" not in reason for reason in reasons)


@pytest.mark.parametrize(
    ("uid_map", "expected"),
    [
        ("         0          0 4294967295\n", False),
        ("         0          0          1\n", True),
        ("         0     100000      65536\n", True),
        ("         0       1000          1\n         1     100000      65536\n", True),
    ],
)
def test_root_of_a_user_namespace_is_told_from_root(uid_map, expected):
    assert is_own_user_namespace(uid_map) is expected


@pytest.mark.parametrize(
    ("effective", "expected"),
    [("000001ffffffffff", ()), ("00000000a80425fb", ("NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN", "SYS_BOOT"))],
    ids=["root", "root in an ordinary container"],
)
def test_missing_capabilities_are_named(effective, expected):
    assert probes.missing_capabilities(f"Name:\tpython\nCapEff:\t{effective}\nSeccomp:\t0\n") == expected


def test_a_trial_that_works_has_no_reason():
    assert probes.attempt(lambda: None) is None


def test_a_trial_that_fails_tells_the_kernel_s_reason():
    def trial() -> None:
        raise OSError(1, "Operation not permitted")

    assert probes.attempt(trial) == "Operation not permitted"


def test_a_trial_changes_nothing_for_others(tmp_path):
    assert probes.attempt(lambda: os.chdir(tmp_path)) is None
    assert Path.cwd() != tmp_path


def test_this_machine_can_be_read():
    assert observe().memory_gb > 0
