/* Stand-in for libnvidia-ml.so.1: NVML over a simulated-hardware state file. There is no GPU behind it.
 *
 * The state file lies beside the library (libnvidia-simulated-hardware.so.<driver version>), so that whatever mounts
 * the driver's libraries into a container brings it along; the variable SIMULATED_HARDWARE_STATE overrides that.
 * The file is read again whenever it changed: a fault can be set while clients run. */
#define _GNU_SOURCE
#include "nvml_abi.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hardware nvml_hardware;
struct nvml_device nvml_devices[HARDWARE_MAX_GPUS];
struct nvml_device nvml_mig_devices[HARDWARE_MAX_GPUS][HARDWARE_MAX_GPU_INSTANCES][HARDWARE_MAX_COMPUTE_INSTANCES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users; /* nvmlInit calls not yet undone by nvmlShutdown */

/* ---- Life cycle ---- */

static bool find_state(char path[HARDWARE_MAX_PATH])
{
    Dl_info self;
    const char *named = getenv(HARDWARE_STATE_VARIABLE);
    bool beside = !(named && *named) && dladdr(&nvml_hardware, &self) && self.dli_fname &&
                  hardware_state_beside(self.dli_fname, path);
    return beside || hardware_find_state(path);
}

static void number_devices(void)
{
    for (unsigned gpu = 0; gpu < HARDWARE_MAX_GPUS; gpu++) {
        nvml_devices[gpu].gpu = gpu;
        for (unsigned gi = 0; gi < HARDWARE_MAX_GPU_INSTANCES; gi++)
            for (unsigned ci = 0; ci < HARDWARE_MAX_COMPUTE_INSTANCES; ci++)
                nvml_mig_devices[gpu][gi][ci] =
                    (struct nvml_device){.gpu = gpu, .is_mig = true, .gpu_instance = gi, .compute_instance = ci};
    }
}

nvml_result nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    char path[HARDWARE_MAX_PATH];
    nvml_result result = NVML_SUCCESS;
    pthread_mutex_lock(&lock);
    if (users == 0) {
        number_devices();
        if (!find_state(path) || !hardware_load(&nvml_hardware, path))
            result = NVML_DRIVER_NOT_LOADED;
    } else {
        hardware_refresh(&nvml_hardware);
    }
    if (result == NVML_SUCCESS && hardware_value(&nvml_hardware, "init_error"))
        result = (nvml_result)atoi(hardware_value(&nvml_hardware, "init_error"));
    if (result == NVML_SUCCESS)
        users++;
    pthread_mutex_unlock(&lock);
    return result;
}

nvml_result nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvml_result nvmlInit(void) { return nvmlInitWithFlags(0); }

nvml_result nvmlShutdown(void)
{
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS)
        users--;
    return nvml_end(result);
}

nvml_result nvml_begin(void)
{
    pthread_mutex_lock(&lock);
    if (users == 0)
        return NVML_UNINITIALIZED;
    hardware_refresh(&nvml_hardware);
    return NVML_SUCCESS;
}

static bool is_known(const struct nvml_device *device)
{
    const struct nvml_device *first_mig = &nvml_mig_devices[0][0][0];
    bool gpu = device >= nvml_devices && device < nvml_devices + HARDWARE_MAX_GPUS;
    return gpu || (device >= first_mig && device < first_mig + sizeof nvml_mig_devices / sizeof *first_mig);
}

nvml_result nvml_begin_device(const struct nvml_device *device)
{
    struct hardware_gpu_instance gpu_instance;
    struct hardware_compute_instance compute_instance;
    nvml_result result = nvml_begin();
    if (result != NVML_SUCCESS)
        return result;
    if (!is_known(device) || !hardware_gpu_is_present(&nvml_hardware, device->gpu))
        return NVML_INVALID_ARGUMENT;
    if (hardware_gpu_is_lost(&nvml_hardware, device->gpu))
        return NVML_GPU_IS_LOST;
    return device->is_mig && !nvml_mig_instances(device, &gpu_instance, &compute_instance) ? NVML_INVALID_ARGUMENT
                                                                                          : NVML_SUCCESS;
}

nvml_result nvml_begin_gpu(const struct nvml_device *device)
{
    nvml_result result = nvml_begin_device(device);
    return result == NVML_SUCCESS && device->is_mig ? NVML_INVALID_ARGUMENT : result;
}

bool nvml_mig_instances(const struct nvml_device *device, struct hardware_gpu_instance *gpu_instance,
                        struct hardware_compute_instance *compute_instance)
{
    return hardware_gpu_instance(&nvml_hardware, device->gpu, device->gpu_instance, gpu_instance) &&
           hardware_compute_instance(&nvml_hardware, device->gpu, device->gpu_instance, device->compute_instance,
                                     compute_instance);
}

