"""The control plane: etcd and the Kubernetes services around a single server, and its own node."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import agent, api, cluster, files, kubeconfig, pki, tokens
from .agent import Membership, Node
from .bundle import Bundle
from .cluster import ClusterSettings, service_address
from .configuration import Configuration, secret
from .console import FatalError, log
from .deploy import COMPONENTS, DeployController, fill
from .processes import Supervisor, flags, notify

KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"

_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"

RUNTIME_CLASSES = """\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: nvidia
handler: nvidia
"""
"""k3s's server creates this class whether or not a node has the runtime."""


@dataclass(frozen=True)
class Server:
    """One server and where it keeps things."""

    configuration: Configuration
    node: Node
    settings: ClusterSettings

    @property
    def folder(self) -> Path:
        """Where k3s keeps what belongs to the server."""
        return self.node.data_dir / "server"

    @property
    def tls(self) -> Path:
        """Certificates and keys."""
        return self.folder / "tls"

    @property
    def port(self) -> str:
        """The API's port."""
        return self.configuration.text("https-listen-port", "6443")

    @property
    def url(self) -> str:
        """The API as this host reaches it."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_pem(self) -> str:
        """The cluster's CA."""
        return (self.tls / "server-ca.crt").read_text(encoding="utf-8")

    def credentials(self, user: str) -> Path:
        """The kubeconfig of `admin`, `controller` or `scheduler`."""
        return self.folder / f"cred/{user}.kubeconfig"


@dataclass(frozen=True)
class Secrets:
    """What a server, and what an agent shows to join; the same unless `agent-token` is set."""

    server: str
    agent: str


def run(configuration: Configuration, node: Node, supervisor: Supervisor) -> None:
    """Start the control plane and, unless disabled, its node; tell systemd when both are up."""
    if configuration.text("server"):
        raise FatalError("the stand-in has one server: joining another one is not implemented")
    server = Server(configuration, node, ClusterSettings.from_configuration(configuration))
    for private in (server.folder, server.tls, server.folder / "cred"):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = _secrets(server)
    pki.ensure(server.tls, serving_names(server))
    _write_tokens(server, known)
    _write_kubeconfigs(server)
    files.write(server.folder / "manifests/runtimes.yaml", RUNTIME_CLASSES)
    bundle = Bundle.running()
    for component in COMPONENTS:
        if component not in _disabled(server):
            text = fill(bundle.component(component), component_values(server.settings, bundle.manifest))
            files.write(server.folder / f"manifests/{component}.yaml", text)
    _start_control_plane(server, supervisor)
    if not configuration.enabled("disable-agent"):
        membership = Membership(server.url, server.ca_pem, known.agent, server.settings)
        agent.start(configuration, node, membership, supervisor)
    _deploy_controller(server, supervisor).start()
    log("info", "k3s is up and running")
    notify()


def serving_names(server: Server) -> list[str]:
    """Every name and address that a client may know the API by."""
    domain = server.settings.cluster_domain
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"]
    own = [
        server.node.address,
        "127.0.0.1",
        service_address(server.settings.service_cidr, 1),
        server.node.name,
        "localhost",
    ]
    return [*own, *service, *server.configuration.items("tls-san")]


def choose_secret(configured: str, stored: str) -> str:
    """The server's secret: the stored one stays, for the data belongs to it; a different configured one is refused as k3s does."""
    old, new = (tokens.parse(text).secret if text else "" for text in (stored, configured))
    if old and new and old != new:
        raise FatalError(
            "starting kubernetes: preparing server: bootstrap data already found and encrypted with different token"
        )
    return old or new or secrets.token_hex(16)


def _secrets(server: Server) -> Secrets:
    """Decided before anything is written, so that a refusal changes nothing."""
    token_file = server.folder / "token"
    stored = token_file.read_text(encoding="utf-8") if token_file.exists() else ""
    own = choose_secret(secret(server.configuration, "token"), stored)
    agents = secret(server.configuration, "agent-token")
    return Secrets(server=own, agent=tokens.parse(agents).secret if agents else own)


def _write_tokens(server: Server, known: Secrets) -> None:
    digest = tokens.ca_hash(server.ca_pem)
    for name, text in (("token", known.server), ("agent-token", known.agent)):
        files.write(server.folder / name, f"{tokens.Token(text, 'server', digest)}\n", 0o600)
    files.link(server.folder / "node-token", "token" if known.agent == known.server else "agent-token")
    files.write(server.folder / "cred/tokens.csv", bootstrap_users(known), 0o600)


def bootstrap_users(known: Secrets) -> str:
    """The API server's file of static tokens: who shows one may ask for a node's certificate, and no more."""
    distinct = dict.fromkeys((known.server, known.agent))
    return "".join(f'{text},k3s-join-{i},k3s-join-{i},"{cluster.BOOTSTRAPPERS}"\n' for i, text in enumerate(distinct))


def _write_kubeconfigs(server: Server) -> None:
    ca = server.tls / "server-ca.crt"
    admin = kubeconfig.certificate_user(server.tls / "client-admin.crt", server.tls / "client-admin.key")
    for user in ("controller", "scheduler"):
        own = kubeconfig.certificate_user(server.tls / f"client-{user}.crt", server.tls / f"client-{user}.key")
        kubeconfig.write(server.credentials(user), server.url, ca, own)
    kubeconfig.write(server.credentials("admin"), server.url, ca, admin)
    path = Path(server.configuration.text("write-kubeconfig", KUBECONFIG))
    mode = server.configuration.text("write-kubeconfig-mode", "600")
    try:
        kubeconfig.write(path, server.url, ca, admin, int(mode, 8))
    except ValueError:
        raise FatalError(f"write-kubeconfig-mode {mode}: not an octal file mode") from None


