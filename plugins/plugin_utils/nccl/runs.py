"""What a run of nccl-tests is made of: its options, the command line, and the Kubernetes objects. Pure; nothing is started here.

Settings and their reasons: a verification must not retry (a repeated attempt hides the first), must end by itself (the tests' own
``-T``, then the deadline of the job, then that of the task), must not fall back to TCP without an error, and must leave nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

COLLECTIVES = (
    "all_gather",
    "all_reduce",
    "alltoall",
    "broadcast",
    "gather",
    "reduce",
    "reduce_scatter",
    "scatter",
    "sendrecv",
)

ENVIRONMENT = frozenset(
    [
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "LD_LIBRARY_PATH",
        "NCCL_ALGO",
        "NCCL_BUFFSIZE",
        "NCCL_CROSS_NIC",
        "NCCL_CUMEM_ENABLE",
        "NCCL_DMABUF_ENABLE",
        "NCCL_GRAPH_FILE",
        "NCCL_IB_ADAPTIVE_ROUTING",
        "NCCL_IB_GID_INDEX",
        "NCCL_IB_HCA",
        "NCCL_IB_MERGE_NICS",
        "NCCL_IB_PCI_RELAXED_ORDERING",
        "NCCL_IB_QPS_PER_CONNECTION",
        "NCCL_IB_RETRY_CNT",
        "NCCL_IB_SL",
        "NCCL_IB_SPLIT_DATA_ON_QPS",
        "NCCL_IB_SUBNET_AWARE_ROUTING",
        "NCCL_IB_TC",
        "NCCL_IB_TIMEOUT",
        "NCCL_MAX_NCHANNELS",
        "NCCL_MIN_NCHANNELS",
        "NCCL_MNNVL_ENABLE",
        "NCCL_NET",
        "NCCL_NET_GDR_LEVEL",
        "NCCL_NET_PLUGIN",
        "NCCL_NVLS_ENABLE",
        "NCCL_P2P_DISABLE",
        "NCCL_P2P_LEVEL",
        "NCCL_PROTO",
        "NCCL_PXN_DISABLE",
        "NCCL_SHM_DISABLE",
        "NCCL_SOCKET_FAMILY",
        "NCCL_SOCKET_IFNAME",
        "NCCL_TOPO_FILE",
        "OMPI_MCA_btl",
        "OMPI_MCA_btl_tcp_if_include",
        "OMPI_MCA_coll",
        "OMPI_MCA_oob_tcp_if_include",
        "OMPI_MCA_pml",
        "PRTE_MCA_oob_tcp_if_include",
        "UCX_NET_DEVICES",
        "UCX_TLS",
    ]
)
"""Variables that may be set: what selects devices, networks and algorithms. Those that change what a result means
(``NCCL_TESTS_*``), run other programs (``LD_PRELOAD``, the remote shell of MPI) or carry secrets are not among them."""

_VALUE = re.compile(r"[\w.,:=^@/+% -]*")
_SIZE = re.compile(r"([1-9]\d*)([KMG]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DIGEST = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")

GRACE_S = 60
"""How much later than the pod's the deadline of its job is, in seconds: a job past it removes its pods, and with them their log."""

AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
"""Open MPI refuses root, as which containers of such images run."""

LABEL = {"app.kubernetes.io/name": "nccl-health", "app.kubernetes.io/managed-by": "baremetal.gpu"}


@dataclass(frozen=True)
class Limits:
    """The three limits in seconds: of the tests themselves, of a job or launcher, and of the whole task."""

    test_s: int
    job_s: int
    task_s: int

    def __post_init__(self) -> None:
        """Raises ``GpuError`` BG-NCCL-107 unless each limit leaves time for the one before it to take effect."""
        if not 0 < self.test_s < self.job_s < self.task_s:
            raise GpuError(
                "BG-NCCL-107",
                f"the limits {self.test_s} s, {self.job_s} s and {self.task_s} s do not rise",
                "a limit that is not above the one before it ends a run before that can say what hangs",
                "let test_timeout_s < job_timeout_s < task_timeout_s",
            )


@dataclass(frozen=True)
class Test:
    """One collective over some messages. Sizes in bytes; ``program`` is the path of the program of that collective."""

    __test__ = False  # no class of tests

    collective: str
    min_bytes: int
    max_bytes: int
    gpus_per_node: int
    limits: Limits
    iterations: int = 20
    warmup: int = 5
    directory: str = ""
    suffix: str = ""

    @property
    def program(self) -> str:
        name = f"{self.collective}_perf{self.suffix}"
        return f"{self.directory.rstrip('/')}/{name}" if self.directory else name

    def command(self, gpus_per_process: int) -> list[str]:
        """The program with its arguments; data is always checked, and a hang is always ended."""
        return [
            self.program,
            *("-b", str(self.min_bytes)),
            *("-e", str(self.max_bytes)),
            *("-f", "2"),
            *("-g", str(gpus_per_process)),
            *("-c", "1"),
            *("-n", str(self.iterations)),
            *("-w", str(self.warmup)),
            *("-T", str(self.limits.test_s)),
        ]


