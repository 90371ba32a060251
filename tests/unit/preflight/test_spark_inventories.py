"""Real inventories of a Spark, each spoilt in one point, against the real playbook: refused before any host is touched.

Every inventory is a copy of ``inventories/spark`` with its placeholders filled in. ssh is a program that notes that it was
called; a play that would connect to every host follows the inventory's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

SHA256 = "5a" * 32
TOKEN = "K10" + "b" * 64 + "::server:" + "c" * 32 + "\n"
KUBECONFIG = "clusters:\n- cluster: {server: 'https://10.20.0.20:6443'}\n"
# What a site writes in the place of each mark: file, what stands there, what it becomes.
FILLED_IN = (
    ("hosts.yml", "192.0.2.20", "10.20.0.20"),
    ("host_vars/spark-01.yml", "192.0.2.21", "10.20.0.21"),
    ("group_vars/all.yml", "{ waived: FILL-IN or true, when the tailnet's access rules let the host in }", "true"),
    ("group_vars/spark_system.yml", "k3s_server_version: FILL-IN", "k3s_server_version: v1.34.4+k3s1"),
    ("group_vars/spark/main.yml", "ansible_user: FILL-IN", "ansible_user: operator"),
    ("group_vars/spark/main.yml", "k3s_agent_binary_sha256: FILL-IN", f"k3s_agent_binary_sha256: {SHA256}"),
    ("group_vars/spark/main.yml", "nfd_crds_sha256: FILL-IN", f"nfd_crds_sha256: {SHA256}"),
)
PLAYBOOK = """\
- name: Inventory
  ansible.builtin.import_playbook: {root}/playbooks/parts/spark_inventory.yml
- name: Touch every host
  hosts: all
  gather_facts: false
  tasks:
    - name: Connect
      ansible.builtin.ping:
