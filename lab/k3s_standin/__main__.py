"""k3s (lab stand-in): supervises the ordinary Kubernetes programs behind k3s's command line.

USAGE:
   k3s server [OPTIONS]      run a server with its node
   k3s agent [OPTIONS]       run a node
   k3s kubectl ARGS          run kubectl
   k3s ctr ARGS              run ctr
   k3s --version             print the version
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from . import agent, configuration, containerd, processes, server
from .agent import Node
from .bundle import Bundle, data_dir
from .configuration import UsageError
from .console import FatalError, log

_CLIENTS = ("kubectl", "ctr", "crictl")
_ABSENT = ("crictl", "token", "etcd-snapshot", "secrets-encrypt", "certificate", "completion", "check-config")
"""Commands that k3s has and the stand-in does not."""


def main() -> int:
    """Do what the command line says; called by the archive's own `__main__`."""
    called = Path(sys.argv[0]).name
    arguments = [called, *sys.argv[1:]] if called in _CLIENTS else sys.argv[1:]
    try:
        return command(arguments)
    except UsageError as error:
        print(f"Incorrect Usage: {error}\n", file=sys.stderr)
        log("fatal", str(error))
    except FatalError as error:
        log("fatal", str(error))
    return 1


def command(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status. Raises FatalError; does not return when another program takes over."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name in ("-h", "--help", "help", "h"):
        print(__doc__)
    elif name in ("-v", "--version", "version"):
        print(
            f"k3s version {Bundle.running().version} (stand-in)\ngo version none (supervisor runs on Python {platform.python_version()})"
        )
    elif name in ("server", "agent"):
        return _supervise(name, rest)
    elif name in ("kubectl", "ctr"):
        _become(name, rest)
    elif name in _ABSENT:
        raise FatalError(f"k3s {name} is not part of the stand-in")
    else:
        print(f"No help topic for '{name}'", file=sys.stderr)
        return 3
    return 0


def _supervise(name: str, arguments: Sequence[str]) -> int:
    settings = configuration.load(name, arguments, os.environ)
    bundle = Bundle.running()
    log("info", f"Starting k3s {name} {bundle.version} (stand-in)")
    if settings.without_effect:
        log("warning", f"Flags without effect in the stand-in: {', '.join(settings.without_effect)}")
    processes.stop_on_signals()
    node = Node.from_configuration(settings, bundle)
    supervisor = processes.Supervisor(f"{node.programs}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}")
    try:
        (server if name == "server" else agent).run(settings, node, supervisor)
        supervisor.watch()
    except processes.Stopped as reason:
        log("info", f"Stopping on {reason}")
    finally:
        supervisor.stop()
    return 0


def _become(name: str, arguments: Sequence[str]) -> None:
    """Turn this process into a client with k3s's defaults."""
    programs = Bundle.running().extract(data_dir(os.environ, os.geteuid()))
    defaults = {
        "KUBECONFIG": server.KUBECONFIG,
        "CONTAINERD_ADDRESS": str(containerd.SOCKET),
        "CONTAINERD_NAMESPACE": containerd.NAMESPACE,
    }
    os.execve(programs / name, [name, *arguments], {**defaults, **os.environ})


if __name__ == "__main__":
    sys.exit(main())
