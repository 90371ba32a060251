#!/usr/bin/python
"""What GPUs a host has and how they are set up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Read what GPUs a host has and hold them against a hardware profile
version_added: "0.1.0"
description:
  - Reads the driver's answer (C(nvidia-smi -q -x)), the PCI bus, DMI, the DGX release, CDI specifications, the container
    toolkit, MPS control daemons and driver versions, and returns them as one structure.
  - Never fails because a tool, file or device is absent, and never hangs. Every external call is bounded by O(timeout_s).
  - A value that cannot be read is V(null) and has an entry in RV(readings.missing). It is never 0 and never empty. A GB10
    has no framebuffer, so its memory is V(null) with kind V(not_supported).
  - CDI specifications in YAML are scanned, not parsed, because managed hosts may lack PyYAML. Block style is read, which is
    what C(nvidia-ctk cdi generate) writes. A file that the scan cannot read has an entry in RV(readings.missing).
  - With O(profile), the controller compares the readings with C(data/hardware/<profile>.yml) and returns findings. The
    task itself does not fail on a bad finding. M(baremetal.gpu.verdict) does.
options:
  profile:
    description:
      - Name of a hardware profile in C(data/hardware).
      - Without it the readings are returned and nothing is judged.
    type: str
  expect_cdi:
    description:
      - Whether the host must have a CDI specification for C(nvidia.com/gpu) by now.
      - When not given, an absent specification is no finding; a stale one still is.
    type: bool
  expect_mps:
    description:
      - Whether an MPS control daemon must answer on the host by now.
      - When not given, an absent daemon is no finding; one that died is a warning.
    type: bool
  timeout_s:
    description: How long each called program may take, in seconds.
    type: float
    default: 30
attributes:
  platform:
    description: Target systems.
    platforms: posix
    support: full
  facts:
    description: Sets facts.
    support: none
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_capacity
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors
"""

EXAMPLES = r"""
- name: Read what GPUs the host has
  baremetal.gpu.gpu_info:
  register: gpu

- name: Hold the host against the profile of a DGX Spark
  baremetal.gpu.gpu_info:
    profile: gb10
    expect_cdi: true
    expect_mps: true
  register: gpu

- name: Fail the host when a finding is not ok
  baremetal.gpu.verdict:
    findings: "{{ gpu.baremetal_gpu_findings }}"
    lab: "{{ lab | default(false) }}"
"""

