#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs of nccl-tests showed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_health
short_description: Run nccl-tests, judge their output, and find the node, rail or link that slows them
version_added: "0.1.0"
description:
  - With O(mode=judge) reads logs of nccl-tests (C(all_reduce_perf) and its sisters, all versions from 2.0 on) or their JSON reports
    on the host where the task runs, and judges them on the controller. Nothing is started.
  - With O(mode=run) runs nccl-tests and judges what they print. On hosts with C(mpirun), or without it on the task's own host alone;
    on a cluster as a Job for one node and as an MPIJob for several.
  - With O(mode=isolate) runs them between pairs of nodes, in rounds of pairs side by side, until the bad node, its rails, or the link
    is known. One host of the play does it for all.
  - A run is healthy when it came to its end, returned right data, ran on the declared GPUs, and reached the threshold of its
    topology at its largest message. An exit status of 0 and the average over a sweep are no evidence and are not looked at.
  - What the log does not show is unknown, never ok. A topology or collective without a threshold in C(data/thresholds.yml) is
    unknown unless O(minimum_busbw_gb_per_s) gives the site's own.
  - A failure is explained by the signatures in C(data/signatures/nccl.yml). The first line of the highest level is the cause, the others
    are evidence.
  - Before anything is started every node is looked at. A node whose GPUs are shared (MPS, time-slicing, MIG), in use, not as many as
    declared, or that does not answer refuses the whole task. Every run ends by itself (option C(-T) of the tests), by the limit of
    its job, or by that of the task, and what was made for it is removed in any case.
  - Logs of any size are read in bounded memory. The environment that a JSON report holds is never returned.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
