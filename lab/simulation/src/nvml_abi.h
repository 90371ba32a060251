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
    NVML_IN_USE = 19,
    NVML_OUT_OF_MEMORY = 20,
    NVML_INSUFFICIENT_RESOURCES = 23,
    NVML_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_UNKNOWN = 999,
} nvml_result;

enum { NVML_BRAND_NVIDIA = 14 };
enum { NVML_TOPOLOGY_NODE = 40, NVML_TOPOLOGY_SYSTEM = 50 };
enum { NVML_COMPUTE_MODES = 4 };
enum { NVML_MEMORY_TEMPERATURE = 1 };

#define NVML_ARCHITECTURE_UNKNOWN 0xffffffffu
#define NVML_EVENT_XID 8ull
#define NVML_NO_INSTANCE 0xffffffffu /* an event that belongs to a whole GPU, not to a MIG instance */

/* A GPU by its place in the machine, or a MIG device on it. */
struct nvml_device {
    unsigned gpu;
    bool is_mig;
    unsigned gpu_instance, compute_instance;
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

struct nvml_gpu_instance {
    unsigned gpu, id;
};

struct nvml_compute_instance {
    struct nvml_gpu_instance *parent;
    unsigned id;
};

struct nvml_placement {
    unsigned start, size;
};

struct nvml_gpu_instance_profile {
    unsigned id, p2p_supported, slices, instances, multiprocessors;
    unsigned copy_engines, decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
};

struct nvml_gpu_instance_profile_v2 {
    unsigned version;
    unsigned id, p2p_supported, slices, instances, multiprocessors;
    unsigned copy_engines, decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
    char name[96];
};

struct nvml_gpu_instance_profile_v3 {
    unsigned version;
    unsigned id, slices, instances, multiprocessors;
    unsigned copy_engines, decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
    char name[96];
    unsigned capabilities;
};

struct nvml_compute_instance_profile {
    unsigned id, slices, instances, multiprocessors;
    unsigned copy_engines, decoders, encoders, jpeg, ofa;
};

struct nvml_compute_instance_profile_v2 {
    unsigned version;
    struct nvml_compute_instance_profile profile;
    char name[96];
};

struct nvml_compute_instance_profile_v3 {
    unsigned version;
    struct nvml_compute_instance_profile profile;
    char name[96];
    unsigned capabilities;
};

struct nvml_gpu_instance_info {
    struct nvml_device *device;
    unsigned id, profile;
    struct nvml_placement placement;
};

struct nvml_compute_instance_info {
    struct nvml_device *device;
    struct nvml_gpu_instance *gpu_instance;
    unsigned id, profile;
    struct nvml_placement placement;
};

struct nvml_attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    unsigned gpu_instance_slices, compute_instance_slices;
    unsigned long long memory_mib;
};

enum { NVML_FABRIC_NOT_STARTED = 1, NVML_FABRIC_IN_PROGRESS = 2, NVML_FABRIC_COMPLETED = 3, NVML_FABRIC_UUID_SIZE = 16 };

struct nvml_fabric {
    unsigned char cluster[NVML_FABRIC_UUID_SIZE];
    nvml_result status;
    unsigned clique;
    unsigned char state;
};

struct nvml_fabric_v {
    unsigned version;
    unsigned char cluster[NVML_FABRIC_UUID_SIZE];
    nvml_result status;
    unsigned clique;
    unsigned char state;
    unsigned health_mask;
    unsigned char health_summary; /* from version 3 on */
};

enum { NVML_VALUE_UNSIGNED_INT = 1, NVML_VALUE_UNSIGNED_LONG_LONG = 3 };

struct nvml_field {
    unsigned id, scope;
    long long timestamp_us, latency_us;
    int type;
    nvml_result result;
    union {
        double as_double;
        unsigned as_unsigned;
        unsigned long long as_unsigned_long_long;
    } value;
};

/* The version in the first word of a versioned structure: size in the lower 24 bits, version above. */
#define NVML_STRUCT_VERSION(type, version) ((unsigned)(sizeof(type) | (version) << 24))

struct nvml_event {
    struct nvml_device *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

/* ---- Shared by the library's source files ---- */

/* Every answer is given between these two: take the lock and see the newest state, then release it.
 * begin() fails before nvmlInit; begin_device() also for a foreign handle, a GPU that is gone or lost, and a MIG device
 * that was destroyed; begin_gpu() takes no MIG device. The lock is held after any of them, whatever it returns. */
nvml_result nvml_begin(void);
nvml_result nvml_begin_device(const struct nvml_device *device);
nvml_result nvml_begin_gpu(const struct nvml_device *device);
nvml_result nvml_end(nvml_result result);

/* One value of a device as text or whole number; NOT_SUPPORTED when the device does not report it.
 * They lock by themselves: never between begin and end. */
nvml_result nvml_device_text(const struct nvml_device *device, const char *name, char *buffer, unsigned size);
nvml_result nvml_device_number(const struct nvml_device *device, const char *name, unsigned *number);

/* Copy a text into a caller's buffer; NULL is NOT_SUPPORTED. */
nvml_result nvml_copy_text(const char *text, char *buffer, unsigned size);

/* Between begin and end: a whole number of a device's GPU, and whether it reports a value at all. */
long long nvml_value(const struct nvml_device *device, const char *name, long long absent);
bool nvml_reports(const struct nvml_device *device, const char *name);
bool nvml_says(const struct nvml_device *device, const char *name, const char *text);

/* The instances of a MIG device; only between begin and end, after nvml_begin_device(). */
bool nvml_mig_instances(const struct nvml_device *device, struct hardware_gpu_instance *gpu_instance,
                        struct hardware_compute_instance *compute_instance);

/* The simulated host and its devices; only between begin and end. */
extern struct hardware nvml_hardware;
extern struct nvml_device nvml_devices[HARDWARE_MAX_GPUS];
extern struct nvml_device nvml_mig_devices[HARDWARE_MAX_GPUS][HARDWARE_MAX_GPU_INSTANCES][HARDWARE_MAX_COMPUTE_INSTANCES];

#endif
