"""What makes a container look and behave like the machine it stands for; everything here is written before its first boot."""

from __future__ import annotations

import uuid
from pathlib import Path

from lab.simulation import hardware

UBUNTU = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.3 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
"""
ROCKY = """\
NAME="Rocky Linux"
VERSION="9.3 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.3"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Rocky Linux 9.3 (Blue Onyx)"
"""
ROCKY_RELEASE = "Rocky Linux release 9.3 (Blue Onyx)\n"

INIT = "/usr/local/sbin/lab-init"
"""The container's first program; it becomes systemd."""

INIT_PROGRAM = Path(__file__).with_name("boot") / "lab_init.py"

# The containers share the machine's kernel: no host may set its clock, load modules, flush binfmt or grab a console.
SYSTEMD_BOUNDS = "[Manager]\nCapabilityBoundingSet=~CAP_SYS_TIME CAP_SYS_MODULE\nDefaultTasksMax=infinity\n"
MASKED = (
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "systemd-timesyncd.service",
    "systemd-modules-load.service",
    "systemd-firstboot.service",
    "ldconfig.service",  # runs beside the simulated driver's own ldconfig, and one of two fails
    "systemd-networkd.service",  # podman has set the address already
    "systemd-networkd-wait-online.service",
    "getty@tty1.service",
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)

BOOT_SCRIPT = """\
#!/bin/sh
# First thing at boot: what a privileged container needs before a container runtime or kubelet may start in it.
set -e
mount --make-rshared /
# The kubelet writes these machine-wide settings; it gets private files that already hold what it wants.
own() {
    [ -e "/proc/sys/$1" ] || return 0
    mkdir -p /run/lab-sysctl
    copy=/run/lab-sysctl/$(echo "$1" | tr / .)
    echo "$2" > "$copy"
    mount --bind "$copy" "/proc/sys/$1"
}
own vm/overcommit_memory 1
own vm/panic_on_oom 0
own kernel/panic 10
own kernel/panic_on_oops 1
own kernel/keys/root_maxkeys 1000000
own kernel/keys/root_maxbytes 25000000
# Podman binds these; as plain files they can be replaced, as on a real machine.
for file in hostname hosts; do
    if mountpoint -q "/etc/$file"; then
        cp "/etc/$file" "/run/lab-$file"
        umount "/etc/$file"
        cat "/run/lab-$file" > "/etc/$file"
    fi
done
"""
BOOT_UNIT = """\
[Unit]
Description=Lab host preparation
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-boot

[Install]
WantedBy=sysinit.target
"""

# This kernel has no loadable modules, so neither modprobe nor /proc/modules exist; both are answered from a file.
MODPROBE = """\
#!/bin/sh
# SIMULATED modprobe: records module names in /run/lab-modules; this kernel cannot load any.
remove=no
for argument in "$@"; do
    case $argument in
        -r|--remove) remove=yes ;;
        -n|--dry-run) exit 0 ;;
        -*) ;;
        *) module=${module:-$(echo "$argument" | tr - _)} ;;
    esac
done
touch /run/lab-modules
if [ $remove = yes ]; then
    sed -i "/^$module /d" /run/lab-modules
else
    grep -q "^$module " /run/lab-modules || echo "$module 16384 0 - Live 0x0000000000000000" >> /run/lab-modules
fi
"""
SITE_CUSTOMIZE = '''\
"""SIMULATED /proc/modules: this kernel has none, so Python reads the file that the simulated modprobe keeps."""
import builtins
import os

if not os.path.exists("/proc/modules"):
    _open = builtins.open

    def _redirected(file, *arguments, **options):
        if file == "/proc/modules":
            file = "/run/lab-modules"
            if not os.path.exists(file):
                _open(file, "a").close()
        return _open(file, *arguments, **options)

    builtins.open = _redirected
'''


def prepare(
    root: Path, *, dress: str | None, profile: str | None, simulation: Path | None, public_key: str, host_key: Path
) -> None:
    """Write everything a host of this kind has before its first boot into its root file system `root`.

    `dress` is `ubuntu`, `dgx-os`, `rocky` or None; `profile` a simulated hardware profile or None; `simulation` the folder of
    compiled stand-ins; `public_key` the operator's key; `host_key` the private host key (its `.pub` lies beside it).
    """
    _bound(root)
    _ssh(root, public_key, host_key)
    if dress in ("ubuntu", "dgx-os"):
        _write(root / "etc/os-release", UBUNTU)
        _write(
            root / "etc/lsb-release",
            'DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\nDISTRIB_CODENAME=noble\nDISTRIB_DESCRIPTION="Ubuntu 24.04.3 LTS"\n',
        )
    if dress == "rocky":
        _rocky(root)
    if profile:
        if simulation is None:
            raise ValueError(f"a host with {profile} needs the compiled stand-ins")
        hardware.install(root, profile, simulation)


def _bound(root: Path) -> None:
    _write(root / "etc/systemd/system.conf.d/10-lab.conf", SYSTEMD_BOUNDS)
    # With an identity of its own a host does not take this for a first boot, which would apply unit presets.
    _write(root / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    for unit in MASKED:
        _link(root / "etc/systemd/system" / unit, "/dev/null")
    _write(root / INIT.lstrip("/"), INIT_PROGRAM.read_text(encoding="utf-8"), 0o755)
    _write(root / "usr/local/sbin/lab-boot", BOOT_SCRIPT, 0o755)
    _write(root / "etc/systemd/system/lab-boot.service", BOOT_UNIT)
    _link(root / "etc/systemd/system/sysinit.target.wants/lab-boot.service", "../lab-boot.service")
    for name in ("usr/local/sbin/modprobe", "usr/sbin/modprobe"):
        (root / name).unlink(missing_ok=True)
        _write(root / name, MODPROBE, 0o755)
    for library in (root / "etc").glob("python3.*"):
        (library / "sitecustomize.py").unlink(missing_ok=True)
        _write(library / "sitecustomize.py", SITE_CUSTOMIZE)


def _ssh(root: Path, public_key: str, host_key: Path) -> None:
    _write(root / "root/.ssh/authorized_keys", public_key, 0o600)
    _write(root / "etc/ssh/ssh_host_ed25519_key", host_key.read_text(encoding="ascii"), 0o600)
    _write(root / "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_text(encoding="ascii"))


def _rocky(root: Path) -> None:
    _write(root / "etc/os-release", ROCKY)
    _write(root / "etc/rocky-release", ROCKY_RELEASE)
    for name in ("redhat-release", "system-release"):
        _link(root / "etc" / name, "rocky-release")
    for name in ("etc/debian_version", "etc/dpkg/origins/default", "etc/lsb-release"):
        (root / name).unlink(missing_ok=True)
    _write(root / "etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    for folder in ("etc/yum.repos.d", "etc/pki/rpm-gpg"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