options:
  mode:
    description: Whether output that is there is judged, tests are run, or a bad node is isolated.
    type: str
    choices: [judge, run, isolate]
    default: judge
  run:
    description: The permission to start programs on GPUs. Without it V(run) and V(isolate) are refused.
    type: bool
    default: false
  launcher:
    description: Where tests run. V(mpirun) needs Open MPI and ssh between the hosts, V(kubernetes) for several nodes the MPI operator.
    type: str
    choices: [mpirun, kubernetes]
    default: mpirun
  gpus_per_node:
    description: GPUs that every node has, all of which are used. Required for V(run) and V(isolate).
    type: int
  min_bytes:
    description: Smallest message of O(mode=run), in bytes or with K, M or G (powers of 1024). V(1G) when not given.
    type: str
  max_bytes:
    description:
      - Largest message. When not given, the largest that the topology allows, else V(8G).
      - A topology may have a limit, above which its machines froze; a larger message is refused.
    type: str
  iterations:
    description: Measured repetitions of each message.
    type: int
    default: 20
  warmup_iterations:
    description: Repetitions before them.
    type: int
    default: 5
  program_directory:
    description: Directory of the programs on the hosts or in the image. When not given, they are looked up in the path.
    type: str
    default: ""
  program_suffix:
    description: What the names of the programs that were built with MPI end with.
    type: str
    choices: ["", _mpi]
    default: ""
  environment:
    description: Environment of the run. Only variables that C(docs/nccl-health.md) lists may be set.
    type: dict
    default: {}
  debug:
    description: Level of NCCL's messages. V(info) names transports and network devices.
    type: str
    choices: [warn, info]
    default: warn
  test_timeout_s:
    description: Limit of one collective, which the tests themselves keep, in seconds.
    type: int
    default: 300
  job_timeout_s:
    description: Limit of one launcher or job, in seconds. Above O(test_timeout_s).
    type: int
    default: 600
  task_timeout_s:
    description: Limit of the whole task with all its rounds, in seconds. Above O(job_timeout_s).
    type: int
    default: 3600
  mpirun:
    description: Program of Open MPI.
    type: str
    default: mpirun
  addresses:
    description: Under which name or address the launcher reaches a host, where that is not the host's name in the inventory.
    type: dict
    default: {}
  classes:
    description:
      - Class of nodes (leaf switch or rail group) by node, for V(isolate). Only pairs of one class are compared with each other.
      - Nodes without one are in a class of their own together.
    type: dict
    default: {}
  rails:
    description:
      - Names of the network adapters beside GPU 0, 1 and so on, for V(isolate). Convicted nodes are then tested rail by rail.
    type: list
    elements: str
    default: []
  seed:
    description: Draws the pairs of V(isolate) at random, repeatably. When not given, they follow the order of O(hosts).
    type: int
  kubeconfig:
    description: Path of the kubeconfig on the controller. Required for O(launcher=kubernetes).
    type: path
  context:
    description: Context of the kubeconfig. When not given, the current one.
    type: str
  namespace:
    description: Namespace of the jobs.
    type: str
    default: default
  name:
    description: What the names of jobs begin with.
    type: str
    default: nccl-health
  image:
    description: Image with nccl-tests, by digest (C(name@sha256:...)). Required for O(launcher=kubernetes).
    type: str
  resource:
    description: Resource that is a node's GPUs.
    type: str
    default: nvidia.com/gpu
  resources:
    description: Further resources of each pod with GPUs, for example of RDMA devices.
    type: dict
    default: {}
  runtime_class:
    description: Runtime class of pods with GPUs.
    type: str
  priority_class:
    description: Priority class of all pods.
    type: str
  shared_memory:
    description: Size of C(/dev/shm) in pods with GPUs, as a quantity.
    type: str
    default: 16Gi
  request_timeout_s:
    description: How long one request to the cluster may take, in seconds.
    type: float
    default: 30
  poll_interval_s:
    description: Time between two looks at jobs that run, in seconds.
    type: float
    default: 2
  simulated:
    description: Whether the GPUs are simulated. Every finding about what was run is then marked.
    type: bool
    default: false
  logs:
    description: Files with what the launcher printed (standard output and error).
    type: list
    elements: path
  reports:
    description: Files that nccl-tests wrote with C(-J). For V(judge) at least one of O(logs) and O(reports) is needed.
    type: list
    elements: path
  topology:
    description:
      - Name of a topology in C(data/thresholds.yml), for example V(h100-sxm-8) or V(gb10-pair).
      - Without it, and without O(minimum_busbw_gb_per_s), bandwidth is unknown.
    type: str
  minimum_busbw_gb_per_s:
    description: The site's own threshold for every collective in O(collectives), in GB/s (1e9 bytes); goes before the topology's.
    type: float
  collectives:
    description:
      - For V(judge), collectives that must be there, for example V(all_reduce). Others in the log are judged as well.
      - For V(run), those to run one after the other; V(isolate) takes the first. V(all_reduce) when not given.
    type: list
    elements: str
    default: []
  ranks:
    description: Number of ranks that must have run.
    type: int
  hosts:
    description:
      - For V(judge), names of exactly the hosts on which ranks must have run, as nccl-tests prints them.
      - For V(run), the nodes to run on. When not given, the task's own host alone.
      - For V(isolate), the nodes to measure. When not given, the hosts of the play, so that C(--limit) chooses them.
      - With O(launcher=kubernetes) these are names of nodes.
    type: list
    elements: str
    default: []
  transport:
    description:
      - Transport that must have carried the traffic. NCCL names it at its debug level INFO only.
      - V(ib) is RDMA over any kind of link, V(infiniband) and V(roce) ask for the kind of link too.
    type: str
    choices: [ib, infiniband, nvls, p2p, roce, shm, socket]
  nccl_version:
    description: Release of NCCL that must have been used, or its beginning. V(2.18) is any patch of it.
    type: str
  strict:
    description: Whether the worse half of a row is judged (out of place, in place) instead of the better one.
    type: bool
    default: false
  subject:
    description: What the findings are about. The host's name when not given. With several files their names are added.
    type: str
  probes:
    description: Set by the controller, which knows what is asked before a run. Not for use in playbooks.
    type: list
    elements: dict
  runs:
    description: Set by the controller, which knows what is run. Not for use in playbooks.
    type: list
    elements: dict
  signatures:
    description: Set by the controller, which has the data. Not for use in playbooks.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    support: full
    details: Judges as always. Instead of running it looks at the nodes, refuses as a run would, and returns what would be run.
  diff_mode:
    support: N/A
    details: Nothing stays that could differ.
  idempotent:
    support: full
    details: What a run made is removed, so nothing changes.
  action:
    description: A part runs on the controller.
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
requirements:
  - nccl-tests with the option C(-T) where they are run
