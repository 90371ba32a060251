"""The node: containerd, kubelet, kube-proxy and flannel, joined to a server by its token."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import api, containerd, files, kubeconfig, passwords, pki, tokens
from .bundle import DEFAULT_DATA_DIR, Bundle
from .cluster import SETTINGS_PATH, ClusterSettings
from .configuration import Configuration, secret
from .console import FatalError, log
from .processes import Supervisor, flags, notify

_SUBNET_FILE = "/run/flannel/subnet.env"
_RETRY_S = 2.0
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Node:
    """This host as a node of the cluster. `address` is what the other nodes reach it by."""

    name: str
    address: str
    data_dir: Path
    programs: Path
    release: str

    @classmethod
    def from_configuration(cls, configuration: Configuration, bundle: Bundle) -> Node:
        """What the flags say, and otherwise what the host says. Extracts the programs."""
        data_dir = Path(configuration.text("data-dir", str(DEFAULT_DATA_DIR)))
        return cls(
            name=configuration.text("node-name", socket.gethostname().lower()),
            address=configuration.first("node-ip") or _own_address(),
            data_dir=data_dir,
            programs=bundle.extract(data_dir),
            release=bundle.version,
        )

    @property
    def folder(self) -> Path:
        """Where k3s keeps what belongs to the agent."""
        return self.data_dir / "agent"

    def program(self, name: str) -> Path:
        """Full path of an extracted program."""
        return self.programs / name


@dataclass(frozen=True)
class Membership:
    """A server that was verified, and what it told about the cluster."""

    server: str
    ca_pem: str
    token: str
    settings: ClusterSettings


def run(configuration: Configuration, node: Node, supervisor: Supervisor) -> None:
    """Join the server that the configuration names and start the node."""
    start(configuration, node, join(configuration, node), supervisor)
    log("info", "k3s agent is up and running")
    notify()


def join(configuration: Configuration, node: Node) -> Membership:
    """Verify the server by the token and read the cluster's settings; like k3s, try for ever and say why it does not work."""
    token, server = secret(configuration, "token"), configuration.text("server").rstrip("/")
    if not token:
        raise FatalError("--token is required")
    if not server:
        raise FatalError("--server is required")
    while True:
        try:
            membership = verify(server, tokens.parse(token))
            passwords.claim(server, membership.ca_pem, membership.token, node.name, passwords.own())
            return membership
        except (FatalError, OSError, ValueError, KeyError) as error:
            log("error", f"Failed to validate connection to cluster at {server}: {error}")
            time.sleep(_RETRY_S)


def verify(server: str, token: tokens.Token) -> Membership:
    """One attempt to join. Raises FatalError for a CA that is not the token's, OSError for no answer or a secret that is refused."""
    ca_pem = api.certificate_authority(server)
    token.check(ca_pem)
    if not token.ca_hash:
        log(
            "warning",
            "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash.",
        )
    content = api.get(server + SETTINGS_PATH, ca_pem, token.secret)
    return Membership(server, ca_pem, token.secret, ClusterSettings.from_config_map(content))


def start(configuration: Configuration, node: Node, membership: Membership, supervisor: Supervisor) -> None:
    """Start the node's programs; returns when the kubelet has its certificate and the rest is started."""
    _trust(node, membership)
    _renew(node)
    _start_containerd(configuration, node, membership.settings, supervisor)
    credentials = _start_kubelet(configuration, node, membership, supervisor)
    if membership.settings.kube_proxy:
        arguments = kube_proxy_flags(configuration, node, membership.settings, credentials)
        supervisor.start(node.program("kube-proxy"), arguments)
    if membership.settings.flannel_backend != "none":
        _start_flannel(configuration, node, membership.settings, credentials, supervisor)


def _trust(node: Node, membership: Membership) -> None:
    """Keep the server's CA. A host that moves to another cluster loses the certificate it had from the former one."""
    ca = node.folder / "server-ca.crt"
    if ca.exists() and ca.read_text(encoding="utf-8") != membership.ca_pem:
        log("warning", "The cluster has another CA than before: this node asks for a new certificate")
        (node.folder / "kubelet.kubeconfig").unlink(missing_ok=True)
        shutil.rmtree(node.folder / "pki", ignore_errors=True)
    for name in ("server-ca.crt", "client-ca.crt"):
        files.write(node.folder / name, membership.ca_pem)


