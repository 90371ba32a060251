"""The pod images of the lab: which programs are in them, and in which archive they reach a site without a registry."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Entry, Part
from lab.debian import LIBRARY_FOLDER, shared_libraries
from lab.golang import compiler
from lab.podimages import DEFAULT_PATH, TEMPORARY, Image, Layer, folders, install, link, write_archive
from lab.progress import Activity
from lab.versions import number, version

REGISTRY = "mirror.lab.internal"
"""First part of every reference. Nothing answers at this name: what is not imported from an archive cannot start."""

_KUBERNETES_SERVICES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
_DEVICE_PLUGIN_PROGRAMS = ("config-manager", "gpu-feature-discovery", "mps-control-daemon", "nvidia-device-plugin")
_IPTABLES_NAMES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_LIBC = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")


@dataclass(frozen=True)
class _Archive:
    """Where an image archive lies on the mirror, and what is in it: the Go modules and pinned components that it is made from."""

    path: str
    modules: tuple[str, ...] = ()
    components: tuple[str, ...] = ()


def _archives() -> dict[str, _Archive]:
    kubernetes = f"images/kubernetes-{version('kubernetes')}-amd64.tar"
    operands = f"images/gpu-operands-{version('nvidia_device_plugin')}-amd64.tar"
    return {
        "kubernetes": _Archive(kubernetes, ("kubernetes", "etcd", "coredns"), ("etcd", "pause", "coredns")),
        "gpu-operands": _Archive(
            operands, ("device-plugin", "node-feature-discovery"), ("nvidia_device_plugin", "node_feature_discovery")
        ),
        "flannel": _Archive(f"images/flannel-{version('flannel')}-amd64.tar", ("flannel",), ("flannel",)),
        "busybox": _Archive(f"images/busybox-{version('busybox')}-amd64.tar", (), ("busybox",)),
        "k3s-airgap": _Archive(
            f"k3s/{version('k3s')}/k3s-airgap-images-amd64.tar",
            ("kubernetes", "coredns"),
            ("pause", "coredns", "busybox"),
        ),
    }


def archive_names() -> dict[str, str]:
    """Where each image archive lies on the mirror, by its purpose."""
    return {purpose: archive.path for purpose, archive in _archives().items()}


def coredns_reference() -> str:
    """CoreDNS's image, by the name under which kubeadm looks for it in a registry other than its own."""
    return f"{REGISTRY}/kubernetes/coredns:{version('coredns')}"


def archive_modules(purpose: str) -> tuple[str, ...]:
    """The Go modules that an archive's images are made from."""
    return _archives()[purpose].modules


def archive(purpose: str, programs: Mapping[str, Path], parts: Path) -> Entry:
    """An entry with one image archive, `archive.tar`.

    `programs` has the folder of each Go module's programs, `parts` the extracted Debian packages; neither need exist yet.
    """
    known = _archives()[purpose]
    labels = [f"{purpose}={known.path}", *(f"{name}={version(name)}" for name in known.components)]
    code = [Path(__file__), Path(__file__).with_name("podimages.py")]

    def build(out: Path, _: Activity) -> None:
        # Inside the entry's own folder, so that hundreds of megabytes of layers do not land on a small /tmp.
        with tempfile.TemporaryDirectory(dir=out, prefix=".layers-") as scratch:
            write_archive(out / "archive.tar", _Builder(Path(scratch), programs, parts).images(purpose))

    key: list[Part] = [*labels, compiler(), *code, *(programs[name] for name in known.modules), parts]
    return Entry("images", tuple(key), build, f"Write the pod images of {purpose}")