seealso:
  - module: baremetal.gpu.gpu_info
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Judge the run on one server with eight H100
  baremetal.gpu.nccl_health:
    logs: [/var/log/nccl/all_reduce.log]
    topology: h100-sxm-8
    collectives: [all_reduce]
    ranks: 8
    transport: nvls
  register: nccl

- name: Judge the run between two DGX Sparks
  baremetal.gpu.nccl_health:
    logs: [/var/log/nccl/pair.log]
    topology: gb10-pair
    collectives: [all_gather]
    hosts: [spark-01, spark-02]
  register: nccl

- name: Run all_reduce over the eight GPUs of each host by itself
  baremetal.gpu.nccl_health:
    mode: run
    run: "{{ nccl_may_run }}"
    gpus_per_node: 8
    topology: h100-sxm-8
    debug: info
    transport: nvls
  register: nccl

- name: Run it over two nodes of a cluster
  baremetal.gpu.nccl_health:
    mode: run
    run: true
    launcher: kubernetes
    kubeconfig: ~/.kube/onyx.yaml
    image: registry.example/nccl-tests@sha256:0000000000000000000000000000000000000000000000000000000000000000
    hosts: [onyx-g1, onyx-g2]
    gpus_per_node: 8
    resources: {rdma/hca: 1}
    topology: h100-sxm-8-pair
  delegate_to: localhost
  run_once: true
  register: nccl

- name: Find the bad node among the hosts of the play
  baremetal.gpu.nccl_health:
    mode: isolate
    run: true
    gpus_per_node: 8
    topology: h100-sxm-8-pair
    rails: [mlx5_0, mlx5_3, mlx5_4, mlx5_5, mlx5_6, mlx5_9, mlx5_10, mlx5_11]
    environment: {NCCL_SOCKET_IFNAME: eth0}
  register: nccl

- name: Fail when a finding is not ok
  baremetal.gpu.verdict:
    findings: "{{ nccl.baremetal_gpu_findings }}"
"""

RETURN = r"""
plan:
  description:
    - What would be run, in check mode. One entry per round, with its runs.
    - For V(isolate) the rounds as they come while every pair is healthy. Bad pairs add rounds, which only they determine.
  returned: check mode, with O(mode=run) or O(mode=isolate)
  type: list
  elements: dict
  sample: [{round: 1, stage: 2, runs: [{name: nccl-health-0-1, nodes: [onyx-g1, onyx-g2], command: [mpirun, "..."]}]}]
outcomes:
  description: How each run of V(run) ended, with its output as in RV(readings).
  returned: success, with O(mode=run)
  type: list
  elements: dict
  contains:
    ended:
      description: V(by-itself), V(deadline) or V(not-started).
      type: str
      sample: by-itself
    exit_code:
      description: Exit status of the launcher. No evidence for anything.
      type: int
      sample: 0
measurements:
  description: Every measurement of V(isolate), in order.
  returned: success, with O(mode=isolate)
  type: list
  elements: dict
  sample: [{round: 1, stage: 2, first: onyx-g1, second: onyx-g2, rail: null, busbw_gb_per_s: 351.2, minimum_gb_per_s: 330.0, bad: false, failure: null}]
