"""A dressed host looks like the machine it stands for, and cannot harm the machine it runs on."""

from __future__ import annotations

import subprocess

import pytest

from lab import dress


@pytest.fixture
def host_key(tmp_path):
    path = tmp_path / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def prepare(tmp_path, host_key):
    root = tmp_path / "root"
    (root / "etc/python3.13").mkdir(parents=True)

    def make(kind: str | None):
        dress.prepare(
            root,
            dress=kind,
            profile=None,
            simulation=tmp_path,
            public_key="ssh-ed25519 AAAA operator\n",
            host_key=host_key,
        )
        return root

    return make


@pytest.mark.parametrize(
    ("kind", "expected"), [("ubuntu", "ID=ubuntu"), ("dgx-os", 'VERSION_ID="24.04"'), ("rocky", 'ID="rocky"')]
)
def test_os_release_names_the_system(prepare, kind, expected):
    assert expected in (prepare(kind) / "etc/os-release").read_text()


def test_no_host_may_set_the_clock_or_load_modules(prepare):
    bounds = (prepare(None) / "etc/systemd/system.conf.d/10-lab.conf").read_text()
    assert "CapabilityBoundingSet=~CAP_SYS_TIME CAP_SYS_MODULE" in bounds


@pytest.mark.parametrize("unit", ["systemd-binfmt.service", "systemd-timesyncd.service"])
def test_units_that_reach_the_shared_kernel_are_masked(prepare, unit):
    assert (prepare(None) / "etc/systemd/system" / unit).readlink().as_posix() == "/dev/null"


def test_private_files_are_private(prepare):
    root = prepare(None)
    for name in ("root/.ssh/authorized_keys", "etc/ssh/ssh_host_ed25519_key"):
        assert (root / name).stat().st_mode & 0o777 == 0o600


def test_two_hosts_have_different_machine_ids(prepare):
    first = (prepare(None) / "etc/machine-id").read_text()
    (prepare(None) / "etc/machine-id").unlink(missing_ok=True)
    assert (prepare(None) / "etc/machine-id").read_text() != first


def test_the_simulated_modprobe_records_and_removes(prepare, tmp_path):
    script = tmp_path / "modprobe"
    script.write_text(dress.MODPROBE.replace("/run/lab-modules", str(tmp_path / "modules")))
    subprocess.run(["sh", script, "-a", "br-netfilter"], check=True)
    subprocess.run(["sh", script, "br_netfilter"], check=True)
    assert (tmp_path / "modules").read_text().count("br_netfilter ") == 1
    subprocess.run(["sh", script, "-r", "br_netfilter"], check=True)
    assert (tmp_path / "modules").read_text() == ""
