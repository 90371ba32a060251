/* Stand-in for libnvidia-ml.so.1, third part: measurements, PCI and events. */
#include "nvml_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES_PER_MIB_SHIFT = 20, NVIDIA_VENDOR = 0x10de };

static unsigned long long bytes_of(const struct nvml_device *device, const char *name)
{
    return (unsigned long long)nvml_value(device, name, 0) << BYTES_PER_MIB_SHIFT;
}

static nvml_result begin_reported(const struct nvml_device *device, const char *name)
{
    nvml_result result = nvml_begin_device(device);
    return result == NVML_SUCCESS && !nvml_reports(device, name) ? NVML_NOT_SUPPORTED : result;
}

/* ---- Memory ---- */

nvml_result nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device, struct nvml_memory_v2 *memory)
{
    struct hardware_gpu_instance gpu_instance;
    struct hardware_compute_instance compute_instance;
    nvml_result result = begin_reported(device, "memory_total_mib");
    if (result == NVML_SUCCESS && device->is_mig && nvml_mig_instances(device, &gpu_instance, &compute_instance)) {
        memory->total = (unsigned long long)gpu_instance.profile.memory_mib << BYTES_PER_MIB_SHIFT;
        memory->reserved = memory->used = 0;
        memory->free = memory->total;
    } else if (result == NVML_SUCCESS) {
        memory->total = bytes_of(device, "memory_total_mib");
        memory->reserved = bytes_of(device, "memory_reserved_mib");
        memory->used = bytes_of(device, "memory_used_mib");
        memory->free = memory->total - memory->reserved - memory->used;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
    struct nvml_memory_v2 detailed;
    nvml_result result = nvmlDeviceGetMemoryInfo_v2(device, &detailed);
    if (result == NVML_SUCCESS) /* the first version of the call counts reserved memory as used */
        *memory = (struct nvml_memory){detailed.total, detailed.free, detailed.used + detailed.reserved};
    return result;
}

nvml_result nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
    nvml_result result = begin_reported(device, "bar1_total_mib");
    if (result == NVML_SUCCESS) {
        memory->total = bytes_of(device, "bar1_total_mib");
        memory->used = bytes_of(device, "bar1_used_mib");
        memory->free = memory->total - memory->used;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned *correctable, unsigned *uncorrectable,
                                      unsigned *pending, unsigned *failed)
{
    nvml_result result = begin_reported(device, "remapped_rows_correctable");
    if (result == NVML_SUCCESS) {
        *correctable = (unsigned)nvml_value(device, "remapped_rows_correctable", 0);
        *uncorrectable = (unsigned)nvml_value(device, "remapped_rows_uncorrectable", 0);
        *pending = nvml_says(device, "remapped_rows_pending", "Yes");
        *failed = nvml_says(device, "remapped_rows_failure", "Yes");
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetRowRemapperHistogram(struct nvml_device *device, unsigned banks[5])
{
    static const char *const names[] = {"max", "high", "partial", "low", "none"};
    nvml_result result = begin_reported(device, "remapped_rows_histogram_max");
    for (unsigned i = 0; result == NVML_SUCCESS && i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "remapped_rows_histogram_%s", names[i]);
        banks[i] = (unsigned)nvml_value(device, name, 0);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetRetiredPages(struct nvml_device *device, int cause, unsigned *count, unsigned long long *pages)
{
    enum { DOUBLE_BIT = 1 };
    const char *name = cause == DOUBLE_BIT ? "retired_pages_double_bit" : "retired_pages_single_bit";
    nvml_result result = begin_reported(device, name);
    (void)pages; /* addresses are not simulated: only a count of 0 can be answered */
    if (result == NVML_SUCCESS) {
        *count = 0;
        if (nvml_value(device, name, 0) != 0)
            result = NVML_NOT_SUPPORTED;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetRetiredPagesPendingStatus(struct nvml_device *device, unsigned *pending)
{
    nvml_result result = begin_reported(device, "retired_pages_pending");
    if (result == NVML_SUCCESS)
        *pending = nvml_says(device, "retired_pages_pending", "Yes");
    return nvml_end(result);
}

enum { UNCORRECTED = 1, AGGREGATE = 1 };

nvml_result nvmlDeviceGetTotalEccErrors(struct nvml_device *device, int kind, int counters, unsigned long long *errors)
{
    nvml_result result = begin_reported(device, "ecc_mode");
    if (result == NVML_SUCCESS && !nvml_says(device, "ecc_mode", "Enabled"))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *errors = (unsigned long long)hardware_ecc_total(&nvml_hardware, device->gpu, counters == AGGREGATE,
                                                         kind == UNCORRECTED);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetMemoryErrorCounter(struct nvml_device *device, int kind, int counters, int location,
                                            unsigned long long *errors)
{
    enum { DRAM = 2, SRAM = 7 };
    const char *set = counters == AGGREGATE ? "aggregate" : "volatile";
    char name[64];
    if (location != DRAM && location != SRAM)
        return nvml_end(nvml_begin_gpu(device) == NVML_SUCCESS ? NVML_NOT_SUPPORTED : NVML_INVALID_ARGUMENT);
    nvml_result result = begin_reported(device, "ecc_mode");
    if (result == NVML_SUCCESS && location == SRAM && kind == UNCORRECTED) {
        *errors = 0;
        for (unsigned i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "ecc_%s_sram_uncorrectable_%s", set, i ? "secded" : "parity");
            *errors += (unsigned long long)nvml_value(device, name, 0);
        }
    } else if (result == NVML_SUCCESS) {
        snprintf(name, sizeof name, "ecc_%s_%s_%s", set, location == DRAM ? "dram" : "sram",
                 kind == UNCORRECTED ? "uncorrectable" : "correctable");
        *errors = (unsigned long long)nvml_value(device, name, 0);
    }
    return nvml_end(result);
}

/* ---- Load, clocks, temperature, power ---- */

nvml_result nvmlDeviceGetUtilizationRates(struct nvml_device *device, struct nvml_utilization *utilization)
{
    nvml_result result = begin_reported(device, "utilization_gpu_percent");
    if (result == NVML_SUCCESS && nvml_says(device, "mig_mode", "Enabled"))
        result = NVML_NOT_SUPPORTED; /* load is not attributed to a GPU that is partitioned */
    if (result == NVML_SUCCESS) {
        utilization->gpu = (unsigned)nvml_value(device, "utilization_gpu_percent", 0);
        utilization->memory = (unsigned)nvml_value(device, "utilization_memory_percent", 0);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetTemperature(struct nvml_device *device, int sensor, unsigned *degrees)
{
    return nvml_device_number(device, sensor == NVML_MEMORY_TEMPERATURE ? "temperature_memory_c" : "temperature_gpu_c", degrees);
}

static nvml_result milliwatts_of(struct nvml_device *device, const char *name, unsigned *milliwatts)
{
    nvml_result result = begin_reported(device, name);
    if (result == NVML_SUCCESS)
        *milliwatts = (unsigned)(1000 * atof(hardware_gpu_value(&nvml_hardware, device->gpu, name)));
    return nvml_end(result);
}

nvml_result nvmlDeviceGetPowerUsage(struct nvml_device *device, unsigned *milliwatts)
{
    return milliwatts_of(device, "power_draw_w", milliwatts);
}

nvml_result nvmlDeviceGetPowerManagementLimit(struct nvml_device *device, unsigned *milliwatts)
{
    return milliwatts_of(device, "power_limit_w", milliwatts);
}

nvml_result nvmlDeviceGetEnforcedPowerLimit(struct nvml_device *device, unsigned *milliwatts)
{
    return milliwatts_of(device, "power_limit_w", milliwatts);
}

nvml_result nvmlDeviceGetPowerManagementDefaultLimit(struct nvml_device *device, unsigned *milliwatts)
{
    return milliwatts_of(device, "power_limit_default_w", milliwatts);
}

nvml_result nvmlDeviceGetPowerManagementLimitConstraints(struct nvml_device *device, unsigned *least, unsigned *most)
{
    nvml_result result = milliwatts_of(device, "power_limit_min_w", least);
    return result == NVML_SUCCESS ? milliwatts_of(device, "power_limit_max_w", most) : result;
}

nvml_result nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device, unsigned long long *millijoules)
{
    nvml_result result = begin_reported(device, "energy_mj");
    if (result == NVML_SUCCESS)
        *millijoules = (unsigned long long)nvml_value(device, "energy_mj", 0);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, int threshold, unsigned *degrees)
{
    (void)threshold, (void)degrees; /* these GPUs have margins instead of thresholds */
    nvml_result result = nvml_begin_gpu(device);
    return nvml_end(result == NVML_SUCCESS ? NVML_NOT_SUPPORTED : result);
}

struct nvml_margin {
    unsigned version;
    int degrees;
};

nvml_result nvmlDeviceGetMarginTemperature(struct nvml_device *device, struct nvml_margin *margin)
{
    nvml_result result = begin_reported(device, "temperature_margin_c");
    if (result == NVML_SUCCESS && margin->version != NVML_STRUCT_VERSION(struct nvml_margin, 1))
        result = NVML_ARGUMENT_VERSION_MISMATCH;
    if (result == NVML_SUCCESS)
        margin->degrees = (int)nvml_value(device, "temperature_margin_c", 0);
    return nvml_end(result);
}

static const char *const clock_names[] = {"graphics", "sm", "memory", "video"};

static nvml_result clock_of(struct nvml_device *device, unsigned kind, const char *suffix, unsigned *mhz)
{
    char name[64];
    if (kind >= sizeof clock_names / sizeof *clock_names)
        return NVML_INVALID_ARGUMENT;
    snprintf(name, sizeof name, "clock_%s%s_mhz", clock_names[kind], suffix);
    return nvml_device_number(device, name, mhz);
}

nvml_result nvmlDeviceGetClockInfo(struct nvml_device *device, unsigned kind, unsigned *mhz)
{
    return clock_of(device, kind, "", mhz);
}

nvml_result nvmlDeviceGetMaxClockInfo(struct nvml_device *device, unsigned kind, unsigned *mhz)
{
    return clock_of(device, kind, "_max", mhz);
}

nvml_result nvmlDeviceGetApplicationsClock(struct nvml_device *device, unsigned kind, unsigned *mhz)
{
    return clock_of(device, kind, "_application", mhz);
}

nvml_result nvmlDeviceGetDefaultApplicationsClock(struct nvml_device *device, unsigned kind, unsigned *mhz)
{
    return clock_of(device, kind, "_application", mhz);
}

nvml_result nvmlDeviceGetClock(struct nvml_device *device, unsigned kind, unsigned which, unsigned *mhz)
{
    enum { CURRENT, APPLICATION, DEFAULT_APPLICATION, CUSTOMER_BOOST };
    if (which == CURRENT)
        return clock_of(device, kind, "", mhz);
    return which == CUSTOMER_BOOST ? clock_of(device, kind, "_customer_max", mhz)
                                   : clock_of(device, kind, "_application", mhz);
}

nvml_result nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device, unsigned long long *reasons)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !hardware_clock_reasons(&nvml_hardware, device->gpu, reasons))
        result = NVML_NOT_SUPPORTED;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device, unsigned long long *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

nvml_result nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device, unsigned long long *reasons)
{
    enum { ALL_REASONS = 0x1ff };
    *reasons = ALL_REASONS;
    return nvml_end(nvml_begin_gpu(device));
}

nvml_result nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device, unsigned long long *reasons)
{
    return nvmlDeviceGetSupportedClocksEventReasons(device, reasons);
}

nvml_result nvmlDeviceGetPerformanceState(struct nvml_device *device, int *state)
{
    nvml_result result = begin_reported(device, "performance_state");
    if (result == NVML_SUCCESS)
        *state = atoi(hardware_gpu_value(&nvml_hardware, device->gpu, "performance_state") + 1); /* "P0" */
    return nvml_end(result);
}

nvml_result nvmlDeviceGetFanSpeed(struct nvml_device *device, unsigned *percent)
{
    return nvml_device_number(device, "fan_speed_percent", percent);
}

static nvml_result sampled_load(struct nvml_device *device, const char *name, unsigned *percent, unsigned *period_us)
{
    enum { SAMPLING_PERIOD_US = 167000 };
    *period_us = SAMPLING_PERIOD_US;
    return nvml_device_number(device, name, percent);
}

nvml_result nvmlDeviceGetEncoderUtilization(struct nvml_device *device, unsigned *percent, unsigned *period_us)
{
    return sampled_load(device, "utilization_encoder_percent", percent, period_us);
}

nvml_result nvmlDeviceGetDecoderUtilization(struct nvml_device *device, unsigned *percent, unsigned *period_us)
{
    return sampled_load(device, "utilization_decoder_percent", percent, period_us);
}

nvml_result nvmlDeviceGetJpgUtilization(struct nvml_device *device, unsigned *percent, unsigned *period_us)
{
    return sampled_load(device, "utilization_jpeg_percent", percent, period_us);
}

nvml_result nvmlDeviceGetOfaUtilization(struct nvml_device *device, unsigned *percent, unsigned *period_us)
{
    return sampled_load(device, "utilization_ofa_percent", percent, period_us);
}

/* ---- Processes: none can use a simulated GPU ---- */

#define NO_PROCESSES(function)                                                                                         \
    nvml_result function(struct nvml_device *device, unsigned *count, void *processes)                                 \
    {                                                                                                                  \
        (void)processes;                                                                                               \
        *count = 0;                                                                                                    \
        return nvml_end(nvml_begin_device(device));                                                                    \
    }
NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses)
NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

/* ---- PCI ---- */

nvml_result nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci)
{
    nvml_result result = nvml_begin_device(device);
    struct hardware_pci_address at;
    if (result == NVML_SUCCESS &&
        !hardware_parse_pci_address(hardware_gpu_value(&nvml_hardware, device->gpu, "pci_bus_id"), &at))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        memset(pci, 0, sizeof *pci);
        pci->domain = at.domain;
        pci->bus = at.bus;
        pci->device = at.device;
        pci->device_id = (unsigned)nvml_value(device, "pci_device_id", 0) << 16 | NVIDIA_VENDOR;
        pci->subsystem_id = (unsigned)nvml_value(device, "pci_subsystem_device_id", 0) << 16 |
                            (unsigned)nvml_value(device, "pci_subsystem_vendor_id", NVIDIA_VENDOR);
        snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", at.domain, at.bus, at.device);
        snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04X:%02X:%02X.0", at.domain & 0xffff, at.bus & 0xff,
                 at.device & 0x1f);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci *pci)
{
    return nvmlDeviceGetPciInfo_v3(device, pci);
}

