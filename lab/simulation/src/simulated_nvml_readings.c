/* Stand-in for libnvidia-ml.so.1, third part: measurements, PCI and events. */
#include "nvml_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES_PER_MIB_SHIFT = 20, NVIDIA_VENDOR = 0x10de };

static long long value_of(const struct nvml_device *device, const char *name, long long absent)
{
    return hardware_gpu_number(&nvml_hardware, device->index, name, absent);
}

static unsigned long long bytes_of(const struct nvml_device *device, const char *name)
{
    return (unsigned long long)value_of(device, name, 0) << BYTES_PER_MIB_SHIFT;
}

static nvml_result begin_reported(const struct nvml_device *device, const char *name)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS && !hardware_gpu_value(&nvml_hardware, device->index, name))
        result = NVML_NOT_SUPPORTED;
    return result;
}

/* ---- Memory ---- */

nvml_result nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device, struct nvml_memory_v2 *memory)
{
    nvml_result result = begin_reported(device, "memory_total_mib");
    if (result == NVML_SUCCESS) {
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
        const char *is_pending = hardware_gpu_value(&nvml_hardware, device->index, "remapped_rows_pending");
        const char *has_failed = hardware_gpu_value(&nvml_hardware, device->index, "remapped_rows_failure");
        *correctable = (unsigned)value_of(device, "remapped_rows_correctable", 0);
        *uncorrectable = (unsigned)value_of(device, "remapped_rows_uncorrectable", 0);
        *pending = is_pending && strcmp(is_pending, "Yes") == 0;
        *failed = has_failed && strcmp(has_failed, "Yes") == 0;
    }
    return nvml_end(result);
}

/* ---- Load, temperature, power ---- */

nvml_result nvmlDeviceGetUtilizationRates(struct nvml_device *device, struct nvml_utilization *utilization)
{
    nvml_result result = begin_reported(device, "utilization_gpu_percent");
    if (result == NVML_SUCCESS) {
        utilization->gpu = (unsigned)value_of(device, "utilization_gpu_percent", 0);
        utilization->memory = (unsigned)value_of(device, "utilization_memory_percent", 0);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetTemperature(struct nvml_device *device, int sensor, unsigned *degrees)
{
    return nvml_device_number(device, sensor == NVML_MEMORY_TEMPERATURE ? "temperature_memory_c" : "temperature_gpu_c", degrees);
}

nvml_result nvmlDeviceGetPowerUsage(struct nvml_device *device, unsigned *milliwatts)
{
    nvml_result result = begin_reported(device, "power_draw_w");
    if (result == NVML_SUCCESS)
        *milliwatts = (unsigned)(1000 * atof(hardware_gpu_value(&nvml_hardware, device->index, "power_draw_w")));
    return nvml_end(result);
}

/* No process can use a simulated GPU. */
static nvml_result no_processes(struct nvml_device *device, unsigned *count)
{
    *count = 0;
    return nvml_end(nvml_begin_device(device));
}

nvml_result nvmlDeviceGetComputeRunningProcesses_v3(struct nvml_device *device, unsigned *count, void *processes)
{
    (void)processes;
    return no_processes(device, count);
}

nvml_result nvmlDeviceGetGraphicsRunningProcesses_v3(struct nvml_device *device, unsigned *count, void *processes)
{
    (void)processes;
    return no_processes(device, count);
}

/* ---- PCI ---- */

nvml_result nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci)
{
    nvml_result result = nvml_begin_device(device);
    struct hardware_pci_address at;
    if (result == NVML_SUCCESS &&
        !hardware_parse_pci_address(hardware_gpu_value(&nvml_hardware, device->index, "pci_bus_id"), &at))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        memset(pci, 0, sizeof *pci);
        pci->domain = at.domain;
        pci->bus = at.bus;
        pci->device = at.device;
        pci->device_id = (unsigned)value_of(device, "pci_device_id", 0) << 16 | NVIDIA_VENDOR;
        pci->subsystem_id = (unsigned)value_of(device, "pci_subsystem_device_id", 0) << 16 |
                            (unsigned)value_of(device, "pci_subsystem_vendor_id", NVIDIA_VENDOR);
        snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", at.domain, at.bus, at.device);
        snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04X:%02X:%02X.0", at.domain & 0xffff, at.bus & 0xff,
                 at.device & 0x1f);
    }
    return nvml_end(result);
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
        *level = value_of(left, "numa_node", -1) == value_of(right, "numa_node", -1) ? NVML_TOPOLOGY_NODE
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
        set->registered[device->index] = true;
        set->delivered[device->index] = value_of(device, "xid_sequence", 0);
    }
    return nvml_end(result);
}

static bool next_event(struct nvml_event_set *set, struct nvml_event *event)
{
    for (unsigned i = 0; i < hardware_gpu_count(&nvml_hardware); i++) {
        long long sequence = value_of(&nvml_devices[i], "xid_sequence", 0);
        if (!set->registered[i] || sequence == set->delivered[i])
            continue;
        set->delivered[i] = sequence;
        *event = (struct nvml_event){.device = &nvml_devices[i],
                                     .type = NVML_EVENT_XID,
                                     .data = (unsigned long long)value_of(&nvml_devices[i], "xid_code", 0),
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