readings:
  description: What was read, one entry per file.
  returned: success, with O(mode=judge)
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /var/log/nccl/all_reduce.log
    lines:
      description: Lines of a log. V(0) for a report.
      type: int
      sample: 41
    transports:
      description: Transports that NCCL named.
      type: dict
      sample: {nvls: 1}
    matches:
      description: Signatures of failures with the first line of each.
      type: list
      elements: dict
      sample: [{id: nvls_multicast_bind, line: 12, count: 8, text: "Failed to bind NVLink SHARP (NVLS) Multicast memory"}]
    blocks:
      description:
        - One entry per run of a collective, with options, ranks and rows. Bandwidths are in GB/s (1e9 bytes), times in microseconds.
        - A rank has the PCI address of its GPU, and the names of its network devices where NCCL named them (level INFO).
      type: list
      elements: dict
baremetal_gpu_findings:
  description: The findings about all files, all runs, or what was isolated.
  returned: success
  type: list
  elements: dict
  sample:
    - code: BG-NCCL-002
      subject: onyx-g1 all_reduce
      requirements: [ONYX-R017]
      status: ok
      simulated: false
      reason: all_reduce reaches 481.9 GB/s at 17179869184 bytes, at least 440
      evidence: {where: /var/log/nccl/all_reduce.log, busbw_gb_per_s: 481.9}
      remedy: ""
      waived: false
      waiver: null
"""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.json_report import MAXIMUM_BYTES, block_from
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.reading import Reading, read
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.running import run_all
from ansible_collections.baremetal.gpu.plugins.module_utils.nccl.signatures import Scanner

ARGUMENTS: Dict[str, Any] = {
    "mode": {"type": "str", "choices": ["judge", "run", "isolate"], "default": "judge"},
    "run": {"type": "bool", "default": False},
    "launcher": {"type": "str", "choices": ["mpirun", "kubernetes"], "default": "mpirun"},
    "gpus_per_node": {"type": "int"},
    "min_bytes": {"type": "str"},
    "max_bytes": {"type": "str"},
    "iterations": {"type": "int", "default": 20},
    "warmup_iterations": {"type": "int", "default": 5},
    "program_directory": {"type": "str", "default": ""},
    "program_suffix": {"type": "str", "choices": ["", "_mpi"], "default": ""},
    "environment": {"type": "dict", "default": {}},
    "debug": {"type": "str", "choices": ["warn", "info"], "default": "warn"},
    "test_timeout_s": {"type": "int", "default": 300},
    "job_timeout_s": {"type": "int", "default": 600},
    "task_timeout_s": {"type": "int", "default": 3600},
    "mpirun": {"type": "str", "default": "mpirun"},
    "addresses": {"type": "dict", "default": {}},
    "classes": {"type": "dict", "default": {}},
    "rails": {"type": "list", "elements": "str", "default": []},
    "seed": {"type": "int"},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "namespace": {"type": "str", "default": "default"},
    "name": {"type": "str", "default": "nccl-health"},
    "image": {"type": "str"},
    "resource": {"type": "str", "default": "nvidia.com/gpu"},
    "resources": {"type": "dict", "default": {}},
    "runtime_class": {"type": "str"},
    "priority_class": {"type": "str"},
    "shared_memory": {"type": "str", "default": "16Gi"},
    "request_timeout_s": {"type": "float", "default": 30},
    "poll_interval_s": {"type": "float", "default": 2},
    "simulated": {"type": "bool", "default": False},
    "logs": {"type": "list", "elements": "path"},
    "reports": {"type": "list", "elements": "path"},
    # Judged on the controller by the action plugin of the same name, which does not send them to the host.
    "topology": {"type": "str"},
    "minimum_busbw_gb_per_s": {"type": "float"},
    "collectives": {"type": "list", "elements": "str", "default": []},
    "ranks": {"type": "int"},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "transport": {"type": "str", "choices": ["ib", "infiniband", "nvls", "p2p", "roce", "shm", "socket"]},
    "nccl_version": {"type": "str"},
    "strict": {"type": "bool", "default": False},
    "subject": {"type": "str"},
    "probes": {"type": "list", "elements": "dict"},
    "runs": {"type": "list", "elements": "dict"},
    "signatures": {"type": "list", "elements": "dict", "default": []},
}

REQUIRED_IF = [
    ("mode", "judge", ("logs", "reports", "probes", "runs"), True),
    ("mode", "run", ("gpus_per_node",)),
    ("mode", "isolate", ("gpus_per_node",)),
    ("launcher", "kubernetes", ("kubeconfig", "image")),
]

PROBE_TIMEOUT_S = 60.0
PROBES_AT_ONCE = 16

CHUNK_BYTES = 262144


def scanner_of(signatures: List[Dict[str, Any]]) -> Scanner:
    """Raises ``GpuError`` BG-NCCL-103 for signatures that cannot be used."""
    try:
        return Scanner(signatures)
    except (KeyError, ValueError, re.error) as error:
        raise GpuError(
            "BG-NCCL-103",
            "the signatures cannot be used ({0})".format(error),
            "a failure could not be explained",
            "restore data/signatures/nccl.yml from the collection",
        ) from error


def read_log(path: str, signatures: List[Dict[str, Any]]) -> Dict[str, Any]:
    """One log. Raises ``GpuError`` BG-NCCL-102 when it cannot be read, BG-NCCL-103 for signatures that cannot be used."""
    scanner = scanner_of(signatures)
    try:
        with open(path, "rb") as file:
            reading = read(iter(lambda: file.read(CHUNK_BYTES), b""), scanner)
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    return dict(reading.as_dict(), path=path)


def read_report(path: str) -> Dict[str, Any]:
    """One JSON report. Raises ``GpuError`` BG-NCCL-102 when it is none."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAXIMUM_BYTES + 1).decode("utf-8", "replace")
        block = block_from(text)
    except (OSError, ValueError) as error:
        raise unreadable(path, str(error)) from error
    return dict(Reading(blocks=[block]).as_dict(), path=path)


