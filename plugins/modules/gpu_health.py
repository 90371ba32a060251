#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host's GPUs and links are healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_health
short_description: Judge whether a host's GPUs and links are healthy
version_added: "0.1.0"
description:
  - Reads what M(baremetal.gpu.gpu_info) reads, counters over a window, the kernel log and, when asked, a diagnostic of DCGM. The
    controller judges it by the declared hardware profile, by the model's thresholds in C(data/thresholds.yml) and by the policy of
    C(data/xid.yml).
  - Each finding has a code, evidence, whom it blames (GPU, port, switch, adapter or host), and an action V(none),
    V(fix_configuration), V(restart_app), V(reset_gpu), V(reboot) or V(rma). The findings of M(baremetal.gpu.gpu_info) are among them.
  - A missing reading, and a model without thresholds, are V(unknown), never V(ok). What a model does not have at all is V(skipped)
    with its reason, as ECC and NVLink of GB10.
  - The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
  - With O(captures), files with the output of programs are judged in place of the host. What they do not show is left out.
options:
  timeout_s:
    description: How long each called program may take, in seconds. DCGM has a limit of its own, O(dcgm_timeout_s).
    type: float
    default: 30
  profile:
    description:
      - Name of a hardware profile in C(data/hardware).
      - Without it nothing is held against a profile, and what only a profile declares (RDMA ports, fabric manager) is not judged.
    type: str
  sharing:
    description:
      - How the GPUs are shared. Under V(mps) the compute mode is C(Exclusive_Process) and an MPS control daemon must answer, under
        V(mig) MIG mode is on and MIG devices are there, else the compute mode is C(Default).
    type: str
    choices: [none, mps, mig, time-slicing]
    default: none
  mig_devices:
    description: How many MIG devices of which profile the host must have in all, with O(sharing=mig). Without it, one per GPU will do.
    type: dict
  expect_cdi:
    description: As of M(baremetal.gpu.gpu_info).
    type: bool
  expect_mps:
    description: As of M(baremetal.gpu.gpu_info). With O(sharing=mps) it is V(true) unless given.
    type: bool
  expect_rdma:
    description: Whether the profile's RDMA ports must have links. When not given, the profile decides.
    type: bool
  rdma_ports:
    description: How many RDMA ports must have links, where the host has fewer than its profile says.
    type: int
  expect_idle:
    description: Whether use of a GPU is a failure, as before a benchmark.
    type: bool
    default: false
  since:
    description:
      - From when on the kernel log counts, as duration (V(30m), V(2h), V(7d)) or ISO 8601. When not given, since boot.
      - Give the time of the last repair, so that what was repaired is not told again.
    type: str
  window_s:
    description: Over how long counters are compared, in seconds, where snapshots of earlier runs allow it.
    type: float
    default: 3600
  minimum_window_s:
    description:
      - The shortest window, in seconds. Earlier snapshots that are younger are not compared with.
      - The first run after a boot has no earlier snapshot and waits this long between two of its own.
    type: float
    default: 1
  state_file:
    description: Where snapshots of the counters are kept on the host. It is not written in check mode.
    type: path
    default: /var/lib/baremetal-gpu/gpu-health.json
  dcgm_report:
    description: A file on the host with the output of C(dcgmi diag -j), of DCGM 3 or 4.
    type: path
  dcgm_level:
    description:
      - Run C(dcgmi diag) at this level. Levels above 1 load the GPUs for minutes, so the node must be drained.
      - Not run in check mode.
    type: int
    choices: [1, 2, 3]
  dcgm_timeout_s:
    description: How long that run may take, in seconds.
    type: float
    default: 1800
  captures:
    description:
      - Files on the host with the output of programs, judged in place of the host itself.
      - Recognised are the XML, report, CSV and table of C(nvidia-smi), C(nvidia-smi -L), C(nvidia-smi nvlink -s),
        C(nvidia-smi topo -m), C(dcgmi diag -j), metrics of DCGM's exporter, kernel logs (C(/dev/kmsg), C(dmesg),
        C(journalctl), syslog), the fabric manager's log, C(ibstat),
        C(ibstatus), and dumps of C(/sys/class/infiniband) as C(path=value) lines. A file may hold several.
    type: list
    elements: path
  on_unknown:
    description:
      - What becomes of what could not be seen. V(fail) keeps it V(unknown), which M(baremetal.gpu.verdict) refuses unless it is waived.
        V(warn) makes it a warning that says so.
    type: str
    choices: [fail, warn]
    default: fail
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.on_host
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_info
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Judge a DGX Spark whose GPU is shared by MPS
  baremetal.gpu.gpu_health:
    profile: gb10
    sharing: mps
  register: health