@dataclass(frozen=True)
class _Builder:
    """Makes layers in a scratch folder; one method per image."""

    scratch: Path
    programs: Mapping[str, Path]
    parts: Path

    def images(self, purpose: str) -> list[Image]:
        """The images of an archive."""
        makers: dict[str, Callable[[], list[Image]]] = {
            "kubernetes": lambda: [*self.kubernetes(self.netfilter()), self.etcd(), self.coredns(), self.pause()],
            "gpu-operands": lambda: [self.device_plugin(self.busybox().layers[0]), self.node_feature_discovery()],
            "flannel": lambda: [self.flannel(self.netfilter())],
            "busybox": lambda: [self.busybox()],
            "k3s-airgap": lambda: [self.pause(), self.coredns(), self.busybox()],
        }
        return makers[purpose]()

    def kubernetes(self, netfilter: Layer) -> list[Image]:
        """Four images over one layer: the multi-call program decides by the name it is called with."""
        root = self._root("kubernetes")
        install(root, "/usr/local/bin/hyperkube", self.programs["kubernetes"] / "hyperkube")
        for name in _KUBERNETES_SERVICES:
            link(root, f"/usr/local/bin/{name}", "hyperkube")
        common = Layer(root)
        return [
            Image(
                f"{REGISTRY}/kubernetes/{name}:{version('kubernetes')}",
                [netfilter, common] if name == "kube-proxy" else [common],
                {"Entrypoint": [f"/usr/local/bin/{name}"]},
            )
            for name in _KUBERNETES_SERVICES
        ]

    def etcd(self) -> Image:
        """etcd alone, statically linked; the tag has the suffix that kubeadm asks for."""
        root = self._root("etcd")
        folders(root, "/etc", TEMPORARY)
        for name in ("etcd", "etcdctl"):
            install(root, f"/usr/local/bin/{name}", self.programs["etcd"] / name)
        return Image(
            f"{REGISTRY}/kubernetes/etcd:{number('etcd')}-0", [Layer(root)], {"Entrypoint": ["/usr/local/bin/etcd"]}
        )

    def coredns(self) -> Image:
        """CoreDNS, statically linked; its pod may bind port 53 by a capability of its own."""
        root = self._root("coredns")
        folders(root, "/etc", TEMPORARY)
        install(root, "/coredns", self.programs["coredns"] / "coredns")
        return Image(coredns_reference(), [Layer(root)], {"Entrypoint": ["/coredns"]})

    def pause(self) -> Image:
        """Kubernetes' own pause program, which holds a pod's namespaces."""
        root = self._root("pause")
        source = self.programs["kubernetes"] / "pause.c"
        definition = f"-DVERSION=v{number('pause')}"
        command = ["gcc", "-Os", "-Wall", "-static", "-s", definition, "-o", str(root / "pause"), str(source)]
        subprocess.run(command, check=True)
        config = {"Entrypoint": ["/pause"], "User": "65535:65535"}
        return Image(f"{REGISTRY}/kubernetes/pause:{number('pause')}", [Layer(root)], config)

    def busybox(self) -> Image:
        """A shell and small tools, statically linked: the lab's workloads, and the shell of the operands' image."""
        root = self._root("busybox")
        folders(root, "/etc", "/proc", "/sys", "/dev", "/run", TEMPORARY, "/var/www", "/root")
        install(root, "/bin/busybox", self.parts / "usr/bin/busybox")
        listing = subprocess.run([str(root / "bin/busybox"), "--list"], capture_output=True, text=True, check=True)
        for applet in listing.stdout.split():
            if applet != "busybox":
                link(root, f"/bin/{applet}", "busybox")
        (root / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", encoding="ascii"
        )
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n", encoding="ascii")
        return Image(f"{REGISTRY}/busybox:{version('busybox')}", [Layer(root)], {"Cmd": ["/bin/sh"]})

    def netfilter(self) -> Layer:
        """iptables (nf_tables) and conntrack with their libraries: what kube-proxy and flannel call."""
        root = self._root("netfilter")
        folders(root, "/etc", "/run", TEMPORARY, "/var/lib", "/usr/bin")
        programs = [self.parts / "usr/sbin" / name for name in ("xtables-nft-multi", "conntrack")]
        for program in programs:
            install(root, f"/usr/sbin/{program.name}", program)
        for name in _IPTABLES_NAMES:
            link(root, f"/usr/sbin/{name}", "xtables-nft-multi")
        # Extensions are loaded when a rule names them, and fail silently without their own libraries (libm for statistic).
        extensions = sorted((self.parts / LIBRARY_FOLDER / "xtables").glob("*.so"))
        for extension in extensions:
            install(root, f"/{LIBRARY_FOLDER}/xtables/{extension.name}", extension, 0o644)
        self._libraries(root, *programs, *extensions)
        for name in ("bin", "sbin", "lib", "lib64"):
            link(root, f"/{name}", f"usr/{name}")
        return Layer(root)

    def device_plugin(self, busybox: Layer) -> Image:
        """NVIDIA's device plugin, feature discovery and MPS control daemon, with a shell for the scripts of their pods."""
        root = self._root("device-plugin")
        for name in _DEVICE_PLUGIN_PROGRAMS:
            install(root, f"/usr/bin/{name}", self.programs["device-plugin"] / name)
        self._libraries(root, *(self.parts / LIBRARY_FOLDER / name for name in _LIBC))
        folders(root, "/config", "/mnt")
        (root / "etc").mkdir()
        (root / "etc/ld.so.conf").touch()  # the runtime hook that refreshes the linker cache expects one
        for name in ("lib", "lib64"):
            link(root, f"/{name}", f"usr/{name}")
        # The container runtime reads these: all GPUs, and the driver's compute and management libraries.
        environment = [
            DEFAULT_PATH,
            "NVIDIA_DISABLE_REQUIRE=true",
            "NVIDIA_VISIBLE_DEVICES=all",
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        ]
        reference = f"{REGISTRY}/nvidia/k8s-device-plugin:{version('nvidia_device_plugin')}"
        return Image(
            reference, [busybox, Layer(root)], {"Env": environment, "Entrypoint": ["/usr/bin/nvidia-device-plugin"]}
        )

    def node_feature_discovery(self) -> Image:
        """NFD's master and worker, statically linked, as an unprivileged user."""
        root = self._root("node-feature-discovery")
        folders(root, "/etc", TEMPORARY)
        for name in ("nfd-master", "nfd-worker"):
            install(root, f"/usr/bin/{name}", self.programs["node-feature-discovery"] / name)
        reference = f"{REGISTRY}/nfd/node-feature-discovery:{version('node_feature_discovery')}"
        return Image(reference, [Layer(root)], {"User": "65534:65534"})

    def flannel(self, netfilter: Layer) -> Image:
        """The pod network's daemon."""
        root = self._root("flannel")
        install(root, "/opt/bin/flanneld", self.programs["flannel"] / "flanneld")
        return Image(
            f"{REGISTRY}/flannel:{version('flannel')}", [netfilter, Layer(root)], {"Entrypoint": ["/opt/bin/flanneld"]}
        )

    def _root(self, name: str) -> Path:
        root = self.scratch / name
        root.mkdir()
        root.chmod(0o755)
        return root

    def _libraries(self, root: Path, *files: Path) -> None:
        """Copy the shared libraries that these files load, and those among them that are libraries themselves."""
        needed = {library for file in files for library in shared_libraries(self.parts, file)}
        needed.update(file for file in files if file.name in _LIBC)
        for library in sorted(needed):
            install(root, f"/{LIBRARY_FOLDER}/{library.name}", library)
        link(root, "/usr/lib64/ld-linux-x86-64.so.2", f"../{LIBRARY_FOLDER.removeprefix('usr/')}/ld-linux-x86-64.so.2")
