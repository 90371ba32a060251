/* Stand-in for libnvidia-ml.so.1, second part: what a device is and how it is set. */
#include "nvml_abi.h"

#include <stdio.h>
#include <string.h>

/* A value that is "Enabled" or "Disabled", as 1 or 0. */
static nvml_result device_switch(const struct nvml_device *device, const char *name, unsigned *current,
                                 unsigned *pending)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        const char *value = hardware_gpu_value(&nvml_hardware, device->gpu, name);
        if (!value)
            result = NVML_NOT_SUPPORTED;
        else
            *current = strcmp(value, "Enabled") == 0;
        if (value && pending)
            *pending = *current;
    }
    return nvml_end(result);
}

/* ---- Identity ---- */

nvml_result nvmlDeviceGetUUID(struct nvml_device *device, char *buffer, unsigned size)
{
    struct hardware_gpu_instance gpu_instance;
    struct hardware_compute_instance compute_instance;
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS)
        result = nvml_copy_text(device->is_mig && nvml_mig_instances(device, &gpu_instance, &compute_instance)
                                    ? compute_instance.uuid
                                    : hardware_gpu_value(&nvml_hardware, device->gpu, "uuid"),
                                buffer, size);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetName(struct nvml_device *device, char *buffer, unsigned size)
{
    struct hardware_gpu_instance gpu_instance;
    struct hardware_compute_instance compute_instance;
    char mig[64] = "", name[160];
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        if (device->is_mig && nvml_mig_instances(device, &gpu_instance, &compute_instance))
            hardware_mig_name(&gpu_instance.profile, compute_instance.slices, mig, sizeof mig);
        snprintf(name, sizeof name, "%s%s%s", hardware_gpu_value(&nvml_hardware, device->gpu, "name"), *mig ? " " : "", mig);
        result = nvml_copy_text(name, buffer, size);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetSerial(struct nvml_device *device, char *buffer, unsigned size)
{
    return nvml_device_text(device, "serial", buffer, size);
}

nvml_result nvmlDeviceGetVbiosVersion(struct nvml_device *device, char *buffer, unsigned size)
{
    return nvml_device_text(device, "vbios_version", buffer, size);
}

nvml_result nvmlDeviceGetBoardPartNumber(struct nvml_device *device, char *buffer, unsigned size)
{
    return nvml_device_text(device, "board_part_number", buffer, size);
}

nvml_result nvmlDeviceGetGspFirmwareVersion(struct nvml_device *device, char *buffer)
{
    enum { GSP_VERSION_SIZE = 64 }; /* the interface gives no size; its documentation says 0x40 */
    return nvml_device_text(device, "gsp_firmware_version", buffer, GSP_VERSION_SIZE);
}

nvml_result nvmlDeviceGetIndex(struct nvml_device *device, unsigned *index)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS)
        *index = hardware_gpu_index(&nvml_hardware, device->gpu);
    return nvml_end(result);
}

/* The number of the device node, which stays when another GPU is gone. */
nvml_result nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned *minor)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS)
        *minor = device->gpu;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetModuleId(struct nvml_device *device, unsigned *module)
{
    return nvml_device_number(device, "module_id", module);
}

nvml_result nvmlDeviceGetBoardId(struct nvml_device *device, unsigned *board)
{
    struct hardware_pci_address at;
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS &&
        !hardware_parse_pci_address(hardware_gpu_value(&nvml_hardware, device->gpu, "pci_bus_id"), &at))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *board = at.domain << 16 | at.bus << 8 | at.device;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetMultiGpuBoard(struct nvml_device *device, unsigned *several)
{
    *several = 0;
    return nvml_end(nvml_begin_gpu(device));
}

nvml_result nvmlDeviceGetInforomImageVersion(struct nvml_device *device, char *buffer, unsigned size)
{
    return nvml_device_text(device, "inforom_image", buffer, size);
}

nvml_result nvmlDeviceGetInforomVersion(struct nvml_device *device, unsigned object, char *buffer, unsigned size)
{
    static const char *const names[] = {"inforom_oem", "inforom_ecc", "inforom_power"};
    return object < sizeof names / sizeof *names ? nvml_device_text(device, names[object], buffer, size)
                                                 : NVML_INVALID_ARGUMENT;
}

nvml_result nvmlDeviceValidateInforom(struct nvml_device *device)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !nvml_reports(device, "inforom_checksum"))
        result = NVML_NOT_SUPPORTED;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetBrand(struct nvml_device *device, int *brand)
{
    *brand = NVML_BRAND_NVIDIA;
    return nvml_end(nvml_begin_device(device));
}

