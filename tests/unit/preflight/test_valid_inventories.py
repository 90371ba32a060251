"""No valid inventory is refused, whatever its names, addresses, networks, versions and figures."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.checks import refusals
from ansible_collections.baremetal.gpu.plugins.module_utils.preflight.model import Inventory

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,20}(-[a-z0-9]{1,8})?(\.site)?", fullmatch=True)
LABEL_KEYS = st.from_regex(r"([a-z]{1,8}\.(org|io)/)?[A-Za-z]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?", fullmatch=True)
LABEL_VALUES = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?)?", fullmatch=True)
EFFECTS = st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])
# Networks of a site that hold neither documentation addresses nor the tailnet's.
POD_NETWORKS = st.sampled_from(["10.42.0.0/16", "10.240.0.0/13", "172.20.0.0/14", "192.168.128.0/17"])
SERVICE_NETWORKS = st.sampled_from(["10.43.0.0/16", "10.96.0.0/12", "172.30.0.0/20", "192.168.0.0/24"])
NODE_NETWORKS = st.sampled_from(["10.0.0.0/22", "10.20.0.0/16", "192.168.64.0/22", "100.64.0.0/10", "172.16.0.0/20"])


@st.composite
def sites(draw: Any) -> dict[str, Any]:
    """What a site may declare: its hosts with addresses of one network, and everything that they share."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    network = ipaddress.ip_network(draw(NODE_NETWORKS))
    numbers = draw(st.lists(st.integers(3, 900), min_size=len(names), max_size=len(names), unique=True))
    sharing = draw(st.sampled_from(["none", "time_slicing", "mps"]))
    replicas = 1 if sharing == "none" else draw(st.integers(2, 48))
    minor = draw(st.integers(28, 40))
    older = draw(st.integers(0, 3))
    labels = draw(st.dictionaries(LABEL_KEYS, LABEL_VALUES, max_size=4))
    taints = draw(st.lists(st.tuples(LABEL_KEYS, EFFECTS), max_size=3, unique=True))
    declared = draw(st.booleans())
    return {
        "hosts": {name: str(network[number]) for name, number in zip(names, numbers, strict=True)},
        "shared": {
            "k3s_agent_server": f"https://{network[2]}:{draw(st.integers(1, 65535))}",
            "k3s_agent_binary_url": f"https://mirror.site.internal/v1.{minor - older}.4%2Bk3s1/k3s-arm64",
            "k3s_agent_node_labels": [f"{key}={value}" for key, value in labels.items()],
            "k3s_agent_node_taints": [f"{key}=x:{effect}" for key, effect in taints],
            "k3s_agent_ready_timeout": draw(st.integers(10, 7200)),
            "k3s_server_version": f"v1.{minor}.{draw(st.integers(4, 30))}+k3s{draw(st.integers(1, 9))}",
            "k3s_server_cluster_cidr": draw(POD_NETWORKS),
            "k3s_server_service_cidr": draw(SERVICE_NETWORKS),
            "nvidia_device_plugin_sharing": sharing,
            "nvidia_device_plugin_replicas": draw(st.sampled_from([replicas, str(replicas)])),
            "gpu_verify_replicas": replicas,
            "gpu_verify_expect_mps": sharing == "mps",
            **({"site_node_networks": [str(network)]} if declared else {}),
        },
    }


@settings(max_examples=300)
@given(site=sites())
def test_valid_inventory_is_not_refused(good: Inventory, site: dict[str, Any]) -> None:
    spark = next(host for host in good.hosts if host.name == "spark-01")
    hosts = []
    for name, address in site["hosts"].items():
        changes = {**site["shared"], "k3s_agent_node_name": name, "k3s_agent_node_ip": address}
        variables = {**spark.variables, **changes}
        hosts.append(replace(spark, name=name, variables=variables, names=frozenset(variables)))
    members = frozenset(site["hosts"])
    groups = {**good.groups, "spark": members, "spark_system": members | {"calypso"}}
    others = tuple(host for host in good.hosts if host is not spark)
    assert refusals(replace(good, hosts=(*others, *hosts), groups=groups)) == []