nvml_result nvml_end(nvml_result result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

const char *nvmlErrorString(nvml_result result)
{
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_UNINITIALIZED: return "Uninitialized";
    case NVML_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_NOT_SUPPORTED: return "Not Supported";
    case NVML_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_NOT_FOUND: return "Not Found";
    case NVML_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_TIMEOUT: return "Timeout";
    case NVML_GPU_IS_LOST: return "GPU is lost";
    case NVML_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_IN_USE: return "In use by another client";
    case NVML_OUT_OF_MEMORY: return "Insufficient Memory";
    case NVML_INSUFFICIENT_RESOURCES: return "Insufficient Resources";
    case NVML_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

/* ---- Answers of one kind ---- */

nvml_result nvml_copy_text(const char *text, char *buffer, unsigned size)
{
    if (!text)
        return NVML_NOT_SUPPORTED;
    if (!buffer)
        return NVML_INVALID_ARGUMENT;
    if (strlen(text) + 1 > size)
        return NVML_INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return NVML_SUCCESS;
}

static nvml_result host_text(const char *key, char *buffer, unsigned size)
{
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS)
        result = nvml_copy_text(hardware_value(&nvml_hardware, key), buffer, size);
    return nvml_end(result);
}

nvml_result nvml_device_text(const struct nvml_device *device, const char *name, char *buffer, unsigned size)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS)
        result = nvml_copy_text(hardware_gpu_value(&nvml_hardware, device->gpu, name), buffer, size);
    return nvml_end(result);
}

nvml_result nvml_device_number(const struct nvml_device *device, const char *name, unsigned *number)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS) {
        if (!hardware_gpu_value(&nvml_hardware, device->gpu, name))
            result = NVML_NOT_SUPPORTED;
        else if (!number)
            result = NVML_INVALID_ARGUMENT;
        else
            *number = (unsigned)hardware_gpu_number(&nvml_hardware, device->gpu, name, 0);
    }
    return nvml_end(result);
}

long long nvml_value(const struct nvml_device *device, const char *name, long long absent)
{
    return hardware_gpu_number(&nvml_hardware, device->gpu, name, absent);
}

bool nvml_reports(const struct nvml_device *device, const char *name)
{
    return hardware_gpu_value(&nvml_hardware, device->gpu, name) != NULL;
}

bool nvml_says(const struct nvml_device *device, const char *name, const char *text)
{
    const char *value = hardware_gpu_value(&nvml_hardware, device->gpu, name);
    return value && strcmp(value, text) == 0;
}

/* ---- The host ---- */

nvml_result nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    return host_text("driver_version", version, size);
}

nvml_result nvmlSystemGetNVMLVersion(char *version, unsigned size)
{
    return host_text("nvml_version", version, size);
}

nvml_result nvmlSystemGetCudaDriverVersion(int *version)
{
    char text[32] = "";
    int major = 0, minor = 0;
    nvml_result result = host_text("cuda_version", text, sizeof text);
    if (result == NVML_SUCCESS && sscanf(text, "%d.%d", &major, &minor) == 2)
        *version = major * 1000 + minor * 10;
    return result;
}

nvml_result nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

nvml_result nvmlDeviceGetCount_v2(unsigned *count)
{
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS)
        *count = hardware_gpu_count(&nvml_hardware);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

/* ---- Handles ---- */

nvml_result nvmlDeviceGetHandleByIndex_v2(unsigned index, struct nvml_device **device)
{
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS) {
        result = NVML_INVALID_ARGUMENT;
        for (unsigned gpu = 0; gpu < hardware_gpu_places(&nvml_hardware); gpu++)
            if (hardware_gpu_is_present(&nvml_hardware, gpu) && hardware_gpu_index(&nvml_hardware, gpu) == index) {
                *device = &nvml_devices[gpu];
                result = hardware_gpu_is_lost(&nvml_hardware, gpu) ? NVML_GPU_IS_LOST : NVML_SUCCESS;
            }
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetHandleByIndex(unsigned index, struct nvml_device **device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static bool same_pci_address(const char *left, const char *right)
{
    struct hardware_pci_address a, b;
    return hardware_parse_pci_address(left, &a) && hardware_parse_pci_address(right, &b) && a.domain == b.domain &&
           a.bus == b.bus && a.device == b.device && a.function == b.function;
}

static bool same_text(const char *left, const char *right) { return left && strcmp(left, right) == 0; }

static nvml_result find_device(const char *name, const char *wanted, bool (*same)(const char *, const char *),
                               struct nvml_device **device)
{
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS) {
        result = NVML_NOT_FOUND;
        for (unsigned i = 0; i < hardware_gpu_places(&nvml_hardware) && result == NVML_NOT_FOUND; i++) {
            if (!hardware_gpu_is_present(&nvml_hardware, i) ||
                !same(hardware_gpu_value(&nvml_hardware, i, name), wanted))
                continue;
            *device = &nvml_devices[i];
            result = hardware_gpu_is_lost(&nvml_hardware, i) ? NVML_GPU_IS_LOST : NVML_SUCCESS;
        }
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device)
{
    static const char mig_prefix[] = "MIG-";
    if (!uuid || strncmp(uuid, mig_prefix, strlen(mig_prefix)) != 0)
        return find_device("uuid", uuid, same_text, device);
    nvml_result result = nvml_begin();
    if (result == NVML_SUCCESS) {
        result = NVML_NOT_FOUND;
        for (unsigned gpu = 0; gpu < hardware_gpu_places(&nvml_hardware); gpu++) {
            struct hardware_gpu_instance gi;
            struct hardware_compute_instance ci;
            for (unsigned i = 0; hardware_mig_device(&nvml_hardware, gpu, i, &gi, &ci); i++)
                if (strcmp(ci.uuid, uuid) == 0) {
                    *device = &nvml_mig_devices[gpu][gi.id][ci.id];
                    result = NVML_SUCCESS;
                }
        }
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **device)
{
    return find_device("serial", serial, same_text, device);
}

nvml_result nvmlDeviceGetHandleByPciBusId_v2(const char *address, struct nvml_device **device)
{
    return find_device("pci_bus_id", address, same_pci_address, device);
}