def unreadable(path: str, reason: str) -> GpuError:
    return GpuError(
        "BG-NCCL-102",
        "{0} cannot be read ({1})".format(path, reason),
        "without the output of a run nothing can be judged",
        "give the file that the run wrote, on the host where this task runs",
    )


def answer(probe: Mapping[str, Any]) -> Dict[str, Any]:
    """What a program says that only looks: ``output`` is None when it gave no answer, and then ``message`` says why."""
    try:
        completed = bounded.run([str(word) for word in probe["command"]], PROBE_TIMEOUT_S)
    except OSError as error:
        return {
            "name": probe["name"],
            "output": None,
            "message": "{0}: {1}".format(probe["command"][0], error.strerror),
        }
    if completed.return_code != 0:
        said = (completed.errors or completed.output).strip().splitlines()
        reason = "no answer in time" if completed.timed_out else (said[0][:300] if said else "no reason")
        return {"name": probe["name"], "output": None, "message": reason}
    return {"name": probe["name"], "output": completed.output, "message": ""}


def main() -> None:
    """Return what files hold, what programs that only look say, or how runs ended. Nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=REQUIRED_IF)
    result: Dict[str, Any] = {"changed": False}
    try:
        result["readings"] = [read_log(path, module.params["signatures"]) for path in module.params["logs"] or ()]
        result["readings"] += [read_report(path) for path in module.params["reports"] or ()]
        if module.params["probes"]:
            with ThreadPoolExecutor(max_workers=PROBES_AT_ONCE) as pool:
                result["answers"] = list(pool.map(answer, module.params["probes"]))
        if module.params["runs"] and not module.check_mode:
            scanner_of(module.params["signatures"])
            result["outcomes"] = run_all(module.params["runs"], module.params["signatures"])
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
