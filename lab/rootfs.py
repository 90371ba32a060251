"""Host images: Debian trixie with systemd and sshd, and the same with dnf for the Rocky look-alikes."""

from __future__ import annotations

from lab.cache import Entry, content_key
from lab.debian import bootstrap
from lab.podman import podman
from lab.progress import step

# Every host: what a freshly installed server has. No container runtime, no Kubernetes: those are the plays' work.
COMMON = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "iproute2",
    "iputils-ping",
    "python3",
    "python3-yaml",
    "openssh-server",
    "procps",
    "kmod",
    "curl",
    "ca-certificates",
    "sudo",
    "less",
    "iptables",
    "nftables",
    "conntrack",
    "ipset",
    "socat",
    "ethtool",
    "mount",
    "util-linux",
    "openssl",
    "libseccomp2",
    "gnupg",
    "pciutils",
]
PACKAGES = {
    "debian": [*COMMON, "python3-apt", "python3-debian", "nginx-light"],
    "rocky": [*COMMON, "dnf", "python3-dnf", "rpm"],
}
NOT_ON_A_HOST = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


REPOSITORY_OF_IMAGES = "localhost/baremetal-gpu-lab/"
"""First part of the references of host images in podman's store."""

# nginx and ssh must not start, nor machine-wide identities be shared, so the image keeps neither keys nor machine-id.
OPTIONS = (
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_ON_A_HOST),
    '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/etc/machine-id "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
    '--customize-hook=chroot "$1" systemctl disable --quiet ssh.socket nginx.service 2>/dev/null || true',
    '--customize-hook=chroot "$1" systemctl enable --quiet ssh.service',
)


def image_key(kind: str) -> str:
    """What decides a host image: its packages and how they are installed."""
    return content_key([kind, *PACKAGES[kind], *OPTIONS])


def archive(kind: str) -> Entry:
    """An entry with `rootfs.tar`, the root file system of a kind of host; `kind` is a key of PACKAGES."""
    return Entry(
        "rootfs",
        (image_key(kind),),
        lambda out, activity: bootstrap("minbase", PACKAGES[kind], out / "rootfs.tar", activity, OPTIONS),
        f"Bootstrap the {kind} host image from Debian packages",
    )


def image(kind: str) -> str:
    """The reference of a host image in the lab's podman store, built when it is missing. `kind` is a key of PACKAGES."""
    folder = archive(kind).ensure()
    reference = f"{REPOSITORY_OF_IMAGES}{kind}:{folder.name}"
    if podman("image", "exists", reference, check=False).returncode:
        with step(f"Import the {kind} host image"):
            podman("import", "--quiet", folder / "rootfs.tar", reference)
    return reference
