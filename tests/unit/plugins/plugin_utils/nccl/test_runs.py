"""What a run of nccl-tests is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.plugin_utils.nccl import runs

GIB = 1 << 30
LIMITS = runs.Limits(300, 600, 3600)
TEST = runs.Test("all_reduce", GIB, 8 * GIB, 8, LIMITS)
PAIR = runs.Run("nccl-health-a-1", ("onyx-g1", "onyx-g2"), TEST, {"NCCL_DEBUG": "WARN", "NCCL_NET": "IB"})
ALONE = runs.Run("nccl-health-a-1", ("onyx-g1",), TEST, {"NCCL_DEBUG": "WARN"})
IMAGE = "registry.example/nccl-tests@sha256:" + "0" * 64
PODS = runs.PodSettings("gpu-tests", IMAGE, resources={"rdma/hca": "1"}, runtime_class="nvidia", priority_class="low")


def code_of(error: pytest.ExceptionInfo[GpuError]) -> str:
    return error.value.code


def test_a_test_checks_its_data_and_ends_itself() -> None:
    command = TEST.command(8)
    assert command[0] == "all_reduce_perf"
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["-c"], options["-T"], options["-g"]) == ("1", "300", "8")
    assert (options["-b"], options["-e"]) == (str(GIB), str(8 * GIB))


def test_programs_may_lie_elsewhere_and_be_named_otherwise() -> None:
    test = runs.Test("all_gather", GIB, GIB, 1, LIMITS, directory="/opt/nccl-tests/", suffix="_mpi")
    assert test.program == "/opt/nccl-tests/all_gather_perf_mpi"


def test_one_host_runs_one_process_for_all_its_gpus() -> None:
    command = runs.direct_command(ALONE)
    assert command[0] == "all_reduce_perf"
    assert command[command.index("-g") + 1] == "8"


def test_several_hosts_run_one_rank_per_gpu_with_the_control_traffic_of_mpi_elsewhere() -> None:
    command = runs.mpirun_command(PAIR, "/usr/bin/mpirun", {"onyx-g2": "10.0.0.2"})
    text = " ".join(command)
    assert text.startswith("/usr/bin/mpirun --host onyx-g1:8,10.0.0.2:8 -np 16 --map-by ppr:8:node --bind-to numa")
    assert "--mca pml ob1" in text
    assert "--mca coll ^hcoll" in text
    assert "-x NCCL_DEBUG -x NCCL_NET" in text
    assert command[command.index("-g") + 1] == "1"


def test_a_setting_of_mpi_that_the_site_gives_goes_before_ours() -> None:
    own = runs.Run("n", PAIR.nodes, TEST, {**PAIR.environment, "OMPI_MCA_pml": "ucx"})
    command = runs.mpirun_command(own, "mpirun", {})
    assert "ob1" not in command
    assert "OMPI_MCA_pml" not in command


def test_a_host_is_asked_over_the_launcher_that_the_run_will_use() -> None:
    query = ["nvidia-smi", "-L"]
    assert runs.probe_command("onyx-g1", "onyx-g1", "mpirun", {}, query) == query
    asked = runs.probe_command("onyx-g2", "onyx-g1", "mpirun", {"onyx-g2": "10.0.0.2"}, query)
    assert asked == ["mpirun", "--host", "10.0.0.2:1", "-np", "1", "nvidia-smi", "-L"]


@pytest.mark.parametrize(("text", "value"), [("8G", 8 * GIB), ("512M", GIB // 2), ("4096", 4096), (" 1K ", 1024)])
def test_sizes_are_powers_of_two_as_the_tests_read_them(text: str, value: int) -> None:
    assert runs.size(text) == value


@pytest.mark.parametrize("text", ["", "8GB", "-1G", "1.5G", "0", "8g", "$(id)"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(GpuError) as error:
        runs.size(text)
    assert code_of(error) == "BG-NCCL-105"


def test_between_nodes_a_fallback_to_tcp_is_an_error() -> None:
    assert runs.environment({}, True, None, "info") == {"NCCL_DEBUG": "INFO", "NCCL_NET": "IB"}
    assert "NCCL_NET" not in runs.environment({}, False, None, "warn")
    assert "NCCL_NET" not in runs.environment({}, True, "socket", "warn")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "/tmp/x.so"),
        ("NCCL_TESTS_SPLIT", "MOD 8"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("OMPI_MCA_plm_rsh_agent", "/bin/dash"),
        ("NCCL_IB_HCA", "mlx5_0; id"),
        ("NCCL_IB_HCA", "$(id)"),
        ("NCCL_IB_HCA", "a\nb"),
    ],
)
def test_a_variable_that_is_not_listed_or_holds_more_than_a_setting_is_refused(name: str, value: str) -> None:
    with pytest.raises(GpuError) as error:
        runs.environment({name: value}, False, None, "warn")
    assert code_of(error) == "BG-NCCL-106"
    assert value not in str(error.value)


@pytest.mark.parametrize("limits", [(0, 1, 2), (300, 300, 600), (300, 200, 600), (300, 600, 600)])
def test_limits_that_do_not_rise_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(GpuError) as error:
        runs.Limits(*limits)
    assert code_of(error) == "BG-NCCL-107"


@pytest.mark.parametrize(
    ("nodes", "at_least"),
    [((), 1), (("a",), 2), (("a", "a"), 2), (("a", "b;id"), 2), (("-x", "b"), 2), (("a b", "c"), 2)],
)
def test_nodes_that_are_too_few_or_none_are_refused(nodes: tuple[str, ...], at_least: int) -> None:
    with pytest.raises(GpuError) as error:
        runs.check_nodes(nodes, at_least)
    assert code_of(error) == "BG-NCCL-108"


@pytest.mark.parametrize("image", [None, "", "nccl-tests:latest", "nccl-tests@sha256:12", IMAGE + "0", IMAGE + " x"])
def test_an_image_without_a_digest_is_refused(image: str | None) -> None:
    with pytest.raises(GpuError) as error:
        runs.check_image(image)
    assert code_of(error) == "BG-NCCL-105"
    assert runs.check_image(IMAGE) == IMAGE


@given(st.text(max_size=60))
def test_a_name_of_a_job_is_one_that_kubernetes_takes_or_is_refused(prefix: str) -> None:
    try:
        name = runs.job_name(prefix, 12, "0123abcd")
    except GpuError:
        return
    assert len(name) <= 50
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name[0] != "-"


def test_a_job_never_retries_and_ends_with_its_pod_first() -> None:
    job = runs.job(ALONE, PODS)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    # A job past its own deadline takes its pod with it, and the log.
    assert LIMITS.test_s < pod["activeDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert spec["ttlSecondsAfterFinished"] > 0


def test_a_job_takes_all_gpus_of_its_node_even_when_it_is_cordoned() -> None:
    pod = runs.job(ALONE, PODS)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8", "rdma/hca": "1"}
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["command"] == runs.direct_command(ALONE)
    assert nodes_of(pod) == ["onyx-g1"]
    assert {item["key"] for item in pod["tolerations"]} == {"nvidia.com/gpu", "node.kubernetes.io/unschedulable"}
    assert pod["volumes"][0]["emptyDir"]["medium"] == "Memory"
    assert (pod["runtimeClassName"], pod["priorityClassName"]) == ("nvidia", "low")
    assert pod["automountServiceAccountToken"] is False


def nodes_of(pod: dict[str, Any]) -> list[str]:
    selection = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [term["matchFields"][0]["values"][0] for term in selection["nodeSelectorTerms"]]


def test_an_mpi_job_waits_for_its_workers_and_keeps_them_until_they_were_read() -> None:
    spec = runs.mpi_job(PAIR, PODS)["spec"]
    assert spec["launcherCreationPolicy"] == "WaitForWorkersReady"
    assert spec["slotsPerWorker"] == 8
    assert spec["runPolicy"]["backoffLimit"] == 0
    assert spec["runPolicy"]["cleanPodPolicy"] == "None"
    assert spec["runPolicy"]["activeDeadlineSeconds"] > LIMITS.job_s
    assert {kind["restartPolicy"] for kind in spec["mpiReplicaSpecs"].values()} == {"Never"}


def test_an_mpi_job_has_one_worker_with_all_gpus_per_node_and_a_launcher_with_none() -> None:
    replicas = runs.mpi_job(PAIR, PODS)["spec"]["mpiReplicaSpecs"]
    worker, launcher = (replicas[kind]["template"]["spec"] for kind in ("Worker", "Launcher"))
    assert replicas["Worker"]["replicas"] == 2
    assert nodes_of(worker) == ["onyx-g1", "onyx-g2"]
    assert worker["affinity"]["podAntiAffinity"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert "command" not in worker["containers"][0]
    assert "resources" not in launcher["containers"][0]
    command = launcher["containers"][0]["command"]
    assert command[:3] == ["mpirun", "-np", "16"]
    assert {"name": "NCCL_NET", "value": "IB"} in launcher["containers"][0]["env"]


def test_one_node_is_a_job_and_several_are_an_mpi_job() -> None:
    assert [runs.manifest(run, PODS)["kind"] for run in (ALONE, PAIR)] == ["Job", "MPIJob"]


def test_every_variable_that_may_be_set_is_documented(root: Path) -> None:
    text = (root / "docs/nccl-health.md").read_text(encoding="utf-8")
    listed = text.partition("Only these variables")[2].partition("Leave `")[0]
    assert set(re.findall(r"`([A-Z][A-Za-z0-9_]+)`", listed)) == runs.ENVIRONMENT