@dataclass(frozen=True)
class PodSettings:
    """What pods of a run have beside the test. ``resources`` are further ones (RDMA), ``shared_memory`` a quantity."""

    namespace: str
    image: str
    resource: str = "nvidia.com/gpu"
    resources: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str | None = None
    priority_class: str | None = None
    shared_memory: str = "16Gi"


@dataclass(frozen=True)
class Run:
    """One run: which test on which nodes, with which environment. ``name`` is that of the job, where there is one."""

    name: str
    nodes: tuple[str, ...]
    test: Test
    environment: Mapping[str, str]

    @property
    def ranks(self) -> int:
        return len(self.nodes) * self.test.gpus_per_node


def size(text: str) -> int:
    """``8G`` in bytes, as nccl-tests read it (powers of two). Raises ``GpuError`` BG-NCCL-105."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise _unusable(f"{text!r} is no size", "give bytes, or a number with K, M or G")
    return int(match.group(1)) * _UNITS[match.group(2)]


def environment(own: Mapping[str, Any], between_nodes: bool, transport: str | None, debug: str) -> dict[str, str]:
    """The variables of a run. Raises ``GpuError`` BG-NCCL-106 for one that may not be set.

    Between nodes NCCL must not fall back to TCP, unless TCP is what is declared.
    """
    for name, value in own.items():
        if name not in ENVIRONMENT or not _VALUE.fullmatch(str(value)):
            raise GpuError(
                "BG-NCCL-106",
                f"the environment variable {name} may not be set to that value"
                if name in ENVIRONMENT
                else f"the environment variable {name} may not be set",
                "it could change what a result means, run other code, or carry a secret into a log",
                "leave it out; names and values that may be set are listed in docs/nccl-health.md",
            )
    base = {"NCCL_DEBUG": debug.upper()}
    if between_nodes and transport != "socket":
        base["NCCL_NET"] = "IB"
    return {**base, **{name: str(value) for name, value in sorted(own.items())}}


def check_nodes(nodes: Sequence[str], at_least: int) -> None:
    """Raises ``GpuError`` BG-NCCL-108 for names that are none, that come twice, or that are too few."""
    problems = [f"{node!r} is no name of a host" for node in nodes if not _HOST.fullmatch(node)]
    problems += ["a node is named twice"] if len(set(nodes)) != len(nodes) else []
    problems += [f"{len(nodes)} nodes are too few, {at_least} are needed"] if len(nodes) < at_least else []
    if problems:
        raise GpuError(
            "BG-NCCL-108",
            "; ".join(problems),
            "the run would not be about the nodes that are meant",
            "correct hosts, or the limit of the play",
        )


def check_image(image: str | None) -> str:
    """The image. Raises ``GpuError`` BG-NCCL-105 unless it is named by digest."""
    if image is None or not _DIGEST.fullmatch(image):
        raise _unusable(
            f"the image {image!r} is not named by digest",
            "give name@sha256:..., so that all nodes run the same programs and libraries",
        )
    return image


def job_name(prefix: str, number: int, run_id: str) -> str:
    """The name of one job. Raises ``GpuError`` BG-NCCL-105 when it is none."""
    name = f"{prefix}-{run_id}-{number}"
    if not _NAME.fullmatch(name):
        raise _unusable(f"{name!r} is no name of a job", "use lower-case letters, digits and dashes, 50 at most")
    return name


def _unusable(what: str, remedy: str) -> GpuError:
    return GpuError("BG-NCCL-105", what, "a run needs it before anything can be started", remedy)


def direct_command(run: Run) -> list[str]:
    """On one host, without MPI: one process for all its GPUs."""
    return run.test.command(run.test.gpus_per_node)


def mpirun_command(run: Run, mpirun: str, addresses: Mapping[str, str]) -> list[str]:
    """Over several hosts: one rank per GPU. Control traffic of MPI stays off the network under test."""
    per_node = run.test.gpus_per_node
    hosts = ",".join(f"{addresses.get(node, node)}:{per_node}" for node in run.nodes)
    return [
        mpirun,
        *("--host", hosts),
        *("-np", str(run.ranks)),
        *("--map-by", f"ppr:{per_node}:node"),
        *("--bind-to", "numa"),
        *_mpi_settings(run),
        *run.test.command(1),
    ]


def _mpi_settings(run: Run) -> Iterator[str]:
    for name, value in (("pml", "ob1"), ("btl", "tcp,self"), ("coll", "^hcoll")):
        if f"OMPI_MCA_{name}" not in run.environment:
            yield from ("--mca", name, value)
    for name in run.environment:
        if not name.startswith(("OMPI_MCA_", "PRTE_MCA_")):
            yield from ("-x", name)


def probe_command(node: str, own: str, mpirun: str, addresses: Mapping[str, str], query: Sequence[str]) -> list[str]:
    """``query`` on a node: directly on the host itself, else over the launcher that the run will use."""
    if node == own:
        return list(query)
    return [mpirun, "--host", f"{addresses.get(node, node)}:1", "-np", "1", *query]


def manifest(run: Run, pods: PodSettings) -> dict[str, Any]:
    """A Job for one node, an MPIJob for several."""
    return mpi_job(run, pods) if len(run.nodes) > 1 else job(run, pods)


def job(run: Run, pods: PodSettings) -> dict[str, Any]:
    """A Job of one pod on one node, with all its GPUs and neither MPI nor ssh."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(run, pods),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": run.test.limits.job_s + GRACE_S,
            # Should nobody be left to remove it.
            "ttlSecondsAfterFinished": run.test.limits.task_s,
            "template": {
                "metadata": {"labels": LABEL},
                "spec": {
                    **_pod(run, pods, run.nodes),
                    "activeDeadlineSeconds": run.test.limits.job_s,
                    "containers": [_container(run, pods, "nccl-tests", direct_command(run), run.environment)],
                },
            },
        },
    }


