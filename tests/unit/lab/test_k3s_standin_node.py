"""The files and flags that a node's programs get."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from lab.k3s_standin import agent, containerd, deploy, pki, processes, server
from lab.k3s_standin.agent import Node
from lab.k3s_standin.cluster import ClusterSettings, objects
from lab.k3s_standin.configuration import Configuration
from lab.k3s_standin.console import FatalError

NODE = Node("spark-01", "10.91.0.21", Path("/var/lib/rancher/k3s"), Path("/programs"), "v1.34.4+k3s1")
CRI = "io.containerd.grpc.v1.cri"


def settings(**values: object) -> containerd.Settings:
    base: dict[str, object] = {"root": Path("/data"), "sandbox_image": "registry/pause:1"}
    return containerd.Settings(**{**base, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvidia.com/gpu=present:NoSchedule", {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}),
        ("dedicated:NoExecute", {"key": "dedicated", "value": "", "effect": "NoExecute"}),
        ("a=b=c:PreferNoSchedule", {"key": "a", "value": "b=c", "effect": "PreferNoSchedule"}),
    ],
)
def test_taints_are_read(text: str, expected: dict[str, str]) -> None:
    assert agent.parse_taints([text]) == [expected]


@pytest.mark.parametrize("text", ["gpu=present", "gpu=present:Never", ":NoSchedule", "=x:NoSchedule", ""])
def test_a_malformed_taint_is_refused(text: str) -> None:
    with pytest.raises(FatalError, match="invalid node-taint"):
        agent.parse_taints([text])


@pytest.mark.parametrize("text", ["role", "=x", ""])
def test_a_malformed_label_is_refused(text: str) -> None:
    with pytest.raises(FatalError, match="invalid node-label"):
        agent.check_labels([text])


def test_labels_and_kubelet_arguments_reach_the_kubelet() -> None:
    configuration = Configuration({"node-label": ["a=1", "b=2"], "kubelet-arg": ["max-pods=50", "node-ip=10.0.0.9"]})
    flags = agent.kubelet_flags(configuration, NODE)
    assert "--node-labels=a=1,b=2" in flags
    assert flags[-2:] == ["--max-pods=50", "--node-ip=10.0.0.9"]
    assert "--node-ip=10.91.0.21" not in flags, "the operator's value replaces the default"


def test_an_argument_given_twice_is_passed_twice() -> None:
    assert processes.flags({"v": "0"}, ["v=1", "--v=2"]) == ["--v=1", "--v=2"]


def test_kubelet_configuration_registers_with_the_taints_and_the_clusters_dns() -> None:
    configuration = Configuration({"node-taint": ["gpu=yes:NoSchedule"]})
    document = agent.kubelet_configuration(configuration, NODE, ClusterSettings(cluster_dns="10.43.0.10"))
    assert document["registerWithTaints"] == [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    assert document["clusterDNS"] == ["10.43.0.10"]


def test_containerd_has_no_nvidia_runtime_without_the_toolkit() -> None:
    config = tomllib.loads(containerd.configuration(settings()))
    runtimes = config["plugins"][CRI]["containerd"]["runtimes"]
    assert set(runtimes) == {"runc"}
    assert config["plugins"][CRI]["sandbox_image"] == "registry/pause:1"
    assert config["plugins"][CRI]["restrict_oom_score_adj"] is True
    assert config["plugins"][CRI]["cni"] == {"conf_dir": "/etc/cni/net.d", "bin_dir": "/opt/cni/bin"}, (
        "for an own network"
    )


def test_containerd_gets_the_nvidia_runtime_and_flannels_folders() -> None:
    runtime = Path("/usr/bin/nvidia-container-runtime")
    text = containerd.configuration(
        settings(nvidia_runtime=runtime, default_runtime="nvidia", cni_conf=Path("/conf"), cni_bin=Path("/bin"))
    )
    cri = tomllib.loads(text)["plugins"][CRI]
    assert cri["containerd"]["runtimes"]["nvidia"]["options"]["BinaryName"] == str(runtime)
    assert cri["containerd"]["default_runtime_name"] == "nvidia"
    assert cri["cni"] == {"conf_dir": "/conf", "bin_dir": "/bin"}


def test_the_operators_nvidia_runtime_is_found_before_the_packages(tmp_path: Path) -> None:
    folders = [tmp_path / "toolkit", tmp_path / "bin"]
    assert containerd.find_nvidia_runtime(folders) is None
    for folder in reversed(folders):
        folder.mkdir()
        (folder / containerd.NVIDIA_RUNTIME).touch()
        assert containerd.find_nvidia_runtime(folders) == folder / containerd.NVIDIA_RUNTIME


def image_archive(path: Path, *tags: str) -> Path:
    content = json.dumps([{"Config": "c.json", "RepoTags": [tag], "Layers": []} for tag in tags]).encode()
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("mirror.lab.internal/busybox:1", "mirror.lab.internal/busybox:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("host:5000/x:1", "host:5000/x:1"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("nvidia/cuda:12", "docker.io/nvidia/cuda:12"),
    ],
)
def test_references_are_named_as_containerd_names_them(tag: str, expected: str) -> None:
    assert containerd.full_reference(tag) == expected


def test_only_archives_with_a_missing_image_are_imported(tmp_path: Path) -> None:
    whole = image_archive(tmp_path / "a.tar", "r.io/one:1")
    partly = image_archive(tmp_path / "b.tar", "r.io/one:1", "r.io/two:1")
    opaque = tmp_path / "c.tar.zst"
    opaque.write_bytes(b"not readable here")
    (tmp_path / "notes.txt").touch()
    imported: list[Path] = []
    assert containerd.import_missing(tmp_path, {"r.io/one:1"}, imported.append) == [partly, opaque] == imported
    assert whole not in imported


def test_no_image_folder_means_nothing_to_import(tmp_path: Path) -> None:
    assert containerd.import_missing(tmp_path / "absent", set(), lambda _: pytest.fail("nothing to import")) == []


def test_cluster_settings_survive_the_way_to_the_agent() -> None:
    configuration = Configuration(
        {"service-cidr": ["10.50.0.0/16"], "flannel-backend": "host-gw", "disable-kube-proxy": True}
    )
    decided = ClusterSettings.from_configuration(configuration)
    assert decided.cluster_dns == "10.50.0.10"
    (config_map,) = [entry for entry in objects(decided) if entry["kind"] == "ConfigMap"]
    assert ClusterSettings.from_config_map(json.dumps(config_map).encode()) == decided


def test_a_pod_network_that_is_not_built_in_is_refused() -> None:
    with pytest.raises(FatalError, match="wireguard-native"):
        ClusterSettings.from_configuration(Configuration({"flannel-backend": "wireguard-native"}))


def test_serving_names_are_split_into_addresses_and_host_names() -> None:
    assert pki.alternative_names(["10.0.0.1", "s1", "::1", "s1"]) == "IP:10.0.0.1,DNS:s1,IP:::1"


def test_manifests_are_applied_once_and_again_when_they_change(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def kubectl(arguments: object) -> str | None:
        calls.append(list(arguments))  # type: ignore[call-overload]
        return None

    for name in ("app.yaml", "traefik.yaml", "kept.yaml", "kept.yaml.skip", "notes.txt"):
        (tmp_path / name).write_text("one")
    controller = deploy.DeployController(tmp_path, {"traefik"}, kubectl, None)
    controller.pass_once()
    controller.pass_once()
    assert calls == [["apply", "--filename", str(tmp_path / "app.yaml")]]
    (tmp_path / "app.yaml").write_text("other")
    controller.pass_once()
    assert len(calls) == 2


def test_a_manifest_that_fails_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("one")
    answers = ["no such kind", None]
    controller = deploy.DeployController(tmp_path, (), lambda _: answers.pop(0), None)
    controller.pass_once()
    controller.pass_once()
    assert answers == []


def test_a_component_that_is_disabled_is_taken_out_of_the_cluster_and_its_file_removed(tmp_path: Path) -> None:
    (tmp_path / "coredns.yaml").write_text("one")
    (tmp_path / "app.yaml").write_text("one")
    calls: list[list[str]] = []
    answers = iter(["the API does not answer", None, None])

    def kubectl(arguments: Sequence[str]) -> str | None:
        calls.append(list(arguments))
        return next(answers) if arguments[0] == "delete" else None

    controller = deploy.DeployController(tmp_path, {"coredns"}, kubectl, None)
    controller.pass_once()
    assert (tmp_path / "coredns.yaml").exists()
    controller.pass_once()
    assert not (tmp_path / "coredns.yaml").exists()
    controller.pass_once()
    assert [call[0] for call in calls] == ["delete", "apply", "delete"]


def test_a_component_s_places_are_filled_from_the_cluster_s_settings() -> None:
    template = (Path(deploy.__file__).parent / "components/coredns.yaml").read_text(encoding="utf-8")
    settings = ClusterSettings(cluster_dns="10.50.0.10", cluster_domain="example.test")
    text = deploy.fill(template, server.component_values(settings, {"coredns_image": "registry.test/coredns:1"}))
    documents = {document["kind"]: document for document in yaml.safe_load_all(text) if document}
    assert documents["Service"]["spec"]["clusterIP"] == "10.50.0.10"
    assert "kubernetes example.test " in documents["ConfigMap"]["data"]["Corefile"]
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.test/coredns:1"
    assert documents["Service"]["spec"]["selector"] == documents["Deployment"]["spec"]["selector"]["matchLabels"]


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="CLUSTER_DNS"):
        deploy.fill("clusterIP: %{CLUSTER_DNS}%", {})
