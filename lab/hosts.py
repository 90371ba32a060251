"""Lab hosts: systemd containers that are created once, booted, reached by ssh and removed without a trace."""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import dress
from lab.cache import content_key
from lab.model import Host, mirror
from lab.network import address, container, ensure_network, network_name, remove_network, ssh_sockets
from lab.podman import command, execute, keep_store, podman, store
from lab.progress import say, step
from lab.rootfs import image, image_key
from lab.settings import CACHE, STATE

# Container stores must not lie on the container's own overlay (overlay on overlay fails).
OWN_FILE_SYSTEM = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/rancher")

# Without these a container does not stand for the machine that it is dressed as.
OWN_UNITS = frozenset({"lab-boot.service", "simulated-hardware.service"})
# Everything that a lab puts into its state folder; whatever else lies there is somebody else's.
MADE_IN_STATE = (
    "ansible",
    "dressed",
    "inventory",
    "kubeconfig",
    "log",
    "report",
    "secrets",
    "ssh",
    "store",
    "subnet",
    "volumes",
)
MADE_OF = "baremetal-gpu.made-of"


def ssh_key() -> Path:
    """The operator's private key for this lab, made once."""
    return _key(STATE / "ssh/id_ed25519", "operator of the lab")


def up(hosts: tuple[Host, ...], simulation: Path) -> list[str]:
    """Create and boot whatever is not running yet; return the names of the hosts that were started now.

    A host whose creation or boot fails is removed again, so that the next run makes a whole one.
    """
    keep_store()
    ensure_network()
    running = set(podman("ps", "--format={{.Names}}").stdout.split())
    absent = [host for host in hosts if container(host.name) not in running or not _dressed(host).exists()]
    if absent:
        ssh_key()  # once, before the hosts ask for it side by side
        images = {kind: image(kind) for kind in {host.image for host in absent}}
        with step(f"Boot {', '.join(host.name for host in absent)}"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: _start(host, images[host.image], simulation), absent))
    _tell_outdated([host for host in hosts if host not in absent], simulation)
    _known_hosts(hosts)
    return [host.name for host in absent]


def shell(host: str) -> int:
    """An interactive root shell on a running host."""
    return subprocess.run(
        command("exec", "--interactive", "--tty", container(host), "/bin/bash", "--login"), check=False
    ).returncode


