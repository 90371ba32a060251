"""Lab hosts: systemd containers that are created once, booted, reached by ssh and removed without a trace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import disks, dress, faults, power, supervisor, upkeep
from lab.cache import content_key
from lab.model import Host, mirror
from lab.network import (
    address,
    container,
    ensure_network,
    hardware_address,
    network_name,
    remove_network,
    ssh_sockets,
)
from lab.podman import command, keep_store, podman, store
from lab.progress import say, step
from lab.rootfs import image, image_key
from lab.settings import CACHE, STATE

# Everything that a lab puts into its state folder; whatever else lies there is somebody else's.
MADE_IN_STATE = (
    "ansible",
    "bench",
    "disks",
    "dressed",
    "faults",
    "helm",
    "inventory",
    "kubeconfig",
    "log",
    "node-change",
    "report",
    "secrets",
    "ssh",
    "store",
    "subnet",
    "supervisor",
)
MADE_OF = "baremetal-gpu.made-of"


class HostError(RuntimeError):
    """Something cannot be done with a host as it is; the message says what to do."""


def ssh_key() -> Path:
    """The operator's private key for this lab, made once."""
    return _key(STATE / "ssh/id_ed25519", "operator of the lab")


def up(hosts: tuple[Host, ...], simulation: Path | None) -> list[str]:
    """Create and boot whatever is not running yet; return the names of the hosts that were started now.

    `simulation` is the folder of compiled stand-ins, which hosts with simulated hardware need.

    A host whose creation or boot fails is removed again, so that the next run makes a whole one.
    """
    keep_store()
    ensure_network()
    states = power.states()
    # A host that a fault keeps off or still is as it should be.
    whole = {name for name in states if states[name] == "running" or faults.keeps_off(name)}
    absent = [host for host in hosts if host.name not in whole or not _dressed(host).exists()]
    if absent:
        ssh_key()  # once, before the hosts ask for it side by side
        images = {kind: image(kind) for kind in {host.image for host in absent}}
        with step(f"Boot {', '.join(host.name for host in absent)}"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: _start(host, images[host.image], simulation), absent))
    _tell_outdated([host for host in hosts if host not in absent], simulation)
    _known_hosts(hosts)
    return [host.name for host in absent]