- name: Fail the host when a finding is not ok
  baremetal.gpu.verdict:
    findings: "{{ health.baremetal_gpu_findings }}"
    lab: "{{ lab | default(false) }}"

- name: Judge a server with eight H100 after its repair, with DCGM's quick tests
  baremetal.gpu.gpu_health:
    profile: h100-sxm-8
    since: 2h
    dcgm_level: 1
  register: health

- name: Judge what somebody sent from a machine that is not reachable
  baremetal.gpu.gpu_health:
    profile: h100-sxm-8
    captures: [/tmp/nvidia-smi-q.xml, /tmp/dmesg.txt]
  delegate_to: localhost
  register: health

- name: Tell what to do, the worst first
  ansible.builtin.debug:
    msg: "{{ health.baremetal_gpu_findings | selectattr('status', 'equalto', 'fail') | map(attribute='reason') }}"
"""

RETURN = r"""
readings:
  description:
    - The readings of M(baremetal.gpu.gpu_info), with C(counters) and C(dcgm).
    - C(counters.deltas) has the difference of each counter over C(counters.window_s), C(counters.unknown) why a difference is not
      known, because the counter went backwards or was not read before.
  returned: success, without O(captures)
  type: dict
  sample:
    counters:
      window_s: 3600.2
      reason: null
      deltas: {"port:mlx5_0/1|link_downed": 0}
      unknown: {"port:mlx5_1/1|link_downed": "it went backwards, from 4 to 0"}
      state_file: /var/lib/baremetal-gpu/gpu-health.json
    dcgm: null
captures:
  description: What each file showed, or the reason why it showed nothing.
  returned: with O(captures)
  type: list
  elements: dict
  sample: [{path: /tmp/dmesg.txt, reason: null, captures: [{parts: [kernel_log], readings: {}}]}]
baremetal_gpu_findings:
  description: One finding per check. C(action) and C(blame) are left out where nothing is bad.
  returned: success
  type: list
  elements: dict
  sample:
    - code: BG-HEALTH-015
      subject: onyx-g1
      requirements: [ONYX-R016]
      status: fail
      simulated: false
      reason: "0000:12:00.0: a row waits for a reset to be remapped"
      evidence: {what: row remapping that waits, where: nvidia-smi -q -x, expected: null, found: {"0000:12:00.0": true}}
      remedy: drain the node and reset the GPU
      waived: false
      waiver: null
      action: reset_gpu
      blame: [{kind: gpu, name: GPU-1, bus_id: "0000:12:00.0"}]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import health_readings
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

ARGUMENTS = {
    "profile": {"type": "str"},
    "sharing": {"type": "str", "choices": ["none", "mps", "mig", "time-slicing"], "default": "none"},
    "mig_devices": {"type": "dict"},
    "expect_cdi": {"type": "bool"},
    "expect_mps": {"type": "bool"},
    "expect_rdma": {"type": "bool"},
    "rdma_ports": {"type": "int"},
    "expect_idle": {"type": "bool", "default": False},
    "since": {"type": "str"},
    "window_s": {"type": "float", "default": 3600},
    "minimum_window_s": {"type": "float", "default": 1},
    "state_file": {"type": "path", "default": "/var/lib/baremetal-gpu/gpu-health.json"},
    "dcgm_report": {"type": "path"},
    "dcgm_level": {"type": "int", "choices": [1, 2, 3]},
    "dcgm_timeout_s": {"type": "float", "default": 1800},
    "captures": {"type": "list", "elements": "path"},
    "on_unknown": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
    "timeout_s": {"type": "float", "default": 30},
}

# The rest is judged on the controller by the action plugin of the same name, which does not send it to the host.
FOR_THE_HOST = (
    "since",
    "window_s",
    "minimum_window_s",
    "state_file",
    "dcgm_report",
    "dcgm_level",
    "dcgm_timeout_s",
    "captures",
    "timeout_s",
)

ROOT = "/"


def main() -> None:
    """Return the host's readings, or those of captures; nothing is changed but the state file of the counters."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=[("dcgm_report", "dcgm_level")]
    )
    if module.params["captures"]:
        module.exit_json(changed=False, captures=health_readings.read_captures(module.params["captures"]))
    # Administrators' tools may lie outside the login shell's path, as on Rocky under sudo.
    directories = ["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/nvidia/bin"]

    def find(name: str) -> str | None:
        path: str | None = module.get_bin_path(name, opt_dirs=directories)
        return path

    try:
        readings = health_readings.collect(ROOT, find, module.params, module.check_mode)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, readings=readings)


if __name__ == "__main__":
    main()
