#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is before anything is installed on it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight
short_description: Read what a host is and hold it against what the inventory declares
version_added: "0.1.0"
description:
  - Reads in one call what decides whether a host can become a GPU node, as C(readings.host), and its GPUs as M(baremetal.gpu.gpu_info) does, as
    C(readings.gpu). Changes nothing, never fails because something is absent, and never hangs.
  - The controller compares the readings with the options and with C(data/platforms.yml) and C(data/hardware/<profile>.yml), and returns findings
    (BG-HOST-001 to BG-HOST-017, and those of M(baremetal.gpu.gpu_info) that nothing repairs later in a run).
    The task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
  - What cannot be read is V(null) with an entry in C(readings.host.missing), and its finding is V(unknown). In a container, memory and clock are
    the surrounding machine's, and so unknown.
options:
  profile:
    description: Name of a hardware profile in C(data/hardware); without it nothing is said about GPUs and memory.
    type: str
  architecture:
    description: Architecture that the host must have, where it is not the one of its profile.
    type: str
    choices: [amd64, arm64]
  node_ip:
    description: Address that the node will announce, or one of each family separated by a comma. An interface of the host must have it.
    type: str
  link_gbps:
    description: Least speed of the link that carries the node address, in Gbit/s; 0 for any.
    type: int
    default: 0
  disk_path:
    description: Where images and pods' files will lie.
    type: path
    default: /var/lib
  disk_free_gb:
    description: Room that must be free there, in GB (1000³ bytes); 0 for any.
    type: int
    default: 0
  ports:
    description: Ports, as C(10250/tcp), that O(service) will listen on, and that must be free until it runs.
    type: list
    elements: str
    default: []
  service:
    description: The unit that makes the host a node in this way, for example C(k3s-agent.service).
    type: str
  k3s_server:
    description: Server that a k3s agent on the host must belong to, when one is configured already.
    type: str
  targets:
    description: Addresses that the host must be able to connect to.
    type: list
    elements: str
    default: []
  timeout_s:
    description: How long each called program may take, and all connections together, in seconds.
    type: float
    default: 5
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.on_host
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_info
  - module: baremetal.gpu.host_twins
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Hold the host against what is declared
  baremetal.gpu.host_preflight:
    profile: gb10
    node_ip: 10.0.0.21
    link_gbps: 10
    ports: [10250/tcp, 8472/udp]
    service: k3s-agent.service
    targets: ["https://10.0.0.20:6443"]
  register: host

- name: Fail the host when a finding is not ok
  baremetal.gpu.verdict:
    findings: "{{ host.baremetal_gpu_findings }}"
    preconditions: true
"""

RETURN = r"""
readings:
  description: Everything that was read. A value is V(null) when it is missing.
  returned: success
  type: dict
  contains:
    host:
      description: What the host is.
      type: dict
      sample:
        schema: 1
        container: false
        os: {id: ubuntu, version_id: "24.04", pretty_name: Ubuntu 24.04 LTS}
        architecture: aarch64
        cgroup_version: 2
        memory_bytes: 130595921920
        swaps: [{path: /swap.img, size_bytes: 17179865088}]
        disk: {path: /var/lib, free_bytes: 3000000000000}
        clock_synchronised: true
        hostname: spark-01
        machine_id: a digest of the machine id
        interfaces:
          - name: enP7s7
            up: true
            hardware: true
            speed_mbit: 10000
            addresses: [{address: 10.0.0.21, prefix: 24, leased: false}]
        default_interface: enP7s7
        listening: {tcp: [22], udp: [68]}
        units: {ufw.service: {active: inactive, enabled: disabled, load: loaded}}
        ufw_enabled: false
        k3s: {server: null, installer: []}
        targets: [{target: "https://10.0.0.20:6443", reached: true, reason: ""}]
        missing: {}
    gpu:
      description: The readings of M(baremetal.gpu.gpu_info).
      type: dict
baremetal_gpu_findings:
  description: One finding per comparison.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import gpu_readings, host_readings

ROOT = "/"


def main() -> None:
    """Return the host's readings; nothing is changed."""
    module = AnsibleModule(argument_spec=host_readings.ARGUMENTS, supports_check_mode=True)
    # Administrators' tools may lie outside the login shell's path, as on Rocky under sudo.
    directories = ["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/nvidia/bin"]

    def find(name: str) -> str | None:
        path: str | None = module.get_bin_path(name, opt_dirs=directories)
        return path

    options = module.params
    host = host_readings.collect(ROOT, find, options["targets"], options["disk_path"], options["timeout_s"])
    gpu = gpu_readings.collect(ROOT, find=find, timeout_s=options["timeout_s"], health=False)
    module.exit_json(changed=False, readings={"host": host, "gpu": gpu.as_dict()})


if __name__ == "__main__":
    main()
