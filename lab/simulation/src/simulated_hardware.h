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
#define HARDWARE_MAX_ENTRIES 1024
#define HARDWARE_MAX_BYTES 65536
#define HARDWARE_MAX_PATH 4096

/* Names another state file; for tests and for hosts where the driver libraries live elsewhere. */
#define HARDWARE_STATE_VARIABLE "SIMULATED_HARDWARE_STATE"

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

/* How many GPUs the host shows, at most HARDWARE_MAX_GPUS. */
unsigned hardware_gpu_count(const struct hardware *hardware);

/* A GPU that was there at boot and does not answer any more ("fallen off the bus"). */
bool hardware_gpu_is_lost(const struct hardware *hardware, unsigned gpu);

/* Parse `domain:bus:device.function` in hexadecimal, any number of digits. */
bool hardware_parse_pci_address(const char *text, struct hardware_pci_address *address);

#endif
