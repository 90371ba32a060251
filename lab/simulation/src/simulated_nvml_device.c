/* Stand-in for libnvidia-ml.so.1, second part: what a device is and how it is set. */
#include "nvml_abi.h"

#include <stdio.h>
#include <string.h>

/* Compute mode + 1 as set by this process; 0: as the state file says. */
static long long compute_mode_set[HARDWARE_MAX_GPUS];

/* A value that is "Enabled" or "Disabled", as 1 or 0. */
static nvml_result device_switch(const struct nvml_device *device, const char *name, unsigned *current,
                                 unsigned *pending)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        const char *value = hardware_gpu_value(&nvml_hardware, device->index, name);
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
    return nvml_device_text(device, "uuid", buffer, size);
}

nvml_result nvmlDeviceGetName(struct nvml_device *device, char *buffer, unsigned size)
{
    return nvml_device_text(device, "name", buffer, size);
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
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS)
        *index = device->index;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned *minor)
{
    return nvmlDeviceGetIndex(device, minor);
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

nvml_result nvmlDeviceGetMigMode(struct nvml_device *device, unsigned *current, unsigned *pending)
{
    return device_switch(device, "mig_mode", current, pending);
}

nvml_result nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned *count)
{
    return nvml_device_number(device, "mig_max_devices", count);
}

nvml_result nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, unsigned index, struct nvml_device **mig)
{
    (void)index, (void)mig;
    nvml_result result = nvml_begin_device(device);
    return nvml_end(result == NVML_SUCCESS ? NVML_NOT_FOUND : result);
}

nvml_result nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned *is_mig)
{
    *is_mig = 0;
    return nvml_end(nvml_begin_device(device));
}

nvml_result nvmlDeviceGetComputeMode(struct nvml_device *device, int *mode)
{
    static const char *const names[NVML_COMPUTE_MODES] = {"Default", "Exclusive_Thread", "Prohibited",
                                                          "Exclusive_Process"};
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        const char *name = hardware_gpu_value(&nvml_hardware, device->index, "compute_mode");
        *mode = 0;
        for (int i = 0; name && i < NVML_COMPUTE_MODES; i++)
            if (strcmp(name, names[i]) == 0)
                *mode = i;
        if (compute_mode_set[device->index])
            *mode = (int)compute_mode_set[device->index] - 1;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceSetComputeMode(struct nvml_device *device, int mode)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS && (mode < 0 || mode >= NVML_COMPUTE_MODES))
        result = NVML_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        compute_mode_set[device->index] = mode + 1;
    return nvml_end(result);
}
