/* What the parts of the simulated nvidia-smi share. */
#ifndef SMI_H
#define SMI_H

#include "simulated_hardware.h"

/* Exit codes that nvidia-smi documents; they are NVML's return codes. */
enum smi_exit {
    SMI_OK = 0,
    SMI_INVALID_ARGUMENT = 2,
    SMI_NOT_SUPPORTED = 3,
    SMI_NO_PERMISSION = 4,
    SMI_NOT_FOUND = 6,
    SMI_NO_DRIVER = 9,
    SMI_GPU_LOST = 15,
    SMI_IN_USE = 19,
    SMI_INSUFFICIENT_RESOURCES = 23,
};

/* The GPUs an invocation speaks about, by their place in the machine: all, or those named with -i, in their order. */
struct smi_selection {
    size_t count;
    unsigned gpu[HARDWARE_MAX_GPUS];
};

#define SMI_VALUE_SIZE 128

/* One value as nvidia-smi writes it (without unit), also those it derives from others, which smi_value.c lists.
 * NULL when the device does not report it. `buffer` holds a derived value. */
const char *smi_value(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE]);

/* The time in a format of strftime; after a final '.' follow milliseconds. */
const char *smi_now(char buffer[SMI_VALUE_SIZE], const char *format);

/* The major number of the driver; nvidia-smi's layout depends on it. */
int smi_driver_branch(const struct hardware *hardware);

/* The part of a GPU's BAR1 that a MIG instance gets, in MiB: as much as its part of the memory. */
long long smi_bar1_share(const struct hardware *hardware, unsigned gpu, const struct hardware_mig_profile *profile);

/* What NVML calls a return code. */
const char *smi_error(int code);

/* The argument of an option written `-s VALUE`, `--long VALUE` or `--long=VALUE`; NULL if this is another option. */
const char *smi_argument(char **argv, int *at, const char *brief, const char *full);

/* All GPUs, or those in the comma separated list of indices, UUIDs or PCI addresses. False if one does not exist. */
bool smi_select(const struct hardware *hardware, const char *wanted, struct smi_selection *selection);

void smi_print_table(const struct hardware *hardware, const struct smi_selection *selection);
void smi_print_list(const struct hardware *hardware, const struct smi_selection *selection);
/* `display`: only these parts of the text, as -d names them, comma separated; NULL: everything. */
enum smi_exit smi_print_report(const struct hardware *hardware, const struct smi_selection *selection, bool xml,
                               const char *display);
void smi_print_query_help(void);
enum smi_exit smi_print_gpu_csv(const struct hardware *hardware, const struct smi_selection *selection,
                                const char *fields, const char *format);
enum smi_exit smi_print_apps_csv(const char *fields, const char *format);

/* Changes: `setting` is a request of the driver stand-in, `value` what the user gave. */
enum smi_exit smi_set_compute_mode(const struct hardware *hardware, const struct smi_selection *selection,
                                   const char *value);
enum smi_exit smi_set_persistence_mode(const struct hardware *hardware, const struct smi_selection *selection,
                                       const char *value);
enum smi_exit smi_set_mig_mode(const struct hardware *hardware, const struct smi_selection *selection, const char *value);
enum smi_exit smi_set_power_limit(const struct hardware *hardware, const struct smi_selection *selection,
                                  const char *value);
enum smi_exit smi_clear_ecc(const struct hardware *hardware, const struct smi_selection *selection, const char *value);
enum smi_exit smi_reset(const struct hardware *hardware, const struct smi_selection *selection);

/* The commands `nvidia-smi mig`, `topo` and `nvlink`; argv begins behind the command. */
enum smi_exit smi_mig(const struct hardware *hardware, char **argv);
enum smi_exit smi_topology(const struct hardware *hardware, char **argv);
enum smi_exit smi_nvlink(const struct hardware *hardware, char **argv);

#endif
