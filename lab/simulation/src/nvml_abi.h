/* The part of NVML's binary interface that the stand-in answers, in our own words.
 * Numbers and layouts follow NVML 12/13 (`nvml.h`); everything else is answered NOT_SUPPORTED by generated stubs. */
#ifndef NVML_ABI_H
#define NVML_ABI_H

#include "simulated_hardware.h"

typedef enum {
    NVML_SUCCESS = 0,
    NVML_UNINITIALIZED = 1,
    NVML_INVALID_ARGUMENT = 2,
    NVML_NOT_SUPPORTED = 3,
    NVML_NO_PERMISSION = 4,
    NVML_NOT_FOUND = 6,
    NVML_INSUFFICIENT_SIZE = 7,
    NVML_DRIVER_NOT_LOADED = 9,
    NVML_TIMEOUT = 10,
    NVML_GPU_IS_LOST = 15,
    NVML_VERSION_MISMATCH = 18,
    NVML_OUT_OF_MEMORY = 20,
    NVML_UNKNOWN = 999,
} nvml_result;

enum { NVML_BRAND_NVIDIA = 14 };
enum { NVML_TOPOLOGY_NODE = 40, NVML_TOPOLOGY_SYSTEM = 50 };
enum { NVML_COMPUTE_MODES = 4 };
enum { NVML_MEMORY_TEMPERATURE = 1 };

#define NVML_ARCHITECTURE_UNKNOWN 0xffffffffu
#define NVML_EVENT_XID 8ull
#define NVML_NO_INSTANCE 0xffffffffu /* an event that belongs to a whole GPU, not to a MIG instance */

struct nvml_device {
    unsigned index;
};

struct nvml_memory {
    unsigned long long total, free, used; /* bytes */
};

struct nvml_memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used; /* bytes */
};

struct nvml_utilization {
    unsigned gpu, memory; /* percent */
};

struct nvml_pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device;
    unsigned device_id; /* device << 16 | vendor */
    unsigned subsystem_id;
    char bus_id[32];
};

struct nvml_event {
    struct nvml_device *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

/* ---- Shared by the library's source files ---- */

/* Every answer is given between these two: take the lock and see the newest state, then release it.
 * begin() fails before nvmlInit; begin_device() also for a foreign handle or a lost GPU. The lock is held
 * after either, whatever it returns. */
nvml_result nvml_begin(void);
nvml_result nvml_begin_device(const struct nvml_device *device);
nvml_result nvml_end(nvml_result result);

/* One value of a device as text or whole number; NOT_SUPPORTED when the device does not report it.
 * They lock by themselves: never between begin and end. */
nvml_result nvml_device_text(const struct nvml_device *device, const char *name, char *buffer, unsigned size);
nvml_result nvml_device_number(const struct nvml_device *device, const char *name, unsigned *number);

/* The simulated host and its devices; only between begin and end. */
extern struct hardware nvml_hardware;
extern struct nvml_device nvml_devices[HARDWARE_MAX_GPUS];

#endif