"""
SSH = "#!/bin/sh\necho called >> {folder}/ssh-was-called\nexit 255\n"


def no_change(_hosts: dict[str, Any]) -> None:
    """The hosts as they are."""


@dataclass(frozen=True, eq=False)
class Case:
    """One inventory: what is spoilt, and what has to be said about it.

    ``variables`` go into the group of the GPU hosts, ``host`` into the host's own file; None removes one. ``files`` replaces
    secret files by (text, mode); None removes one.
    """

    name: str
    code: str
    remedy: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, int] | None] = field(default_factory=dict)
    hosts: Callable[[dict[str, Any]], None] = no_change
    raw: str = ""
    playbook: str = "inventory.yml"


def v(name: str, code: str, remedy: str, **variables: Any) -> Case:
    return Case(name, code, remedy, variables=variables)


def h(name: str, code: str, remedy: str, **variables: Any) -> Case:
    return Case(name, code, remedy, host=variables)


def group(hosts: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = hosts["all"]["children"]["spark_system"]["children"][name]
    return found


def second_spark(**variables: Any) -> Callable[[dict[str, Any]], None]:
    def change(hosts: dict[str, Any]) -> None:
        group(hosts, "spark")["hosts"]["spark-02"] = {"ansible_host": "10.20.0.22", **variables}

    return change


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    def change(hosts: dict[str, Any]) -> None:
        del hosts["all"]["children"]["spark_system"]["children"][name]

    return change


def in_tailnet(*groups: str) -> Callable[[dict[str, Any]], None]:
    """The host is in these groups as well."""

    def change(hosts: dict[str, Any]) -> None:
        children = hosts["all"]["children"]
        del children["tailnet"]["children"]
        for name in groups:
            children.setdefault(name, {})["hosts"] = {"spark-01": None}

    return change


TAILNET = {
    "tailnet_repository_url": "https://pkgs.tailscale.com/stable/ubuntu",
    "tailnet_repository_key_url": "https://pkgs.tailscale.com/stable/ubuntu/noble.gpg",
    "tailnet_repository_key_fingerprint": "5a" * 20,
    "k3s_agent_over_tailnet": True,
    "k3s_agent_server": "https://100.64.0.20:6443",
}


def also_server(hosts: dict[str, Any]) -> None:
    group(hosts, "k3s_server")["hosts"]["spark-01"] = None


def apart(hosts: dict[str, Any]) -> None:
    hosts["all"]["children"]["spark"] = hosts["all"]["children"]["spark_system"]["children"].pop("spark")


SHARING = {"strategy": "mps", "replicas": "{{ spark_replicas }}"}
RELEASE = "https://github.com/k3s-io/k3s/releases/download/v1.34.4%2Bk3s1"
CASES = (
    Case("token_missing", "BG-INV-004", "mode 0600", files={"k3s-token": None}),
    Case("token_empty", "BG-INV-004", "mode 0600", files={"k3s-token": ("", 0o600)}),
    Case("token_short", "BG-INV-004", "copy the server's node-token file", files={"k3s-token": ("c" * 32, 0o600)}),
    Case("token_exposed", "BG-INV-005", "chmod 0600", files={"k3s-token": (TOKEN, 0o644)}),
    Case("kubeconfig_missing", "BG-INV-006", "write the kubeconfig", files={"kubeconfig.yaml": None}),
    Case("kubeconfig_not_yaml", "BG-INV-006", "write the kubeconfig", files={"kubeconfig.yaml": ("{a", 0o600)}),
    Case("kubeconfig_no_server", "BG-INV-006", "write the kubeconfig", files={"kubeconfig.yaml": ("a: 1", 0o600)}),
    Case(
        "kubeconfig_of_localhost",
        "BG-INV-036",
        "replace 127.0.0.1",
        files={"kubeconfig.yaml": (KUBECONFIG.replace("10.20.0.20", "127.0.0.1"), 0o600)},
    ),
    Case(
        "kubeconfig_unverified",
        "BG-INV-034",
        "certificate-authority-data",
        files={"kubeconfig.yaml": (KUBECONFIG.replace("'}", "', insecure-skip-tls-verify: true}"), 0o600)},
    ),
    v("unknown_profile", "BG-INV-001", "did you mean gb10?", gpu_hardware_profile="gb-10"),
    v("replicas_0", "BG-INV-002", "choose 2 to 48", spark_replicas=0),
    v("replicas_1", "BG-INV-002", "choose 2 to 48", spark_replicas=1),
    v("replicas_49", "BG-INV-002", "choose 2 to 48", spark_replicas=49),
    v("replicas_text", "BG-INV-002", "choose 2 to 48", nvidia_device_plugin_replicas="ten"),
    v("replicas_unshared", "BG-INV-002", "turn sharing off", nvidia_device_plugin_sharing="none"),
    v("replicas_differ", "BG-INV-023", "one variable", gpu_verify_replicas=5),
    v("mig_on_gb10", "BG-INV-003", "remove the MIG setting", nvidia_device_plugin_mig_strategy="single"),
    v("mps_with_mig", "BG-INV-022", "to none", nvidia_device_plugin_mig_strategy="mixed"),
    v("unknown_sharing", "BG-INV-017", "choose one of", nvidia_device_plugin_sharing="MPS"),
    v("declared_otherwise", "BG-SHARE-009", "from gpu_sharing", gpu_verify_replicas=4, nvidia_device_plugin_replicas=4),
    v("declared_badly", "BG-SHARE-003", "did you mean replicas?", gpu_sharing={"strategy": "mps", "replica": 10}),
    v("cap_not_applied", "BG-SHARE-010", "leave it out", gpu_sharing={**SHARING, "thread_cap": 100}),
    v("tier_above_cap", "BG-SHARE-006", "at most 4; or raise", gpu_sharing={**SHARING, "tiers": ["small", "medium"]}),
    v("agent_newer", "BG-INV-011", "upgrade servers first", k3s_server_version="v1.34.3+k3s1"),
    v("agent_too_old", "BG-INV-011", "within the skew", k3s_server_version="v1.38.0+k3s1"),
    v("version_of_kubernetes", "BG-INV-053", "k3s --version", k3s_server_version="v1.34.4"),
    v("plus_sign", "BG-INV-038", "%2B", k3s_agent_binary_url=f"{RELEASE}/k3s-arm64".replace("%2B", "+")),
    v("wrong_architecture", "BG-INV-041", "host's architecture", k3s_agent_binary_url=f"{RELEASE}/k3s"),
    v(
        "latest",
        "BG-INV-040",
        "one release",
        k3s_agent_binary_url="https://github.com/k3s-io/k3s/releases/latest/download/k3s-arm64",
    ),
    v("http", "BG-INV-039", "site_mirror_url", k3s_agent_binary_url="http://files.elsewhere.org/k3s-arm64"),
    v("no_checksum", "BG-INV-012", "set the variable", k3s_agent_binary_sha256=None),
    v("short_checksum", "BG-INV-010", "add the checksum", k3s_agent_binary_sha256="5a" * 31),
    v(
        "archive_without_checksum",
        "BG-INV-010",
        "add the checksum",
        k3s_agent_image_archives=[{"url": f"{RELEASE}/k3s-airgap-images-arm64.tar.zst"}],
    ),
    v("fingerprint", "BG-INV-042", "40 hexadecimal digits", package_repository_key_fingerprint="F796ECB0"),
    h("node_ip_no_address", "BG-INV-014", "write an IP address", k3s_agent_node_ip="spark-01.lan"),
    h("node_ip_in_pods", "BG-INV-007", "another address", k3s_agent_node_ip="10.42.7.7"),
    h("node_ip_in_services", "BG-INV-007", "another address", k3s_agent_node_ip="10.43.0.1"),
    h("node_ip_of_server", "BG-INV-027", "k3s_server", k3s_agent_node_ip="10.20.0.20"),
    h("node_ip_loopback", "BG-INV-028", "interface over which", k3s_agent_node_ip="127.0.0.1"),
    Case(
        "node_ip_twice",
        "BG-INV-009",
        "its own address",
        hosts=second_spark(k3s_agent_node_ip="10.20.0.21"),
    ),
    Case(
        "node_ip_of_another_family",
        "BG-INV-029",
        "cluster's family",
        hosts=second_spark(k3s_agent_node_ip="fd00::22"),
    ),
    Case(
        "node_name_twice",
        "BG-INV-008",
        "its own name",
        hosts=second_spark(k3s_agent_node_ip="10.20.0.22", k3s_agent_node_name="spark-01"),
    ),
    h("node_name_invalid", "BG-INV-013", "lower case letters", k3s_agent_node_name="Spark_01"),
    h("node_name_long", "BG-INV-013", "lower case letters", k3s_agent_node_name="spark." + "x" * 60),
    v("networks_overlap", "BG-INV-015", "do not overlap", k3s_server_cluster_cidr="10.43.0.0/16"),
    v("network_of_tailnet", "BG-INV-030", "outside 100.64.0.0/10", k3s_server_cluster_cidr="100.64.0.0/12"),
    v("network_too_small", "BG-INV-031", "larger network", k3s_server_cluster_cidr="10.42.0.0/24"),
    v("network_of_site", "BG-INV-032", "does not use", site_node_networks=["10.20.0.0/24", "10.42.0.0/24"]),
    v("dns_elsewhere", "BG-INV-033", "service network", k3s_server_cluster_dns="10.96.0.10"),
    v("server_http", "BG-INV-026", "https://", k3s_agent_server="http://10.20.0.20:6443"),
    v("server_without_port", "BG-INV-026", ":6443", k3s_agent_server="https://10.20.0.20"),
    v("label_malformed", "BG-INV-043", "key=value", k3s_agent_node_labels=["gpu"]),
    v("taint_effect", "BG-INV-043", "did you mean NoSchedule?", k3s_agent_node_taints=["gpu=a:NoShedule"]),
    v("kubelet_argument", "BG-INV-048", "leave the argument out", k3s_agent_kubelet_args=["node-ip=10.20.0.9"]),
    v("unknown_key", "BG-INV-046", "did you mean flannel-iface?", k3s_agent_extra_config={"flannel-ifac": "eth0"}),
    v("colliding_key", "BG-INV-047", "set k3s_agent_node_ip", k3s_agent_extra_config={"node-ip": "10.20.0.9"}),
    v("misspelt_variable", "BG-INV-016", "did you mean k3s_agent_token_file?", k3s_agent_tokenfile="/x"),
    v("wrong_type", "BG-INV-020", "a list", k3s_agent_node_labels="accelerator=gb10"),
    v("out_of_range", "BG-INV-021", "10 to 7200", k3s_agent_ready_timeout=0),
    v("undefined_reference", "BG-INV-012", "what the value refers to", k3s_agent_server="https://{{ nowhere }}:6443"),
    v(
        "no_vault_variable",
        "BG-INV-012",
        "vault_become_password",
        ansible_become_password="{{ vault_become_password }}",
    ),
    v("plain_secret", "BG-INV-037", "ansible-vault encrypt_string", ansible_become_password="hunter2"),
    v("readiness_unanswered", "BG-INV-050", "set cooling to true", site_readiness={"cabling": True}),
    v(
        "waiver_of_a_refusal",
        "BG-INV-052",
        "waive the code of a finding",
        gpu_verify_waivers=[{"code": "BG-INV-001", "reason": "no"}],
    ),
    Case(
        "over_no_tailnet",
        "BG-INV-054",
        "add it to group tailnet",
        host={"k3s_agent_node_ip": None},
        variables=TAILNET,
    ),
    Case("over_tailnet_and_typed", "BG-INV-055", "leave that", hosts=in_tailnet("tailnet"), variables=TAILNET),
    Case(
        "tailnet_without_repository",
        "BG-INV-012",
        "set it for group tailnet",
        hosts=in_tailnet("tailnet"),
    ),
    Case("closed_to_no_tailnet", "BG-INV-025", "make tailnet_only a child", hosts=in_tailnet("tailnet_only")),
    Case("no_address", "BG-INV-012", "k3s_agent_over_tailnet", host={"k3s_agent_node_ip": None}),
    Case("no_server", "BG-INV-024", "add a host to group k3s_server", hosts=drop("k3s_server")),
    Case("server_is_agent", "BG-INV-025", "one of the groups", hosts=also_server),
    Case("not_verified", "BG-INV-025", "make spark a child of spark_system", hosts=apart),
    Case(
        "undecryptable",
        "BG-INV-019",
        "--vault-password-file",
        raw="k3s_agent_server: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  " + "61" * 20 + "\n",
    ),
)


def fill_in(inventory: Path) -> None:
    """Replace every placeholder of the example by what a site would write."""
    for name, mark, value in FILLED_IN:
        path = inventory / name
        text = path.read_text(encoding="utf-8")
        assert mark in text, f"{name} has no {mark!r}"
        path.write_text(text.replace(mark, value), encoding="utf-8")


def build(root: Path, folder: Path, case: Case) -> Path:
    """The inventory of a case with its secret files."""
    inventory, secrets = folder / "inventory", folder / "home/.config/baremetal-gpu/spark"
    shutil.copytree(root / "inventories/spark", inventory)
    fill_in(inventory)
    secrets.mkdir(parents=True)
    good = {"k3s-token": (TOKEN, 0o600), "kubeconfig.yaml": (KUBECONFIG, 0o600)}
    for name, content in {**good, **case.files}.items():
        if content:
            (secrets / name).touch(mode=content[1])
            (secrets / name).write_text(content[0], encoding="utf-8")
    become = {"ansible_become_password": None, "site_secrets": str(secrets)}
    change(inventory / "group_vars/spark/main.yml", {**become, **case.variables})
    change(inventory / "host_vars/spark-01.yml", case.host)
    change(inventory / "group_vars/all.yml", {"site_secrets": None})
    change(inventory / "group_vars/spark_system.yml", {"site_secrets": str(secrets), "site_readiness": None})
    if case.raw:
        (inventory / "group_vars/spark/zz.yml").write_text(case.raw, encoding="utf-8")
    path = inventory / "hosts.yml"
    hosts = yaml.safe_load(path.read_text(encoding="utf-8"))
    case.hosts(hosts)
    path.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    return inventory


def change(path: Path, changes: Mapping[str, Any]) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data = {key: value for key, value in {**data, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")


@dataclass(frozen=True)
class Result:
    """How one run ended."""

    status: int
    output: str
    verdict: Mapping[str, Any]
    touched: bool

    def findings(self) -> list[Mapping[str, Any]]:
        return [finding for host in self.verdict["hosts"].values() for finding in host["findings"]]


def run_all(run_playbooks: Any, root: Path, folder: Path, cases: Mapping[Case, Path]) -> dict[str, Result]:
    """Run the playbook over every inventory. Each has its own ssh, which only notes that it was called."""
    jobs = []
    for case, inventory in cases.items():
        place = inventory.parent
        (place / "ssh").write_text(SSH.format(folder=place), encoding="utf-8")
        (place / "ssh").chmod(0o755)
        playbook = folder / "inventory.yml" if case.playbook == "inventory.yml" else root / "playbooks" / case.playbook
        options = ["--ssh-common-args=-o ControlMaster=no", "-e", f"ansible_ssh_executable={place}/ssh"]
        arguments = ["-i", str(inventory), *options, str(playbook)]
        jobs.append({"arguments": arguments, "log": str(place / "log"), "verdict": str(place / "verdict.json")})
    (folder / "inventory.yml").write_text(PLAYBOOK.format(root=root), encoding="utf-8")
    statuses = run_playbooks(folder, jobs)
    results = {}
    for (case, inventory), status in zip(cases.items(), statuses, strict=True):
        place = inventory.parent
        verdict = place / "verdict.json"
        results[case.name] = Result(
            status=status,
            output=(place / "log").read_text(encoding="utf-8"),
            verdict=json.loads(verdict.read_text(encoding="utf-8")) if verdict.exists() else {"hosts": {}},
            touched=(place / "ssh-was-called").exists(),
        )
    return results


GOOD = Case("good", "", "")
# Other inventories that are as good as the example.
VALID = (
    v("tiers", "", "", gpu_sharing={**SHARING, "tiers": ["small", "medium", "large"]}, spark_replicas=2),
    v(
        "time_slicing_over_the_tailnet",
        "",
        "",
        gpu_sharing={**SHARING, "strategy": "time-slicing"},
        spark_replicas=64,
        k3s_agent_server="https://100.64.0.20:6443",
        k3s_agent_flannel_iface="tailscale0",
        k3s_agent_node_ip="100.101.102.103",
    ),
    Case(
        "two_hosts_and_a_mirror",
        "",
        "",
        hosts=second_spark(k3s_agent_node_ip="10.20.0.22"),
        variables={
            "site_mirror_url": "http://10.20.0.10",
            "k3s_agent_binary_url": "http://10.20.0.10/k3s/v1.33.1%2Bk3s1/k3s-arm64",
            "k3s_agent_node_taints": ["gpu:NoExecute", "nvidia.com/gpu=present:NoSchedule"],
            "site_node_networks": ["10.20.0.0/24"],
        },
    ),
    Case(
        "over_the_tailnet_and_nothing_else",
        "",
        "",
        hosts=in_tailnet("tailnet", "tailnet_only"),
        host={
            "k3s_agent_node_ip": None,
            "ansible_host": "{{ lookup('baremetal.gpu.tailnet_address', inventory_hostname, otherwise='10.20.0.21') }}",
        },
        variables={**TAILNET, "tailscale_addresses_folder": "{{ inventory_dir }}/tailnet"},
    ),
    v(
        "both_families",
        "",
        "",
        k3s_agent_node_ip="10.20.0.21,fd00:20::21",
        k3s_server_cluster_cidr="10.42.0.0/16,fd00:42::/56",
        k3s_server_service_cidr="10.43.0.0/16,fd00:43::/112",
        k3s_server_cluster_dns="10.43.0.10,fd00:43::a",
        gpu_sharing={"strategy": "none"},
        spark_replicas=1,
    ),
)
# The same through the whole playbooks, whose later plays would install or read on every host.
WHOLE = (
    Case("whole_spark", "BG-INV-002", "choose 2 to 48", variables={"spark_replicas": 49}, playbook="spark.yml"),
    Case("whole_spark_no_host", "BG-INV-024", "add a host", hosts=drop("spark"), playbook="spark.yml"),
    Case("whole_preflight", "BG-INV-004", "mode 0600", files={"k3s-token": None}, playbook="preflight.yml"),
)


EVERY = (GOOD, *VALID, *CASES, *WHOLE)


@pytest.fixture(scope="module")
def results(run_playbooks: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Every case and the good inventory, run once."""
    folder = tmp_path_factory.mktemp("spark")
    return run_all(run_playbooks, root, folder, {case: build(root, folder / case.name, case) for case in EVERY})


