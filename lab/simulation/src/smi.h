/* What the parts of the simulated nvidia-smi share. */
#ifndef SMI_H
#define SMI_H

#include "simulated_hardware.h"

/* Exit codes that nvidia-smi documents. */
enum smi_exit {
    SMI_OK = 0,
    SMI_INVALID_ARGUMENT = 2,
    SMI_NO_PERMISSION = 4,
    SMI_NOT_FOUND = 6,
    SMI_NO_DRIVER = 9,
    SMI_GPU_LOST = 15,
};

/* The GPUs an invocation speaks about: all, or those named with -i, in the order of their index. */
struct smi_selection {
    size_t count;
    unsigned gpu[HARDWARE_MAX_GPUS];
};

#define SMI_VALUE_SIZE 128

/* One value as nvidia-smi writes it (without unit), also those it derives from others: pci_address, pci_domain,
 * pci_bus, pci_device, pci_id, pci_subsystem_id, memory_free_mib, bar1_free_mib, ecc_volatile_uncorrectable,
 * index, driver_version, count. NULL when the device does not report it. `buffer` holds a derived value. */
const char *smi_value(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE]);

/* "Mon Sep 21 12:34:56 2026" */
const char *smi_now(char buffer[SMI_VALUE_SIZE]);

/* The major number of the driver; nvidia-smi's layout depends on it. */
int smi_driver_branch(const struct hardware *hardware);

void smi_print_table(const struct hardware *hardware, const struct smi_selection *selection);
void smi_print_list(const struct hardware *hardware, const struct smi_selection *selection);
void smi_print_report(const struct hardware *hardware, const struct smi_selection *selection, bool xml);
enum smi_exit smi_print_gpu_csv(const struct hardware *hardware, const struct smi_selection *selection,
                                const char *fields, const char *format);
enum smi_exit smi_print_apps_csv(const char *fields, const char *format);

#endif