def _start_control_plane(server: Server, supervisor: Supervisor) -> None:
    supervisor.start(server.node.program("etcd"), etcd_flags(server))
    supervisor.wait_until("etcd is healthy", lambda: api.answers(f"{_ETCD}/health"))
    supervisor.start(server.node.program("kube-apiserver"), api_server_flags(server))
    supervisor.wait_until("kube-apiserver is ready", lambda: api.answers(f"{server.url}/readyz", server.ca_pem))
    supervisor.start(server.node.program("kube-controller-manager"), controller_manager_flags(server))
    if not server.configuration.enabled("disable-scheduler"):
        supervisor.start(server.node.program("kube-scheduler"), scheduler_flags(server))
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster.objects(server.settings)})
    apply = (*_kubectl(server), "apply", "--server-side", "--force-conflicts", "--filename", "-")
    supervisor.wait_until("nodes may join", lambda: supervisor.run(*apply, text=documents).returncode == 0)


def _deploy_controller(server: Server, supervisor: Supervisor) -> DeployController:
    def kubectl(arguments: Sequence[str]) -> str | None:
        done = supervisor.run(*_kubectl(server), *arguments)
        return done.stderr.strip() or f"status {done.returncode}" if done.returncode else None

    own_node = None if server.configuration.enabled("disable-agent") else server.node.name
    return DeployController(server.folder / "manifests", _disabled(server), kubectl, own_node)


def _disabled(server: Server) -> frozenset[str]:
    return frozenset(name for text in server.configuration.items("disable") for name in text.split(","))


def component_values(settings: ClusterSettings, manifest: Mapping[str, str]) -> dict[str, str]:
    """What the places of a component's manifest stand for."""
    return {
        "CLUSTER_DNS": settings.cluster_dns,
        "CLUSTER_DOMAIN": settings.cluster_domain,
        "COREDNS_IMAGE": manifest["coredns_image"],
    }


def _kubectl(server: Server) -> list[str]:
    return [str(server.node.program("kubectl")), f"--kubeconfig={server.credentials('admin')}", "--request-timeout=10s"]


def etcd_flags(server: Server) -> list[str]:
    """etcd with one member. It does not sync to disk: a lab host that is killed keeps what its machine has in memory."""
    defaults = {
        "name": "default",
        "data-dir": str(server.folder / "db/etcd"),
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": _ETCD_PEER,
        "initial-advertise-peer-urls": _ETCD_PEER,
        "initial-cluster": f"default={_ETCD_PEER}",
        "log-level": "error",
        "unsafe-no-fsync": "true",
    }
    return flags(defaults, server.configuration.items("etcd-arg"))


def api_server_flags(server: Server) -> list[str]:
    """The API server's command line."""
    configuration, tls = server.configuration, server.tls
    defaults = {
        "advertise-address": configuration.text("advertise-address", server.node.address),
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "bind-address": configuration.text("bind-address", "0.0.0.0"),  # noqa: S104 - as k3s does; agents come from outside
        "client-ca-file": f"{tls}/client-ca.crt",
        "enable-admission-plugins": "NodeRestriction",
        "etcd-servers": _ETCD,
        "kubelet-client-certificate": f"{tls}/client-kube-apiserver.crt",
        "kubelet-client-key": f"{tls}/client-kube-apiserver.key",
        "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
        "profiling": "false",
        "secure-port": server.port,
        "service-account-issuer": f"https://kubernetes.default.svc.{server.settings.cluster_domain}",
        "service-account-key-file": f"{tls}/service.key",
        "service-account-signing-key-file": f"{tls}/service.key",
        "service-cluster-ip-range": server.settings.service_cidr,
        "service-node-port-range": configuration.text("service-node-port-range", "30000-32767"),
        "tls-cert-file": f"{tls}/serving-chain.crt",
        "tls-private-key-file": f"{tls}/serving-kube-apiserver.key",
        "token-auth-file": f"{server.folder}/cred/tokens.csv",
        "version": server.node.release,
    }
    return flags(defaults, configuration.items("kube-apiserver-arg"))


def controller_manager_flags(server: Server) -> list[str]:
    """The controller manager's command line; alone, it needs no election."""
    defaults = {
        "allocate-node-cidrs": "true",
        "cluster-cidr": server.settings.cluster_cidr,
        "cluster-signing-cert-file": f"{server.tls}/server-ca.crt",
        "cluster-signing-key-file": f"{server.tls}/server-ca.key",
        "controllers": "*,tokencleaner",
        "kubeconfig": str(server.credentials("controller")),
        "leader-elect": "false",
        "profiling": "false",
        "root-ca-file": f"{server.tls}/server-ca.crt",
        "service-account-private-key-file": f"{server.tls}/service.key",
        "use-service-account-credentials": "true",
    }
    return flags(defaults, server.configuration.items("kube-controller-manager-arg"))


def scheduler_flags(server: Server) -> list[str]:
    """The scheduler's command line; alone, it needs no election."""
    defaults = {"kubeconfig": str(server.credentials("scheduler")), "leader-elect": "false", "profiling": "false"}
    return flags(defaults, server.configuration.items("kube-scheduler-arg"))