def _start_containerd(
    configuration: Configuration, node: Node, settings: ClusterSettings, supervisor: Supervisor
) -> None:
    own = {"cni_conf": node.folder / "etc/cni/net.d", "cni_bin": node.data_dir / "data/cni"}
    pause = configuration.text("pause-image", Bundle.running().manifest["pause_image"])
    text = containerd.configuration(
        containerd.Settings(
            root=node.folder / "containerd",
            sandbox_image=pause,
            snapshotter=configuration.text("snapshotter", "overlayfs"),
            default_runtime=configuration.text("default-runtime", "runc"),
            nvidia_runtime=containerd.find_nvidia_runtime(),
            **(own if settings.flannel_backend != "none" else {}),
        )
    )
    file = node.folder / "etc/containerd/config.toml"
    files.write(file, text)
    supervisor.start(
        node.program("containerd"),
        ["--config", str(file), "--log-level", "info"],
        log_file=node.folder / "containerd/containerd.log",
    )
    client = [str(node.program("ctr")), "--address", str(containerd.SOCKET), "--namespace", containerd.NAMESPACE]
    supervisor.wait_until("containerd is up", lambda: supervisor.run(*client, "version").returncode == 0)

    def run_import(archive: Path) -> None:
        done = supervisor.run(*client, "images", "import", str(archive))
        if done.returncode:
            log("error", f"Unable to import {archive}: {done.stderr.strip()}")
        else:
            log("info", f"Imported images from {archive}")

    present = supervisor.run(*client, "images", "list", "--quiet").stdout.split()
    containerd.import_missing(node.folder / "images", present, run_import)


def _start_kubelet(configuration: Configuration, node: Node, membership: Membership, supervisor: Supervisor) -> Path:
    """Start the kubelet and wait for its certificate; returns the kubeconfig with it."""
    import yaml

    folder = node.folder
    credentials, bootstrap = folder / "kubelet.kubeconfig", folder / "bootstrap.kubeconfig"
    certificate = folder / "pki/kubelet-client-current.pem"
    kubeconfig.write(bootstrap, membership.server, folder / "server-ca.crt", kubeconfig.token_user(membership.token))
    if not certificate.exists():
        # A request for a certificate that was cut short leaves a kubeconfig without one, and the kubelet would go on as anonymous.
        credentials.unlink(missing_ok=True)
    document = kubelet_configuration(configuration, node, membership.settings)
    files.write(folder / "etc/kubelet.conf.d/00-k3s-defaults.conf", yaml.safe_dump(document, sort_keys=False), 0o600)
    (folder / "pod-manifests").mkdir(parents=True, exist_ok=True)
    supervisor.start(node.program("kubelet"), kubelet_flags(configuration, node))
    supervisor.wait_until("the kubelet has its certificate", lambda: credentials.exists() and certificate.exists())
    _show_certificates(node)
    _tie_password(node, membership, credentials, supervisor)
    return credentials


def _renew(node: Node) -> None:
    """k3s renews what is near its end whenever it starts. The kubelet asks for another certificate when it has none."""
    certificate = node.folder / "pki/kubelet-client-current.pem"
    if certificate.exists() and pki.ends_soon(certificate):
        log("info", "certificate client-kubelet ends soon: this node asks for a new one")
        (node.folder / "kubelet.kubeconfig").unlink(missing_ok=True)
        certificate.unlink()
    serving = node.folder / "pki/kubelet.crt"
    if serving.exists() and pki.ends_soon(serving):
        serving.unlink()


def _show_certificates(node: Node) -> None:
    """k3s keeps a node's certificates in its own folder, where who watches them looks; the kubelet keeps its own in `pki`."""
    for name, source in (("client-kubelet", "kubelet-client-current.pem"), ("serving-kubelet", "kubelet.crt")):
        found = pki.certificates_in((node.folder / "pki" / source).read_text(encoding="utf-8"))
        files.write(node.folder / f"{name}.crt", found)


def _tie_password(node: Node, membership: Membership, credentials: Path, supervisor: Supervisor) -> None:
    """Only now the node exists that the password goes with."""
    query = [f"--kubeconfig={credentials}", "get", "node", node.name, "--output=jsonpath={.metadata.uid}"]
    known: list[str] = []

    def registered() -> bool:
        done = supervisor.run(str(node.program("kubectl")), *query)
        known[:] = [done.stdout.strip()] if done.returncode == 0 and done.stdout.strip() else []
        return bool(known)

    supervisor.wait_until("the node is registered", registered)
    passwords.claim(membership.server, membership.ca_pem, membership.token, node.name, passwords.own())
    passwords.tie_to_node(membership.server, membership.ca_pem, membership.token, node.name, known[0])


