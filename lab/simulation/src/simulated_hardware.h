/* The state of the simulated GPUs of one lab host, read from a text file.
 *
 * Every stand-in (libnvidia-ml, nvidia-smi) reads the same file, so they cannot contradict each other:
 *
 *     driver_version=580.95.05      a value of the host
 *     gpu.*.name=NVIDIA GB10        a value of every GPU
 *     gpu.0.uuid=GPU-...            a value of one GPU; it wins over gpu.*
 *     complete=yes                  the last line; without it somebody is still writing the file
 *
 * The last line of a key counts. A key that is absent, or has no value, means "this device does not report it".
 * Blank lines and lines that start with '#' are ignored.
 */
#ifndef SIMULATED_HARDWARE_H
#define SIMULATED_HARDWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define HARDWARE_MAX_GPUS 16
#define HARDWARE_MAX_ENTRIES 4096
#define HARDWARE_MAX_BYTES 262144
#define HARDWARE_MAX_PATH 4096

/* Name another state file, and another socket of the driver; for tests. */
#define HARDWARE_STATE_VARIABLE "SIMULATED_HARDWARE_STATE"
#define HARDWARE_DRIVER_VARIABLE "SIMULATED_HARDWARE_DRIVER"
/* The container toolkit mounts the real driver's socket of this name into containers. */
#define HARDWARE_DRIVER_SOCKET "/run/nvidia-persistenced/socket"
#define HARDWARE_ANSWER_SIZE 512

struct hardware_entry {
    const char *key;
    const char *value;
};

struct hardware {
    char path[HARDWARE_MAX_PATH];
    struct stat seen; /* the file as it was when it was last read; tells whether it changed */
    size_t entries;
    struct hardware_entry entry[HARDWARE_MAX_ENTRIES];
    char text[HARDWARE_MAX_BYTES];
};

struct hardware_pci_address {
    unsigned domain, bus, device, function;
};

/* Find the state file that belongs to a driver library: `<folder>/libnvidia-ml.so.<v>` -> its sibling
 * `<folder>/libnvidia-simulated-hardware.so.<v>`. Links are followed first. False if there is no such file. */
bool hardware_state_beside(const char *library, char path[HARDWARE_MAX_PATH]);

/* Find the state file of this host or container: the variable, else the installed driver's library folders. */
bool hardware_find_state(char path[HARDWARE_MAX_PATH]);

/* Read a state file. False, and `hardware` is unchanged, if it is unreadable, too long or incomplete. */
bool hardware_load(struct hardware *hardware, const char *path);

/* Read the state file again if it changed; what cannot be read (now) leaves the previous state in force. */
void hardware_refresh(struct hardware *hardware);

/* One value of the host; NULL when it is not reported. Valid until the next load or refresh. */
const char *hardware_value(const struct hardware *hardware, const char *key);

/* One value of one GPU (its own, else the one of every GPU); NULL when it is not reported. */
const char *hardware_gpu_value(const struct hardware *hardware, unsigned gpu, const char *name);

/* The same as a whole number; `absent` when it is not reported. Understands 0x for hexadecimal. */
long long hardware_gpu_number(const struct hardware *hardware, unsigned gpu, const char *name, long long absent);

/* How many GPUs the machine was built with, at most HARDWARE_MAX_GPUS. GPUs are numbered by their place in it. */
unsigned hardware_gpu_places(const struct hardware *hardware);

/* Whether the driver has the GPU at a place: neither missing nor left unclaimed. */
bool hardware_gpu_is_present(const struct hardware *hardware, unsigned gpu);

/* How many GPUs the driver has. */
unsigned hardware_gpu_count(const struct hardware *hardware);

/* The index that the driver gives the GPU at a place: its rank among those that are present. */
unsigned hardware_gpu_index(const struct hardware *hardware, unsigned gpu);

/* A GPU that was there at boot and does not answer any more ("fallen off the bus"). */
bool hardware_gpu_is_lost(const struct hardware *hardware, unsigned gpu);

/* Reasons why clocks are lowered, as NVML's bits; false when the device reports none at all. */
bool hardware_clock_reasons(const struct hardware *hardware, unsigned gpu, unsigned long long *reasons);

/* One of the sums over a GPU's ECC counters: volatile or aggregate, corrected or not. -1 without ECC. */
long long hardware_ecc_total(const struct hardware *hardware, unsigned gpu, bool aggregate, bool uncorrected);

/* ---- MIG: instances that exist, and the profiles they are made of ---- */

#define HARDWARE_MAX_GPU_INSTANCES 16
#define HARDWARE_MAX_COMPUTE_INSTANCES 8
#define HARDWARE_UUID_SIZE 64

struct hardware_mig_profile {
    unsigned id, index, slices, size, instances, memory_mib, multiprocessors;
    unsigned copy_engines, decoders, encoders, jpeg, ofa;
    const char *name, *starts;
};

struct hardware_gpu_instance {
    unsigned id, start;
    struct hardware_mig_profile profile;
};

struct hardware_compute_instance {
    unsigned id, profile, slices, start;
    char uuid[HARDWARE_UUID_SIZE];
};

/* The n-th profile that the GPU offers. */
bool hardware_mig_profile_at(const struct hardware *hardware, unsigned position, struct hardware_mig_profile *profile);

/* The profile with a number. */
bool hardware_mig_profile(const struct hardware *hardware, unsigned id, struct hardware_mig_profile *profile);

/* A GPU instance of a GPU, or a compute instance in it, by number. */
bool hardware_gpu_instance(const struct hardware *hardware, unsigned gpu, unsigned id,
                           struct hardware_gpu_instance *instance);
bool hardware_compute_instance(const struct hardware *hardware, unsigned gpu, unsigned gpu_instance, unsigned id,
                               struct hardware_compute_instance *instance);

/* The MIG device of a GPU at an index: compute instances in the order of their GPU instances. */
bool hardware_mig_device(const struct hardware *hardware, unsigned gpu, unsigned index,
                         struct hardware_gpu_instance *gpu_instance,
                         struct hardware_compute_instance *compute_instance);

/* How many more instances of a profile fit beside those that exist. */
unsigned hardware_mig_free(const struct hardware *hardware, unsigned gpu, const struct hardware_mig_profile *profile);

/* Compute slices of a compute instance profile, and the profile of a number of slices; 0 and -1 when there is none. */
unsigned hardware_compute_slices(unsigned profile);
int hardware_compute_profile(unsigned slices);

/* "MIG 1c.3g.40gb", or "MIG 3g.40gb" for a compute instance that takes its whole GPU instance. */
void hardware_mig_name(const struct hardware_mig_profile *profile, unsigned compute_slices, char *name, size_t size);

/* ---- Changing the hardware ---- */

/* Send a request line to the driver stand-in; its return code is NVML's, `answer` what was made. 999 if it is not there. */
int hardware_request(char answer[HARDWARE_ANSWER_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Parse `domain:bus:device.function` in hexadecimal, any number of digits. */
bool hardware_parse_pci_address(const char *text, struct hardware_pci_address *address);

#endif