nvml_result nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci *pci)
{
    return nvmlDeviceGetPciInfo_v3(device, pci);
}

nvml_result nvmlDeviceGetCurrPcieLinkGeneration(struct nvml_device *device, unsigned *generation)
{
    return nvml_device_number(device, "pcie_generation_current", generation);
}

nvml_result nvmlDeviceGetMaxPcieLinkGeneration(struct nvml_device *device, unsigned *generation)
{
    return nvml_device_number(device, "pcie_generation_max", generation);
}

nvml_result nvmlDeviceGetCurrPcieLinkWidth(struct nvml_device *device, unsigned *width)
{
    return nvml_device_number(device, "pcie_width_current", width);
}

nvml_result nvmlDeviceGetMaxPcieLinkWidth(struct nvml_device *device, unsigned *width)
{
    return nvml_device_number(device, "pcie_width_max", width);
}

nvml_result nvmlDeviceGetGpuMaxPcieLinkGeneration(struct nvml_device *device, unsigned *generation)
{
    return nvml_device_number(device, "pcie_generation_device_max", generation);
}

nvml_result nvmlDeviceGetPcieThroughput(struct nvml_device *device, int direction, unsigned *kb_per_s)
{
    return nvml_device_number(device, direction ? "pcie_receive_kb_per_s" : "pcie_transmit_kb_per_s", kb_per_s);
}