nvml_result nvmlDeviceGetArchitecture(struct nvml_device *device, unsigned *architecture)
{
    static const char *const names[] = {[2] = "Kepler", "Maxwell",      "Pascal", "Volta",    "Turing",
                                        "Ampere",       "Ada Lovelace", "Hopper", "Blackwell"};
    char name[32];
    nvml_result result = nvml_device_text(device, "architecture", name, sizeof name);
    *architecture = NVML_ARCHITECTURE_UNKNOWN;
    for (unsigned i = 2; result == NVML_SUCCESS && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            *architecture = i;
    return result;
}

nvml_result nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *major, int *minor)
{
    char text[16];
    nvml_result result = nvml_device_text(device, "compute_capability", text, sizeof text);
    return result == NVML_SUCCESS && sscanf(text, "%d.%d", major, minor) != 2 ? NVML_UNKNOWN : result;
}

/* ---- Switches and modes ---- */

nvml_result nvmlDeviceGetPersistenceMode(struct nvml_device *device, unsigned *mode)
{
    return device_switch(device, "persistence_mode", mode, NULL);
}

nvml_result nvmlDeviceGetEccMode(struct nvml_device *device, unsigned *current, unsigned *pending)
{
    return device_switch(device, "ecc_mode", current, pending);
}

nvml_result nvmlDeviceGetComputeMode(struct nvml_device *device, int *mode)
{
    static const char *const names[NVML_COMPUTE_MODES] = {"Default", "Exclusive_Thread", "Prohibited",
                                                          "Exclusive_Process"};
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        const char *name = hardware_gpu_value(&nvml_hardware, device->gpu, "compute_mode");
        *mode = 0;
        for (int i = 0; name && i < NVML_COMPUTE_MODES; i++)
            if (strcmp(name, names[i]) == 0)
                *mode = i;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceSetComputeMode(struct nvml_device *device, int mode)
{
    static const char *const names[NVML_COMPUTE_MODES] = {"Default", NULL, "Prohibited", "Exclusive_Process"};
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = nvml_end(nvml_begin_gpu(device));
    if (result != NVML_SUCCESS)
        return result;
    if (mode < 0 || mode >= NVML_COMPUTE_MODES || !names[mode])
        return NVML_INVALID_ARGUMENT;
    return (nvml_result)hardware_request(answer, "compute-mode %u %s", device->gpu, names[mode]);
}

nvml_result nvmlDeviceSetPersistenceMode(struct nvml_device *device, unsigned mode)
{
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = nvml_end(nvml_begin_gpu(device));
    return result != NVML_SUCCESS ? result
                                  : (nvml_result)hardware_request(answer, "persistence-mode %u %s", device->gpu,
                                                                  mode ? "Enabled" : "Disabled");
}

nvml_result nvmlDeviceSetPowerManagementLimit(struct nvml_device *device, unsigned milliwatts)
{
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = nvml_end(nvml_begin_gpu(device));
    return result != NVML_SUCCESS
               ? result
               : (nvml_result)hardware_request(answer, "power-limit %u %.3f", device->gpu, milliwatts / 1000.0);
}

nvml_result nvmlDeviceClearEccErrorCounts(struct nvml_device *device, int counters)
{
    enum { AGGREGATE = 1 };
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = nvml_end(nvml_begin_gpu(device));
    return result != NVML_SUCCESS ? result
                                  : (nvml_result)hardware_request(answer, "clear-ecc %u %s", device->gpu,
                                                                  counters == AGGREGATE ? "aggregate" : "volatile");
}

nvml_result nvmlDeviceGetDisplayMode(struct nvml_device *device, unsigned *mode)
{
    return device_switch(device, "display_mode", mode, NULL);
}

nvml_result nvmlDeviceGetDisplayActive(struct nvml_device *device, unsigned *mode)
{
    return device_switch(device, "display_active", mode, NULL);
}

nvml_result nvmlDeviceGetAccountingMode(struct nvml_device *device, unsigned *mode)
{
    return device_switch(device, "accounting_mode", mode, NULL);
}

/* A GPU that is neither passed through nor virtual. */
nvml_result nvmlDeviceGetVirtualizationMode(struct nvml_device *device, int *mode)
{
    *mode = 0;
    return nvml_end(nvml_begin_gpu(device));
}