def _start_flannel(
    configuration: Configuration, node: Node, settings: ClusterSettings, credentials: Path, supervisor: Supervisor
) -> None:
    network = node.folder / "etc/flannel/net-conf.json"
    files.write(network, flannel_network(settings))
    arguments = {
        "kube-subnet-mgr": "true",
        "kubeconfig-file": str(credentials),
        "net-config-path": str(network),
        "iface": configuration.text("flannel-iface", node.address),
        "subnet-file": _SUBNET_FILE,
        "ip-masq": "true",
        "cni-conf": str(node.folder / "etc/cni/net.d/10-flannel.conflist"),
    }
    supervisor.start(node.program("flanneld"), flags(arguments, []), {"NODE_NAME": node.name})


def kubelet_flags(configuration: Configuration, node: Node) -> list[str]:
    """The kubelet's command line. Labels are given here because the kubelet sets them only when it registers the node."""
    defaults = {
        "bootstrap-kubeconfig": str(node.folder / "bootstrap.kubeconfig"),
        "cert-dir": str(node.folder / "pki"),
        "config-dir": str(node.folder / "etc/kubelet.conf.d"),
        "hostname-override": node.name,
        "kubeconfig": str(node.folder / "kubelet.kubeconfig"),
        "node-ip": node.address,
        "node-labels": ",".join(check_labels(configuration.items("node-label"))),
        # The programs are those of one Kubernetes release; what k3s calls its own stands behind the plus sign.
        "version": node.release,
    }
    return flags(defaults, configuration.items("kubelet-arg"))


def kubelet_configuration(configuration: Configuration, node: Node, settings: ClusterSettings) -> dict[str, Any]:
    """The kubelet's configuration file. The three settings marked lab let it run in a container on a host with cgroup v1 and swap."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.folder / "client-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",  # lab
        "clusterDNS": [settings.cluster_dns],
        "clusterDomain": settings.cluster_domain,
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
        "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
        "failCgroupV1": False,  # lab
        "failSwapOn": False,  # lab
        "protectKernelDefaults": configuration.enabled("protect-kernel-defaults"),
        "registerWithTaints": parse_taints(configuration.items("node-taint")),
        "resolvConf": configuration.text("resolv-conf", "/etc/resolv.conf"),
        "rotateCertificates": True,
        "staticPodPath": str(node.folder / "pod-manifests"),
    }


def kube_proxy_flags(
    configuration: Configuration, node: Node, settings: ClusterSettings, credentials: Path
) -> list[str]:
    """kube-proxy's command line. The connection tracking limits belong to the machine under the lab and are left alone."""
    defaults = {
        "cluster-cidr": settings.cluster_cidr,
        "conntrack-max-per-core": "0",
        "conntrack-min": "0",
        "healthz-bind-address": "127.0.0.1",
        "hostname-override": node.name,
        "kubeconfig": str(credentials),
        "proxy-mode": "iptables",
    }
    return flags(defaults, configuration.items("kube-proxy-arg"))


def flannel_network(settings: ClusterSettings) -> str:
    """flannel's network file."""
    network = {"Network": settings.cluster_cidr, "EnableIPv4": True, "Backend": {"Type": settings.flannel_backend}}
    return json.dumps(network, indent=2) + "\n"


def parse_taints(texts: Sequence[str]) -> list[dict[str, str]]:
    """Taints `key=value:Effect` or `key:Effect` as the kubelet's configuration has them. Raises FatalError for another form."""
    taints = []
    for text in texts:
        key_value, colon, effect = text.rpartition(":")
        key, _, value = key_value.partition("=")
        if not (colon and key and effect in _EFFECTS):
            raise FatalError(f"invalid node-taint {text}: key=value:Effect with one of {', '.join(_EFFECTS)}")
        taints.append({"key": key, "value": value, "effect": effect})
    return taints


def check_labels(texts: Sequence[str]) -> list[str]:
    """The labels, each `key=value`. Raises FatalError for another form."""
    for text in texts:
        key, equals, _ = text.partition("=")
        if not (key and equals):
            raise FatalError(f"invalid node-label {text}: key=value")
    return list(texts)


def _own_address() -> str:
    """The address that this host sends from by default. No packet leaves: connecting a datagram socket only chooses a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
        address: str = probe.getsockname()[0]
    return address