nvml_result nvmlDeviceGetPcieReplayCounter(struct nvml_device *device, unsigned *replays)
{
    return nvml_device_number(device, "pcie_replays", replays);
}

/* Two GPUs of one NUMA node meet in the node, others in the system. */
nvml_result nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *left, struct nvml_device *right, int *level)
{
    nvml_result result = nvml_end(nvml_begin_device(left));
    if (result != NVML_SUCCESS)
        return result;
    result = nvml_begin_device(right);
    if (result == NVML_SUCCESS)
        *level = nvml_value(left, "numa_node", -1) == nvml_value(right, "numa_node", -1) ? NVML_TOPOLOGY_NODE
                                                                                     : NVML_TOPOLOGY_SYSTEM;
    return nvml_end(result);
}

/* ---- Events: an Xid is announced by raising gpu.N.xid_sequence after setting gpu.N.xid_code ---- */

enum { POLL_MILLISECONDS = 200 };

struct nvml_event_set {
    bool registered[HARDWARE_MAX_GPUS];
    long long delivered[HARDWARE_MAX_GPUS]; /* the sequence number that was reported last */
};

nvml_result nvmlEventSetCreate(struct nvml_event_set **set)
{
    *set = calloc(1, sizeof **set);
    return *set ? NVML_SUCCESS : NVML_OUT_OF_MEMORY;
}