RETURN = r"""
readings:
  description: Everything that was read. A value is V(null) when it is missing.
  returned: success
  type: dict
  contains:
    schema:
      description: Version of this structure.
      type: int
      sample: 1
    simulated:
      description: Whether the host is one of the embedded lab, marked by C(/etc/baremetal-gpu/simulated.json).
      type: bool
    stand_ins:
      description: Which parts of such a host are stand-ins.
      type: list
      elements: str
      sample: [nvml, nvidia-smi, pci]
    nvidia_smi:
      description: How C(nvidia-smi -q -x) answered.
      type: dict
      sample: {answered: true, path: /usr/bin/nvidia-smi, return_code: 0, elapsed_s: 0.21, message: null}
    driver:
      description: Versions of the driver. C(version) is what the driver itself answers, C(kernel_version) and
        C(library_version) are read from the kernel and from the library's file name.
      type: dict
      sample: {version: 580.95.05, cuda_version: "13.0", kernel_version: 580.95.05, library_version: 580.95.05}
    attached_gpus:
      description: The driver's own count.
      type: int
      sample: 1
    gpus:
      description: GPUs as the driver sees them. V(null) when it did not answer.
      type: list
      elements: dict
      contains:
        index:
          description: Position in the driver's answer.
          type: int
        bus_id:
          description: PCI address as the kernel writes it.
          type: str
          sample: "000f:01:00.0"
        uuid:
          description: The GPU's unique name.
          type: str
        minor_number:
          description: Number of its device node.
          type: int
        product_name:
          description: Product name.
          type: str
          sample: NVIDIA GB10
        architecture:
          description: GPU architecture.
          type: str
          sample: Blackwell
        compute_capability:
          description: CUDA compute capability.
          type: str
          sample: "12.1"
        pci_id:
          description: PCI vendor and device.
          type: str
          sample: "10de:2e12"
        vbios_version:
          description: Version of the video BIOS.
          type: str
        gsp_firmware_version:
          description: Version of the GPU system processor's firmware.
          type: str
        memory_total_bytes:
          description: Framebuffer memory. V(null) on GB10, which has none.
          type: int
          sample: 85520809984
        memory_used_bytes:
          description: Framebuffer memory in use.
          type: int
        mig_mode:
          description: V(Enabled) or V(Disabled). V(null) on models without MIG.
          type: str
        mig_mode_pending:
          description: The MIG mode after the next reset.
          type: str
        compute_mode:
          description: Compute mode, C(Exclusive_Process) under MPS.
          type: str
        persistence_mode:
          description: Persistence mode.
          type: str
        ecc_mode:
          description: ECC mode.
          type: str
        processes:
          description: Processes on the GPU, each once.
          type: list
          elements: dict
          sample: [{pid: 2553, kinds: [G], name: /usr/lib/xorg/Xorg, memory_bytes: 18874368}]
    pci_gpus:
      description: NVIDIA GPUs on the PCI bus (classes 0300 and 0302), whether a driver has taken them or not.
      type: list
      elements: dict
      sample: [{address: "000f:01:00.0", pci_id: "10de:2e12", pci_class: "0300", driver: nvidia, numa_node: null}]
    dmi:
      description: The machine's identity, without serial numbers.
      type: dict
      sample: {sys_vendor: NVIDIA, product_name: NVIDIA_DGX_Spark}
    dgx_release:
      description: C(/etc/dgx-release) without its serial number. V(null) on a host that has none.
      type: dict
      sample: {name: DGX Spark, pretty_name: NVIDIA DGX Spark, platform: GX10, software_build_version: 7.2.3, ota_version: 7.6.0}
    cdi_specifications:
      description: CDI specifications, with the driver versions in the names of the libraries they mount.
      type: list
      elements: dict
      sample: [{path: /etc/cdi/nvidia.yaml, version: 0.5.0, kind: nvidia.com/gpu, devices: ["0", all], driver_versions: [580.95.05]}]
    container_toolkit:
      description: The NVIDIA container toolkit.
      type: dict
      sample: {version: 1.17.8}
    mps_daemons:
      description: MPS control daemons, each asked through its pipe.
      type: list
      elements: dict
      sample: [{pipe_directory: /run/nvidia/mps/nvidia.com/gpu/pipe, responding: true}]
    missing:
      description:
        - Why values are missing, by the path of the value.
        - Kinds are V(not_supported) (the device has no such value), V(absent), V(unreadable), V(timeout) and V(failed).
      type: dict
      sample: {"gpus[0].memory_total_bytes": {kind: not_supported, reason: nvidia-smi prints N/A}}
profile:
  description: Name of the profile that the readings were held against.
  returned: with O(profile)
  type: str
baremetal_gpu_findings:
  description: One finding per comparison with the profile.
  returned: with O(profile)
  type: list
  elements: dict
  sample:
    - code: BG-GPU-001
      subject: spark-01
      requirements: [SPARK-02, SPARK-23]
      status: ok
      simulated: false
      reason: 1 GPU, as declared
      evidence: {what: count of GPUs, where: nvidia-smi -q -x, expected: 1, found: 1}
      remedy: ""
      waived: false
      waiver: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils.gpu_readings import collect

ARGUMENTS = {
    # Judged on the controller by the action plugin of the same name, which does not send them to the host.
    "profile": {"type": "str"},
    "expect_cdi": {"type": "bool"},
    "expect_mps": {"type": "bool"},
    "timeout_s": {"type": "float", "default": 30},
}

ROOT = "/"


def main() -> None:
    """Return the host's readings; nothing is changed."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # Administrators' tools may lie outside the login shell's path, as on Rocky under sudo.
    directories = ["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/nvidia/bin"]
    readings = collect(
        ROOT,
        find=lambda name: module.get_bin_path(name, opt_dirs=directories),
        timeout_s=module.params["timeout_s"],
    )
    module.exit_json(changed=False, readings=readings.as_dict())


if __name__ == "__main__":
    main()
