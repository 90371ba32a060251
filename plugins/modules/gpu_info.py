#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What GPUs a host has and how they are set up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Read what GPUs a host has and hold them against a hardware profile
version_added: "0.1.0"
description:
  - Reads the driver's answer, the PCI bus, DMI, the DGX release, CDI specifications, the container toolkit, MPS control
    daemons, driver versions, NVLinks, RDMA adapters, services, and the kernel log, and returns them as one structure.
  - The driver is asked through NVML where C(nvidia-ml-py) is installed, else by C(nvidia-smi -q -x), else by its CSV.
  - M(baremetal.gpu.gpu_health) judges whether what was read is healthy. This module only compares with a profile.
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
extends_documentation_fragment:
  - baremetal.gpu.attributes
  - baremetal.gpu.attributes.on_host
  - baremetal.gpu.attributes.read_only
seealso:
  - module: baremetal.gpu.gpu_health
  - module: baremetal.gpu.gpu_capacity
  - module: baremetal.gpu.verdict
author:
  - baremetal.gpu contributors (!UNKNOWN)
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
      description: How the driver answered. RV(readings.nvidia_smi.source) says which of its answers was read.
      type: dict
      contains:
        answered:
          description: Whether there is an answer that can be read.
          type: bool
        source:
          description: C(NVML), C(nvidia-smi -q -x) or C(nvidia-smi --query-gpu).
          type: str
        path:
          description: Where C(nvidia-smi) is. V(null) when NVML answered.
          type: str
        return_code:
          description: Its exit status.
          type: int
        elapsed_s:
          description: How long it took, in seconds.
          type: float
        message:
          description: Why there is no answer.
          type: str
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
        ecc_mode_pending:
          description: The ECC mode after the next reset.
          type: str
        inforom_version:
          description: Version of the InfoROM's image.
          type: str
        utilization_percent:
          description: Share of the last sample in which the GPU worked.
          type: int
        performance_state:
          description: Performance state, C(P0) is the highest.
          type: str
        recovery_action:
          description: What the driver advises, C(None) when nothing. V(null) before driver 565.
          type: str
        reset_required:
          description: Whether the driver asks for a reset. V(null) from driver 580 on, which has RV(readings.gpus[].recovery_action).
          type: bool
        pcie:
          description: The PCI Express link and its replays since the last reset.
          type: dict
          sample: {generation_current: 5, generation_max: 5, width_current: 16, width_max: 16, replays: 9}
        ecc:
          description:
            - Errors of memory since the last reset (C(volatile)) and over the board's life (C(aggregate)), and what waits for repair.
            - Drivers count uncorrectable errors of SRAM together or by parity and SEC-DED. What they do not count is V(null).
          type: dict
          sample: {volatile: {dram_uncorrectable: 0}, aggregate: {dram_uncorrectable: 0}, sram_threshold_exceeded: false}
        remapped_rows:
          description: Rows of memory that were replaced, and how many banks still have spare rows.
          type: dict
          sample: {correctable: 0, uncorrectable: 0, pending: false, failure: false, histogram: {max: 2560, none: 0}}
        retired_pages:
          description: Pages of memory that were retired, on GPUs before Ampere.
          type: dict
          sample: {single_bit: null, double_bit: null, pending: null}
        clocks:
          description: Clocks in MHz.
          type: dict
          sample: {graphics_mhz: 345, sm_mhz: 345, memory_mhz: 2619, sm_max_mhz: 1980}
        clock_events:
          description: Why clocks are lower than they could be, under the names of driver 535 and later.
          type: dict
          sample: {idle: true, hw_slowdown: false, hw_thermal_slowdown: false, sw_power_cap: false}
        clock_events_us:
          description: For how long in all, in microseconds. V(null) before driver 570.
          type: dict
          sample: {hw_thermal_slowdown: 0}
        temperature:
          description: Temperatures in degrees Celsius. C(margin_c) is what is left to the limit.
          type: dict
          sample: {gpu_c: 41, margin_c: 46, memory_c: 48}
        power:
          description: Power in watts.
          type: dict
          sample: {draw_w: 69.62, limit_w: 700.0, default_limit_w: 700.0, max_limit_w: 700.0}
        fabric:
          description: The GPU's membership in an NVLink fabric.
          type: dict
          sample: {state: Completed, status: Success, health_summary: null}
        mig_devices:
          description: MIG devices. Their profiles and UUIDs come from C(nvidia-smi -L).
          type: list
          elements: dict
          sample: [{index: 0, gpu_instance: 7, compute_instance: 0, profile: 1g.10gb, uuid: MIG-1, memory_total_bytes: 10468982784}]
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
    nvlinks:
      description: NVLinks by GPU, speeds in GB/s (V(null) for an inactive link) and error counters since the last reset. Empty
        when the driver lists none.
      type: list
      elements: dict
      sample: [{gpu: 0, uuid: GPU-1, speeds_gb_per_s: {"0": 26.562}, errors: {"0": {replay: 0}}, all_inactive: false, refused: null}]
    topology:
      description: How each pair of GPUs is connected, from C(nvidia-smi topo -m). Empty for a single GPU.
      type: dict
      sample: {GPU0-GPU1: NV18}
    rdma_adapters:
      description: RDMA adapters from C(/sys/class/infiniband), with ports, counters, GIDs, network interfaces and PCI links. Rates
        are in Gb/s.
      type: list
      elements: dict
      sample: [{name: mlx5_0, ports: [{number: 1, state: ACTIVE, rate_gb_per_s: 400.0}]}]
    host:
      description: How the host runs.
      type: dict
      contains:
        boot_id:
          description: The kernel's name of this boot.
          type: str
        uptime_s:
          description: Seconds since boot.
          type: float
        memory_errors:
          description: Errors that the memory controllers counted since boot (EDAC).
          type: dict
          sample: {corrected: 0, uncorrected: 0}
        governors:
          description: How many processors have which frequency governor.
          type: dict
          sample: {performance: 224}
        modules:
          description: Which of the modules for GPUs and RDMA are loaded.
          type: list
          elements: str
          sample: [nvidia, nvidia_uvm, nvidia_peermem, mlx5_core, mlx5_ib]
        open_kernel_module:
          description: Whether the driver's kernel module is the open one.
          type: bool
        persistence_daemon:
          description: The unit C(nvidia-persistenced).
          type: dict
          sample: {installed: true, active: true, state: active (running), restarts: 0, active_since_s: 12.5}
        fabric_manager:
          description: The fabric manager's unit and version, and lines of its log that tell errors.
          type: dict
          sample: {service: {installed: true, active: true}, version: 580.95.05, log_errors: []}
    kernel_log:
      description:
        - What the kernel log says about GPUs, NVSwitches, network adapters and memory since boot, bursts joined.
        - C(complete) is V(false) when the beginning was overwritten. V(null) when no log can be read.
      type: dict
      sample:
        source: /dev/kmsg
        complete: true
        lines: 1200
        since_s: null
        events: [{kind: xid, device: "0000:9b:00.0", number: 79, count: 1, first_s: 12.5, last_s: 12.5, message: "NVRM: Xid", details: {}}]
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