nvml_result nvmlEventSetFree(struct nvml_event_set *set)
{
    free(set);
    return NVML_SUCCESS;
}

nvml_result nvmlDeviceGetSupportedEventTypes(struct nvml_device *device, unsigned long long *types)
{
    *types = NVML_EVENT_XID;
    return nvml_end(nvml_begin_device(device));
}

nvml_result nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types, struct nvml_event_set *set)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS && (types & NVML_EVENT_XID)) {
        set->registered[device->gpu] = true;
        set->delivered[device->gpu] = nvml_value(device, "xid_sequence", 0);
    }
    return nvml_end(result);
}

static bool next_event(struct nvml_event_set *set, struct nvml_event *event)
{
    for (unsigned i = 0; i < hardware_gpu_places(&nvml_hardware); i++) {
        long long sequence = nvml_value(&nvml_devices[i], "xid_sequence", 0);
        if (!set->registered[i] || sequence <= set->delivered[i])
            continue;
        set->delivered[i] = sequence;
        *event = (struct nvml_event){.device = &nvml_devices[i],
                                     .type = NVML_EVENT_XID,
                                     .data = (unsigned long long)nvml_value(&nvml_devices[i], "xid_code", 0),
                                     .gpu_instance = NVML_NO_INSTANCE,
                                     .compute_instance = NVML_NO_INSTANCE};
        return true;
    }
    return false;
}

nvml_result nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event *event, unsigned milliseconds)
{
    for (unsigned waited = 0;; waited += POLL_MILLISECONDS) {
        nvml_result result = nvml_begin();
        bool found = result == NVML_SUCCESS && next_event(set, event);
        nvml_end(result);
        if (result != NVML_SUCCESS || found)
            return result;
        if (waited >= milliseconds)
            return NVML_TIMEOUT;
        usleep(POLL_MILLISECONDS * 1000);
    }
}

nvml_result nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event *event, unsigned milliseconds)
{
    return nvmlEventSetWait_v2(set, event, milliseconds);
}