def mpi_job(run: Run, pods: PodSettings) -> dict[str, Any]:
    """An MPIJob (kubeflow.org/v2beta1): a launcher without GPUs, and one worker per node with all of them."""
    command = [
        "mpirun",
        *("-np", str(run.ranks)),
        *("--map-by", f"ppr:{run.test.gpus_per_node}:node"),
        *("--bind-to", "numa"),
        *_mpi_settings(run),
        *run.test.command(1),
    ]
    launcher = {
        **_unprivileged(pods),
        "activeDeadlineSeconds": run.test.limits.job_s,
        "containers": [
            {"name": "launcher", "image": pods.image, "command": command, "env": _env({**run.environment, **AS_ROOT})},
        ],
    }
    worker = {
        **_pod(run, pods, run.nodes),
        # One worker per node: they all want the same nodes.
        "affinity": {
            **_on(run.nodes),
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "labelSelector": {
                            "matchLabels": {
                                "training.kubeflow.org/job-name": run.name,
                                "training.kubeflow.org/job-role": "worker",
                            }
                        },
                        "topologyKey": "kubernetes.io/hostname",
                    }
                ]
            },
        },
        "containers": [_container(run, pods, "worker", None, {})],
    }
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": _metadata(run, pods),
        "spec": {
            "slotsPerWorker": run.test.gpus_per_node,
            # The default starts the launcher first, whose ssh then fails while workers are still pulled.
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": run.test.limits.job_s + GRACE_S,
                "ttlSecondsAfterFinished": run.test.limits.task_s,
                # Workers stay until their state was read; who made the job removes it.
                "cleanPodPolicy": "None",
            },
            "mpiReplicaSpecs": {
                "Launcher": {
                    "replicas": 1,
                    "restartPolicy": "Never",
                    "template": {"metadata": {"labels": LABEL}, "spec": launcher},
                },
                "Worker": {
                    "replicas": len(run.nodes),
                    "restartPolicy": "Never",
                    "template": {"metadata": {"labels": LABEL}, "spec": worker},
                },
            },
        },
    }


def _metadata(run: Run, pods: PodSettings) -> dict[str, Any]:
    return {"name": run.name, "namespace": pods.namespace, "labels": LABEL}


def _unprivileged(pods: PodSettings) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
    }
    return {**spec, "priorityClassName": pods.priority_class} if pods.priority_class else spec


def _pod(run: Run, pods: PodSettings, nodes: Sequence[str]) -> dict[str, Any]:
    spec = {
        **_unprivileged(pods),
        "affinity": _on(nodes),
        # A node under test is often cordoned, and GPU nodes carry a taint of their own.
        "tolerations": [
            {"key": pods.resource, "operator": "Exists"},
            {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pods.shared_memory}}],
    }
    return {**spec, "runtimeClassName": pods.runtime_class} if pods.runtime_class else spec


def _on(nodes: Sequence[str]) -> dict[str, Any]:
    """By the node's own name: the label of the hostname may be another."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]} for node in nodes]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _container(
    run: Run, pods: PodSettings, name: str, command: Sequence[str] | None, variables: Mapping[str, str]
) -> dict[str, Any]:
    resources = {pods.resource: str(run.test.gpus_per_node), **pods.resources}
    container: dict[str, Any] = {
        "name": name,
        "image": pods.image,
        "resources": {"limits": resources, "requests": resources},
        # Registered memory of RDMA must stay locked.
        "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 # of the pod
        "env": _env(variables),
    }
    return {**container, "command": list(command)} if command else container


def _env(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