def down() -> None:
    """Remove this lab's hosts, network, volumes and state; other labs are left alone."""
    # Without a store no host was ever made, and podman may not even be installed.
    made = store().is_dir()
    names = (
        podman("ps", "--all", f"--filter=name=^{container('')}", "--format={{.Names}}").stdout.split() if made else []
    )
    if names:
        with step(f"Remove {len(names)} hosts"):
            podman("rm", "--force", "--time=0", "--volumes", *names)
    if names or (STATE / "subnet").exists():
        remove_network()
    for path in (*(STATE / name for name in MADE_IN_STATE), ssh_sockets()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if STATE.is_dir() and not any(STATE.iterdir()):
        STATE.rmdir()


def _tell_outdated(hosts: list[Host], simulation: Path) -> None:
    """A host that was made from former images or stand-ins goes on as it is; whoever changed those should know."""
    for host in hosts:
        made_of = podman(
            "inspect", f'--format={{{{index .Config.Labels "{MADE_OF}"}}}}', container(host.name)
        ).stdout.strip()
        if made_of != _inputs(host, simulation):
            say(f"{host.name} was made from former images or stand-ins; `make lab-clean` and `make lab` make it anew")


def _inputs(host: Host, simulation: Path) -> str:
    """What a host is made of, as one short key."""
    return content_key(
        [image_key(host.image), Path(dress.__file__), repr(host), *([simulation] if host.hardware else [])]
    )


def _start(host: Host, reference: str, simulation: Path) -> None:
    name = container(host.name)
    try:
        if not _dressed(host).exists():
            podman("rm", "--force", "--ignore", "--volumes", name)  # left by a run that was killed
            _create(host, reference, simulation)
        podman("start", name)
        _await_boot(host.name, name)
    except BaseException:
        _dressed(host).unlink(missing_ok=True)
        podman("rm", "--force", "--ignore", "--time=0", "--volumes", name, check=False)
        raise


def _dressed(host: Host) -> Path:
    """The mark of a host that was made to its end."""
    return STATE / "dressed" / host.name


def _await_boot(host: str, name: str) -> None:
    """Wait until systemd has finished starting up. Raises RuntimeError when what makes it a lab host failed."""
    if _booted(name) == "running":
        return
    listing = execute(name, "systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
    failed = [line.split()[0] for line in listing.splitlines() if line.strip()]
    if not OWN_UNITS.isdisjoint(failed):
        journal = execute(name, "journalctl", "--no-pager", "--lines=20", *(f"--unit={unit}" for unit in failed)).stdout
        raise RuntimeError(f"{host} is no lab host: {', '.join(failed)} failed\n{journal}")
    say(f"{host} booted, but {', '.join(failed) or 'some unit'} failed")


def _booted(name: str, timeout_s: int = 120) -> str:
    """systemd's state after start-up. Before its bus is there systemctl answers nothing."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        query = ("timeout", str(timeout_s), "systemctl", "is-system-running", "--wait")
        state = execute(name, *query, check=False).stdout.strip()
        if state in ("running", "degraded"):
            return state
        time.sleep(0.2)
    raise TimeoutError(f"{name} did not finish booting within {timeout_s} s")


def _create(host: Host, reference: str, simulation: Path) -> None:
    volumes = [STATE / "volumes" / host.name / path.strip("/").replace("/", "-") for path in OWN_FILE_SYSTEM]
    for volume in volumes:
        volume.mkdir(parents=True, exist_ok=True)
    binds = [f"--volume={volume}:{path}" for volume, path in zip(volumes, OWN_FILE_SYSTEM, strict=True)]
    if host.purpose == "mirror":
        # All trees of the cache, so that the mirror can move on to a newer one without being made again.
        binds.append(f"--volume={CACHE / 'mirror'}:/srv/mirror:ro")
    podman(
        "create",
        "--privileged",
        # An own cgroup namespace with podman's systemd mode off: systemd then sets up its own hierarchy in it.
        "--cgroupns=private",
        "--systemd=false",
        "--env=container=podman",
        "--tmpfs=/run:rw,exec,mode=755",
        "--tmpfs=/run/lock",
        "--tmpfs=/tmp:rw,exec,mode=1777",
        "--stop-signal=SIGRTMIN+3",
        "--pids-limit=-1",
        "--ulimit=nofile=20000:20000",
        "--ulimit=nproc=20000:20000",
        f"--network={network_name()}",
        f"--ip={address(host.address)}",
        f"--add-host=mirror.lab.internal:{address(mirror().address)}",
        f"--label={MADE_OF}={_inputs(host, simulation)}",
        f"--hostname={host.name}",
        f"--name={container(host.name)}",
        *binds,
        reference,
        "/sbin/init",
    )
    _dress(host, simulation)
    _dressed(host).parent.mkdir(exist_ok=True)
    _dressed(host).touch()


def _dress(host: Host, simulation: Path) -> None:
    root = Path(podman("mount", container(host.name)).stdout.strip())
    try:
        dress.prepare(
            root,
            dress=host.dress,
            profile=host.hardware,
            simulation=simulation,
            public_key=ssh_key().with_suffix(".pub").read_text(encoding="ascii"),
            host_key=_host_key(host),
        )
    finally:
        podman("umount", container(host.name))


def _known_hosts(hosts: tuple[Host, ...]) -> None:
    known = [
        f"{address(host.address)} {_host_key(host).with_suffix('.pub').read_text(encoding='ascii')}" for host in hosts
    ]
    (STATE / "ssh/known_hosts").write_text("".join(known), encoding="ascii")


def _host_key(host: Host) -> Path:
    return _key(STATE / f"ssh/host_{host.name}", f"lab host {host.name}")


def _key(path: Path, comment: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path