@pytest.mark.parametrize("case", [GOOD, *VALID], ids=lambda case: case.name)
def test_filled_in_inventory_is_not_refused_and_its_hosts_are_touched(results: dict[str, Result], case: Case) -> None:
    """Which also shows that a host that is touched is noticed."""
    result = results[case.name]
    assert "BG-INV" not in result.output
    assert result.touched
    assert result.status == 4, "no host can be reached"


def test_example_as_it_is_names_every_value_to_fill_in(run_playbooks: Any, root: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "example/inventory"
    shutil.copytree(root / "inventories/spark", inventory)
    (result,) = run_all(run_playbooks, root, tmp_path, {GOOD: inventory}).values()
    assert (result.status, result.touched) == (2, False)
    unfilled = {finding["evidence"]["variable"] for finding in result.findings() if finding["code"] == "BG-INV-049"}
    assert unfilled == {
        "ansible_host",
        "ansible_user",
        "k3s_agent_binary_sha256",
        "k3s_agent_node_ip",
        "k3s_agent_server",
        "k3s_server_version",
        "nvidia_device_plugin_nfd_crds_sha256",
        "site_readiness",
    }
    # Beside them only what a site keeps outside of the inventory: the token, the kubeconfig, and the vault's password.
    others = {finding["code"] for finding in result.findings()} - {"BG-INV-049"}
    assert others == {"BG-INV-004", "BG-INV-006", "BG-INV-012"}


@pytest.mark.parametrize("case", [*CASES, *WHOLE], ids=lambda case: case.name)
def test_spoilt_inventory_is_refused_before_any_host_is_touched(results: dict[str, Result], case: Case) -> None:
    result = results[case.name]
    assert result.status == 2, result.output
    assert not result.touched
    found = [finding for finding in result.findings() if finding["code"] == case.code]
    assert found, result.output
    assert all(finding["reason"] and finding["remedy"] for finding in result.findings())
    assert any(case.remedy in finding["remedy"] for finding in found), found


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in EVERY}) == len(EVERY)
    assert len(CASES) >= 40
