"""Checks what the controller knows about k3s on a host, then lets the module of the same name compare and write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.baremetal.gpu.plugins.module_utils import k3s_tailnet
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_flags import check_keys
from ansible_collections.baremetal.gpu.plugins.module_utils.k3s_service import SERVICES
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.secrets import FULL_TOKEN
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.skew import OLDEST_MINORS, version_in
from ansible_collections.baremetal.gpu.plugins.plugin_utils import data_files

# Arguments that are about the controller; the host gets all others.
OWN_ARGUMENTS = ("token_file", "cluster", "node_name", "known_settings", "over_tailnet")


class ActionModule(ActionBase):
    """The token is read here, so that it stands in no template, no task's arguments and no output."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        own = {name: arguments.pop(name, None) for name in OWN_ARGUMENTS}
        try:
            if arguments.get("state", "present") == "present":
                arguments.update(self._for_the_host(arguments, own))
        except GpuError as error:
            return {**result, "failed": True, "changed": False, **error.as_result()}
        result.update(
            self._execute_module(module_name="baremetal.gpu.k3s_node", module_args=arguments, task_vars=task_vars)
        )
        return result

    def _for_the_host(self, arguments: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """What the host is told beyond the task's arguments. Raises ``GpuError`` for what must not reach it."""
        service = str(arguments.get("service"))
        if service in SERVICES:  # the module refuses another one
            check_keys(service, arguments.get("settings") or {}, own["known_settings"] or ())
        told: dict[str, Any] = {}
        if own["token_file"] or service == "agent":
            told["token"] = read_token(own["token_file"] or "", full=service == "agent")
        if boolean(own["over_tailnet"] or False):
            told["tailnet_interface"] = data_files.load("data/ports.yml")["interfaces"]["tailnet"]["names"][0]
            k3s_tailnet.require_others_inside((own["cluster"] or {}).get("nodes") or {}, str(own["node_name"] or ""))
        if own["cluster"] and service == "server":
            check_step(str(arguments.get("release") or ""), own["cluster"])
        elif own["cluster"]:
            check_skew(str(arguments.get("release") or ""), str(own["cluster"].get("server_version") or ""))
            told["node_absent"] = own["node_name"] not in (own["cluster"].get("nodes") or {})
            told["other_machine"] = machine_of(own["cluster"], str(own["node_name"] or ""))
            check_authority(told.get("token", ""), str(own["cluster"].get("ca_sha256") or ""))
        return told


def read_token(path: str, *, full: bool) -> str:
    """The token in a file of the controller. Raises ``GpuError`` BG-K3S-001 without saying what is in it."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _no_token(f"the file {path} cannot be read ({type(error).__name__})") from error
    if not text:
        raise _no_token(f"the file {path} is empty" if path else "no file with the join token is named")
    if full and not FULL_TOKEN.fullmatch(text):
        raise _no_token(f"the file {path} holds no token in its full form (K10...::...)")
    return text


def check_skew(release: str, server: str) -> None:
    """Hold a release against its API server's. Raises ``GpuError`` BG-K3S-005; versions that say nothing are left alone."""
    own, other = version_in(release), version_in(server)
    if own is None or other is None:
        return
    if own > other or own[0] != other[0] or other[1] - own[1] > OLDEST_MINORS:
        raise GpuError(
            "BG-K3S-005",
            f"k3s {release} does not fit the API server's {server}",
            f"a kubelet is never newer than its API server and at most {OLDEST_MINORS} minor versions older",
            "choose a release within the skew; upgrade servers first",
        )


def check_step(release: str, cluster: Mapping[str, Any]) -> None:
    """Hold a server's next release against its cluster. Raises ``GpuError`` BG-K3S-020; versions that say nothing are left alone."""
    own, now = version_in(release), version_in(str(cluster.get("server_version") or ""))
    if own is None or now is None:
        return
    kubelets = {
        name: version_in(str(node.get("kubelet_version") or "")) for name, node in (cluster.get("nodes") or {}).items()
    }
    left_behind = sorted(
        name for name, kubelet in kubelets.items() if kubelet is not None and own[1] - kubelet[1] > OLDEST_MINORS
    )
    if own < now or own[0] != now[0] or own[1] - now[1] > 1:
        what, remedy = (
            f"the API server is of {cluster['server_version']}",
            "go one minor version at a time, and never back",
        )
    elif left_behind:
        what = f"these nodes would be more than {OLDEST_MINORS} minor versions older: {', '.join(left_behind)}"
        remedy = "upgrade the agents first to a release that the present server takes"
    else:
        return
    raise GpuError(
        "BG-K3S-020",
        f"this cluster cannot step to k3s {release}: {what}",
        "an API server skips no minor version, and its kubelets are never too old for it",
        remedy,
    )


def check_authority(token: str, ca_sha256: str) -> None:
    """Hold the CA that a token names against the kubeconfig's. Raises ``GpuError`` BG-K3S-009; without both there is nothing to hold."""
    named = token[len("K10") :].partition("::")[0] if FULL_TOKEN.fullmatch(token) else ""
    if named and ca_sha256 and named != ca_sha256:
        raise GpuError(
            "BG-K3S-009",
            f"the join token names a cluster CA (SHA-256 {named[:12]}...) that is not the kubeconfig's ({ca_sha256[:12]}...)",
            "the token is of another cluster, or the server's CA was replaced since the token was copied",
            "copy the token and the kubeconfig from the same server again",
        )


def machine_of(cluster: Mapping[str, Any], name: str) -> str:
    """The machine id that the cluster has for a node; empty when it has no such node."""
    node = (cluster.get("nodes") or {}).get(name) or {}
    return str(node.get("machine_id") or "")


def _no_token(what: str) -> GpuError:
    return GpuError(
        "BG-K3S-001",
        what,
        "an agent cannot join without it, and without the CA's hash it would trust any server that answers",
        "copy /var/lib/rancher/k3s/server/node-token from the server to that file, mode 0600",
    )
