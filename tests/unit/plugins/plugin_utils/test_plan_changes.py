"""What results of modules say about changes; the samples have the form in which the modules return them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.plugin_utils.plan_changes import KINDS, READERS, Change, changes_of


def result(arguments: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"changed": True, "invocation": {"module_args": arguments or {}}, **fields}


def told(module: str, outcome: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(change.kind, change.action, change.name, change.detail) for change in changes_of(module, "task", outcome)]


APT_SIMULATED = """\
The following NEW packages will be installed:
  libnvidia-container1 toolkit
Inst libnvidia-container1 (1.17.8-1 lab [amd64])
Inst toolkit [1.17.0-1] (1.17.8-1 lab [amd64])
Conf toolkit (1.17.8-1 lab [amd64])
"""
APT_DONE = """\
Unpacking libnvidia-container1:amd64 (1.17.8-1) ...
Unpacking toolkit (1.17.8-1) over (1.17.0-1) ...
Setting up libnvidia-container1:amd64 (1.17.8-1) ...
Setting up toolkit (1.17.8-1) ...
"""


@pytest.mark.parametrize("stdout", [APT_SIMULATED, APT_DONE], ids=["predicted", "done"])
def test_apt_says_the_same_before_and_after(stdout: str) -> None:
    assert told("ansible.builtin.apt", result(stdout=stdout)) == [
        ("package", "install", "libnvidia-container1", "1.17.8-1"),
        ("package", "upgrade", "toolkit", "1.17.8-1"),
    ]


def test_apt_removal_is_told() -> None:
    assert told("apt", result(stdout="Remv toolkit [1.17.8-1]\n")) == [("package", "remove", "toolkit", "1.17.8-1")]


def test_dnf_results_are_split_into_name_and_version() -> None:
    outcome = result(results=["Installed: kubernetes-cni-1.7.1-1.x86_64", "Removed: kubelet-1.33.1-2.el9.x86_64"])
    assert told("ansible.builtin.dnf", outcome) == [
        ("package", "install", "kubernetes-cni", "1.7.1-1"),
        ("package", "remove", "kubelet", "1.33.1-2.el9"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("toolkit=1.17.8-*", ("toolkit", "1.17.8-*")),
        ("kubernetes-cni-1.7.1", ("kubernetes-cni", "1.7.1")),
        ("curl", ("curl", "")),
    ],
)
def test_package_of_a_predicted_repository_is_known_by_its_request_only(name: str, expected: tuple[str, str]) -> None:
    (change,) = changes_of("ansible.builtin.package", "task", result({"name": [name], "state": "present"}))
    assert (change.name, change.detail) == expected
    assert (change.action, change.exact) == ("install", False)


@pytest.mark.parametrize(
    ("diff", "action"),
    [
        ([{"before": "", "after": "x", "after_header": "file"}], "create"),
        ([{"before": "", "before_header": "file", "after": "x"}], "change"),
        ([{"before": "a", "before_header": "file", "after": "b"}], "change"),
        (
            {"before": {"path": "/etc/x", "state": "absent"}, "after": {"path": "/etc/x", "state": "directory"}},
            "create",
        ),
        ({"before": {"path": "/etc/x", "mode": "0644"}, "after": {"path": "/etc/x", "mode": "0600"}}, "change"),
    ],
)
def test_new_file_is_told_from_a_changed_one(diff: Any, action: str) -> None:
    assert told("ansible.builtin.template", result({"dest": "/etc/x"}, diff=diff)) == [("file", action, "/etc/x", "")]


def test_removed_file_is_told() -> None:
    assert told("file", result({"path": "/etc/x", "state": "absent"})) == [("file", "remove", "/etc/x", "")]


def test_content_of_a_file_never_reaches_the_plan() -> None:
    diff = [{"before": "old-secret", "before_header": "f", "after": "new-secret", "after_header": "f"}]
    shown = repr(changes_of("copy", "task", result({"dest": "/etc/token", "content": "new-secret"}, diff=diff)))
    assert "/etc/token" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("get_url", {"dest": "/x", "url": "https://me:pass@mirror/x"}),
        ("yum_repository", {"name": "x", "baseurl": "https://me:pass@mirror/x"}),
        ("deb822_repository", {"name": "x", "uris": ["https://me:pass@mirror/x"]}),
    ],
)
def test_password_in_an_address_never_reaches_the_plan(module: str, arguments: dict[str, Any]) -> None:
    (change,) = changes_of(module, "task", result(arguments))
    assert change.detail == "https://mirror/x"


def test_download_replaces_what_is_there() -> None:
    assert [told("get_url", result({"dest": "/bin/k3s"}, checksum_dest=known))[0][1] for known in (None, "abc")] == [
        "create",
        "change",
    ]


RUNNING = {"ActiveState": "active", "UnitFileState": "enabled"}
STOPPED = {"ActiveState": "inactive", "UnitFileState": "disabled"}


@pytest.mark.parametrize(
    ("arguments", "status", "actions"),
    [
        ({"state": "restarted"}, RUNNING, ["restart"]),
        ({"state": "started", "enabled": True}, STOPPED, ["start", "enable"]),
        ({"state": "started", "enabled": True}, {**RUNNING, "UnitFileState": "disabled"}, ["enable"]),
        ({"state": "started", "enabled": True}, {**STOPPED, "UnitFileState": "enabled"}, ["start"]),
        ({"state": "stopped", "enabled": False}, RUNNING, ["stop", "disable"]),
    ],
)
def test_service_s_actions_follow_from_its_state_before(
    arguments: dict[str, Any], status: dict[str, str], actions: list[str]
) -> None:
    outcome = result({"name": "containerd.service", **arguments}, status=status)
    assert [change.action for change in changes_of("ansible.builtin.systemd_service", "task", outcome)] == actions


def test_first_start_of_the_k3s_agent_joins_its_host() -> None:
    arguments = {"name": "k3s-agent.service", "state": "started", "enabled": True}
    first = changes_of("systemd_service", "task", result(arguments, msg="Could not find the requested service"))
    assert [(change.kind, change.action) for change in first] == [
        ("service", "start"),
        ("service", "enable"),
        ("node", "join"),
    ]
    assert not first[0].exact
    later = changes_of("systemd_service", "task", result(arguments, status={**STOPPED, "UnitFileState": "enabled"}))
    assert [change.kind for change in later] == ["service"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["kubeadm", "init", "--config=x"], ("node", "initialise", "control plane", "kubeadm")),
        (["/usr/bin/kubeadm", "join"], ("node", "join", "kubeadm", "kubeadm")),
        (["nvidia-ctk", "cdi", "generate"], ("command", "run", "nvidia-ctk cdi generate", "")),
    ],
)
def test_commands_that_make_nodes_are_told_as_such(argv: list[str], expected: tuple[str, ...]) -> None:
    assert told("ansible.builtin.command", result({"argv": argv}, cmd=argv)) == [expected]


def part(name: str, changed: bool, before: dict[str, Any]) -> dict[str, Any]:
    return {
        "changed": changed,
        "method": "apply",
        "diff": {"before": before, "after": {}},
        "result": {"kind": "DaemonSet", "metadata": {"name": name, "namespace": "gpu"}},
    }


def test_only_objects_that_change_are_told() -> None:
    parts = [part("same", False, {"a": 1}), part("edited", True, {"a": 1}), part("new", True, {})]
    assert told("kubernetes.core.k8s", result(result={"results": parts})) == [
        ("object", "change", "DaemonSet gpu/edited", ""),
        ("object", "create", "DaemonSet gpu/new", ""),
    ]


def test_single_object_is_told_alike() -> None:
    single = part("one", True, {"a": 1})
    assert told("kubernetes.core.k8s", single) == [("object", "change", "DaemonSet gpu/one", "")]


def test_applied_manifests_are_told_object_by_object() -> None:
    objects = [
        {"kind": "Namespace", "namespace": "", "name": "gpu", "outcome": "created"},
        {"kind": "DaemonSet", "namespace": "gpu", "name": "same", "outcome": "unchanged"},
        {"kind": "DaemonSet", "namespace": "gpu", "name": "edited", "outcome": "changed"},
    ]
    assert told("baremetal.gpu.manifests", result(objects=objects)) == [
        ("object", "create", "Namespace gpu", ""),
        ("object", "change", "DaemonSet gpu/edited", ""),
    ]


def test_loop_tells_only_the_items_that_change() -> None:
    items = [
        {"changed": False, "invocation": {"module_args": {"path": "/a"}}},
        {"changed": True, "invocation": {"module_args": {"path": "/b"}}},
    ]
    assert told("file", {"changed": True, "results": items}) == [("file", "change", "/b", "")]


def test_loop_that_changes_nothing_is_silent() -> None:
    assert told("file", {"changed": False, "results": [{"changed": False}]}) == []


def test_failed_items_of_a_loop_that_counts_as_changed_are_predicted() -> None:
    """In check mode they miss what an earlier task only predicted."""
    items = [{"changed": False, "failed": True, "invocation": {"module_args": {"dest": "/a", "url": "http://m/a"}}}]
    assert told("get_url", {"changed": True, "results": items}) == [("file", "create", "/a", "http://m/a")]


def test_imported_archives_are_told_by_name() -> None:
    assert told("baremetal.gpu.containerd_images", result(imported=["/var/lib/x/kubernetes.tar"])) == [
        ("image", "import", "kubernetes.tar", "")
    ]


def test_reboot_is_told() -> None:
    assert told("ansible.builtin.reboot", result()) == [("reboot", "reboot", "host", "")]


def test_files_that_the_diff_of_another_module_names_are_told() -> None:
    diff = [
        {"before_header": "/etc/k3s", "after_header": "/etc/k3s (mode 0600)", "before": "", "after": "(wanted secret)"},
        {"before_header": "/bin/k3s (mode 0755)", "after_header": "/bin/k3s (mode 0755)", "before": "a", "after": "b"},
        {"before_header": "memory", "after_header": "memory", "before": "a", "after": "b"},
    ]
    assert told("baremetal.gpu.k3s_node", result(diff=diff)) == [
        ("file", "create", "/etc/k3s", ""),
        ("file", "change", "/bin/k3s", ""),
    ]


def test_corrected_node_is_told() -> None:
    assert told("baremetal.gpu.cluster_node", result({"name": "spark-01"})) == [
        ("object", "change", "Node spark-01", "")
    ]


def test_unknown_module_is_told_by_its_task() -> None:
    assert changes_of("acme.gpulab.magic", "Do magic", result()) == [
        Change("task", "change", "Do magic", "acme.gpulab.magic")
    ]


def test_result_that_is_kept_secret_is_told_by_its_task() -> None:
    assert told("template", {"changed": True, "censored": "hidden"}) == [("task", "change", "task", "template")]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
fields = st.dictionaries(
    st.sampled_from(
        ["cmd", "dest", "diff", "imported", "msg", "name", "path", "result", "results", "status", "stdout"]
    ),
    values,
)


@given(module=st.sampled_from(sorted(READERS)), fields=fields, arguments=values)
def test_whatever_a_result_holds_a_change_is_never_left_out(
    module: str, fields: dict[str, Any], arguments: Any
) -> None:
    outcome = {**fields, "changed": True, "invocation": {"module_args": arguments}}
    outcome.pop("results", None)
    found = changes_of(module, "Do something", outcome)
    assert found
    assert all(change.kind in KINDS and change.action and change.name for change in found)