def shell(host: Host, text: str | None = None) -> int:
    """A root shell on a running host, or one shell command there; returns its exit status. Raises HostError when it does not run."""
    state = power.states().get(host.name) if store().is_dir() else None
    if state != "running":
        raise HostError(f"{host.name} {_how_to_start(host, state)}")
    options = ["--interactive", *(["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else [])]
    # Into the host's own time namespace too, where there is one, so that uptime tells the host's.
    enter = [
        "sh",
        "-c",
        'nsenter --target 1 --time true 2>/dev/null && set -- nsenter --target 1 --time "$@"; exec "$@"',
        "sh",
    ]
    wanted = ["/bin/bash", "--login", *(["-c", text] if text is not None else [])]
    return subprocess.run(command("exec", *options, container(host.name), *enter, *wanted), check=False).returncode


def _how_to_start(host: Host, state: str | None) -> str:
    if faults.keeps_off(host.name):
        return f"is {state}: a fault keeps it so; `make lab-faults` lists what is active"
    what = "has not been made in this lab" if state is None else f"is {state}"
    return f"{what}: `make lab SYSTEM={host.system}` boots it"


def remove(hosts: tuple[Host, ...]) -> None:
    """Remove these hosts with what they stored, so that the next `up` makes them anew; keys and addresses stay."""
    if hosts:
        podman("rm", "--force", "--ignore", "--time=0", "--volumes", *(container(host.name) for host in hosts))
    for host in hosts:
        _dressed(host).unlink(missing_ok=True)
        disks.remove(host.name)


def down() -> None:
    """Remove this lab's hosts, network, volumes and state; other labs are left alone."""
    # Without a store no host was ever made, and podman may not even be installed.
    made = store().is_dir()
    names = [container(host) for host in power.states()] if made else []
    supervisor.end()
    if names:
        with step(f"Remove {len(names)} hosts"):
            podman("rm", "--force", "--time=0", "--volumes", *names)
    disks.remove_all()
    if names or (STATE / "subnet").exists():
        remove_network()
    for path in (*(STATE / name for name in MADE_IN_STATE), ssh_sockets()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    upkeep.end_lease()
    if STATE.is_dir() and not any(STATE.iterdir()):
        STATE.rmdir()


def _tell_outdated(hosts: list[Host], simulation: Path | None) -> None:
    """A host that was made from former images or stand-ins goes on as it is; whoever changed those should know."""
    for host in hosts:
        made_of = podman(
            "inspect", f'--format={{{{index .Config.Labels "{MADE_OF}"}}}}', container(host.name)
        ).stdout.strip()
        if made_of != _inputs(host, simulation):
            say(f"{host.name} was made from former images or stand-ins; `make lab-clean` and `make lab` make it anew")


def _inputs(host: Host, simulation: Path | None) -> str:
    """What a host is made of, as one short key."""
    return content_key(
        [
            image_key(host.image),
            Path(dress.__file__),
            dress.INIT_PROGRAM,
            repr(host),
            *([simulation] if simulation and host.hardware else []),
        ]
    )


def _start(host: Host, reference: str, simulation: Path | None) -> None:
    name = container(host.name)
    try:
        if not _dressed(host).exists():
            podman("rm", "--force", "--ignore", "--volumes", name)  # left by a run that was killed
            disks.remove(host.name)
            _create(host, reference, simulation)
        power.switch_on(host.name)
        power.await_boot(host.name)
        faults.after_start(host.name)
    except BaseException:
        _dressed(host).unlink(missing_ok=True)
        podman("rm", "--force", "--ignore", "--time=0", "--volumes", name, check=False)
        disks.remove(host.name)
        raise


def _dressed(host: Host) -> Path:
    """The mark of a host that was made to its end."""
    return STATE / "dressed" / host.name


def _create(host: Host, reference: str, simulation: Path | None) -> None:
    disks.ensure(host.name)
    bounds = [f"--memory={host.memory_mib}m"] if host.memory_mib else []
    bounds += [f"--cpus={host.cpus}"] if host.cpus else []
    binds = [f"--volume={volume}:{path}" for path, volume in disks.volumes(host.name).items()]
    if host.purpose == "mirror":
        # All trees of the cache, so that the mirror can move on to a newer one without being made again. The first may be in the making.
        (CACHE / "mirror").mkdir(parents=True, exist_ok=True)
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
        f"--mac-address={hardware_address(host.address)}",
        f"--add-host=mirror.lab.internal:{address(mirror().address)}",
        f"--label={MADE_OF}={_inputs(host, simulation)}",
        f"--hostname={host.name}",
        f"--name={container(host.name)}",
        *bounds,
        *binds,
        reference,
        dress.INIT,
        "/sbin/init",
    )
    _dress(host, simulation)
    _dressed(host).parent.mkdir(exist_ok=True)
    _dressed(host).touch()


def _dress(host: Host, simulation: Path | None) -> None:
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
    """Make these hosts known to ssh. Those that are not among them stay known: booting one host is no word about the others."""
    path = STATE / "ssh/known_hosts"
    known = dict(line.split(" ", 1) for line in path.read_text(encoding="ascii").splitlines()) if path.exists() else {}
    for host in hosts:
        known[address(host.address)] = _host_key(host).with_suffix(".pub").read_text(encoding="ascii").strip()
    path.write_text("".join(f"{where} {key}\n" for where, key in known.items()), encoding="ascii")


def _host_key(host: Host) -> Path:
    return _key(STATE / f"ssh/host_{host.name}", f"lab host {host.name}")


def _key(path: Path, comment: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path
