/* Simulated nvidia-smi: values, and those that are derived from others. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NVIDIA_VENDOR = 0x10de };

static const char *number_text(char buffer[SMI_VALUE_SIZE], const char *format, long long number)
{
    snprintf(buffer, SMI_VALUE_SIZE, format, number);
    return buffer;
}

static const char *pci_text(const struct hardware *hardware, unsigned gpu, const char *part,
                            char buffer[SMI_VALUE_SIZE])
{
    struct hardware_pci_address at;
    if (!hardware_parse_pci_address(hardware_gpu_value(hardware, gpu, "pci_bus_id"), &at))
        return NULL;
    if (strcmp(part, "pci_domain") == 0)
        return number_text(buffer, "%04llX", at.domain);
    if (strcmp(part, "pci_bus") == 0)
        return number_text(buffer, "%02llX", at.bus);
    if (strcmp(part, "pci_device") == 0)
        return number_text(buffer, "%02llX", at.device);
    snprintf(buffer, SMI_VALUE_SIZE, "%08X:%02X:%02X.%X", at.domain, at.bus, at.device, at.function);
    return buffer;
}

/* total - (everything else), NULL when there is no total */
static const char *remainder_text(const struct hardware *hardware, unsigned gpu, const char *total,
                                  const char *reserved, const char *used, char buffer[SMI_VALUE_SIZE])
{
    if (!hardware_gpu_value(hardware, gpu, total))
        return NULL;
    long long taken = (reserved ? hardware_gpu_number(hardware, gpu, reserved, 0) : 0) +
                      hardware_gpu_number(hardware, gpu, used, 0);
    return number_text(buffer, "%lld", hardware_gpu_number(hardware, gpu, total, 0) - taken);
}

static const char *uncorrectable_text(const struct hardware *hardware, unsigned gpu, char buffer[SMI_VALUE_SIZE])
{
    if (!hardware_gpu_value(hardware, gpu, "ecc_mode"))
        return NULL;
    return number_text(buffer, "%lld",
                       hardware_gpu_number(hardware, gpu, "ecc_volatile_sram_uncorrectable_parity", 0) +
                           hardware_gpu_number(hardware, gpu, "ecc_volatile_sram_uncorrectable_secded", 0) +
                           hardware_gpu_number(hardware, gpu, "ecc_volatile_dram_uncorrectable", 0));
}

const char *smi_value(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE])
{
    if (strcmp(name, "driver_version") == 0 || strcmp(name, "cuda_version") == 0)
        return hardware_value(hardware, name);
    if (strcmp(name, "count") == 0)
        return number_text(buffer, "%lld", hardware_gpu_count(hardware));
    if (strcmp(name, "index") == 0)
        return number_text(buffer, "%lld", gpu);
    if (strcmp(name, "pci_domain") == 0 || strcmp(name, "pci_bus") == 0 || strcmp(name, "pci_device") == 0 ||
        strcmp(name, "pci_address") == 0)
        return pci_text(hardware, gpu, name, buffer);
    if (strcmp(name, "pci_id") == 0)
        return number_text(buffer, "%08llX", hardware_gpu_number(hardware, gpu, "pci_device_id", 0) << 16 | NVIDIA_VENDOR);
    if (strcmp(name, "pci_subsystem_id") == 0)
        return number_text(buffer, "%08llX", hardware_gpu_number(hardware, gpu, "pci_subsystem_device_id", 0) << 16 |
                                                 hardware_gpu_number(hardware, gpu, "pci_subsystem_vendor_id", NVIDIA_VENDOR));
    if (strcmp(name, "memory_free_mib") == 0)
        return remainder_text(hardware, gpu, "memory_total_mib", "memory_reserved_mib", "memory_used_mib", buffer);
    if (strcmp(name, "bar1_free_mib") == 0)
        return remainder_text(hardware, gpu, "bar1_total_mib", NULL, "bar1_used_mib", buffer);
    if (strcmp(name, "ecc_volatile_uncorrectable") == 0)
        return uncorrectable_text(hardware, gpu, buffer);
    return hardware_gpu_value(hardware, gpu, name);
}

const char *smi_now(char buffer[SMI_VALUE_SIZE])
{
    time_t now = time(NULL);
    strftime(buffer, SMI_VALUE_SIZE, "%a %b %e %H:%M:%S %Y", localtime(&now));
    return buffer;
}

int smi_driver_branch(const struct hardware *hardware)
{
    const char *version = hardware_value(hardware, "driver_version");
    return version ? atoi(version) : 0;
}
