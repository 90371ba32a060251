/* Simulated nvidia-smi: values, and those that are derived from others. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NVIDIA_VENDOR = 0x10de };

typedef const char *(*derivation)(const struct hardware *hardware, unsigned gpu, const char *argument,
                                  char buffer[SMI_VALUE_SIZE]);

static const char *number_text(char buffer[SMI_VALUE_SIZE], const char *format, long long number)
{
    snprintf(buffer, SMI_VALUE_SIZE, format, number);
    return buffer;
}

static const char *of_host(const struct hardware *hardware, unsigned gpu, const char *key, char buffer[SMI_VALUE_SIZE])
{
    (void)gpu, (void)buffer;
    return hardware_value(hardware, key);
}

static const char *count(const struct hardware *hardware, unsigned gpu, const char *argument, char buffer[SMI_VALUE_SIZE])
{
    (void)gpu, (void)argument;
    return number_text(buffer, "%lld", hardware_gpu_count(hardware));
}

static const char *rank(const struct hardware *hardware, unsigned gpu, const char *argument, char buffer[SMI_VALUE_SIZE])
{
    (void)argument;
    return number_text(buffer, "%lld", hardware_gpu_index(hardware, gpu));
}

static const char *minor(const struct hardware *hardware, unsigned gpu, const char *argument, char buffer[SMI_VALUE_SIZE])
{
    (void)hardware, (void)argument;
    return number_text(buffer, "%lld", gpu);
}

static const char *pci_part(const struct hardware *hardware, unsigned gpu, const char *part, char buffer[SMI_VALUE_SIZE])
{
    struct hardware_pci_address at;
    if (!hardware_parse_pci_address(hardware_gpu_value(hardware, gpu, "pci_bus_id"), &at))
        return NULL;
    switch (*part) {
    case 'd': return number_text(buffer, "%04llX", at.domain);
    case 'b': return number_text(buffer, "%02llX", at.bus);
    case 'v': return number_text(buffer, "%02llX", at.device);
    case 'i': return number_text(buffer, "%llx", at.domain << 16 | at.bus << 8 | at.device);
    }
    snprintf(buffer, SMI_VALUE_SIZE, "%08X:%02X:%02X.%X", at.domain, at.bus, at.device, at.function);
    return buffer;
}

static const char *pci_class(const struct hardware *hardware, unsigned gpu, const char *part, char buffer[SMI_VALUE_SIZE])
{
    long long value = hardware_gpu_number(hardware, gpu, "pci_class", 0);
    return number_text(buffer, "%llx", (*part == 'b' ? value >> 16 : value >> 8) & 0xff);
}

static const char *pci_id(const struct hardware *hardware, unsigned gpu, const char *part, char buffer[SMI_VALUE_SIZE])
{
    bool subsystem = *part == 's';
    long long device = hardware_gpu_number(hardware, gpu, subsystem ? "pci_subsystem_device_id" : "pci_device_id", 0);
    long long vendor = subsystem ? hardware_gpu_number(hardware, gpu, "pci_subsystem_vendor_id", NVIDIA_VENDOR)
                                 : NVIDIA_VENDOR;
    return number_text(buffer, "%08llX", device << 16 | vendor);
}

/* What is left of "<argument>_total_mib" beside what is reserved and used; NULL when there is no total. */
static const char *free_mib(const struct hardware *hardware, unsigned gpu, const char *memory, char buffer[SMI_VALUE_SIZE])
{
    static const char *const taken[] = {"reserved", "used"};
    char name[64];
    snprintf(name, sizeof name, "%s_total_mib", memory);
    if (!hardware_gpu_value(hardware, gpu, name))
        return NULL;
    long long left = hardware_gpu_number(hardware, gpu, name, 0);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        snprintf(name, sizeof name, "%s_%s_mib", memory, taken[i]);
        left -= hardware_gpu_number(hardware, gpu, name, 0);
    }
    return number_text(buffer, "%lld", left);
}

/* Sum of ECC counters: "vc", "vu", "ac" or "au" for volatile or aggregate, corrected or uncorrected. */
static const char *ecc_total(const struct hardware *hardware, unsigned gpu, const char *which, char buffer[SMI_VALUE_SIZE])
{
    const char *mode = hardware_gpu_value(hardware, gpu, "ecc_mode");
    long long total = hardware_ecc_total(hardware, gpu, which[0] == 'a', which[1] == 'u');
    return !mode || strcmp(mode, "Enabled") != 0 || total < 0 ? NULL : number_text(buffer, "%lld", total);
}

static const char *ecc_sram(const struct hardware *hardware, unsigned gpu, const char *set, char buffer[SMI_VALUE_SIZE])
{
    char parity[64], secded[64];
    snprintf(parity, sizeof parity, "ecc_%s_sram_uncorrectable_parity", set);
    snprintf(secded, sizeof secded, "ecc_%s_sram_uncorrectable_secded", set);
    return !hardware_gpu_value(hardware, gpu, parity)
               ? NULL
               : number_text(buffer, "%lld", hardware_gpu_number(hardware, gpu, parity, 0) +
                                                 hardware_gpu_number(hardware, gpu, secded, 0));
}

static const char *clock_reasons(const struct hardware *hardware, unsigned gpu, const char *which,
                                 char buffer[SMI_VALUE_SIZE])
{
    enum { ALL_REASONS = 0x1ff };
    unsigned long long reasons;
    if (!hardware_clock_reasons(hardware, gpu, &reasons))
        return NULL;
    return number_text(buffer, "0x%016llX", *which == 's' ? ALL_REASONS : (long long)reasons);
}

static const char *pending_mig(const struct hardware *hardware, unsigned gpu, const char *argument,
                               char buffer[SMI_VALUE_SIZE])
{
    (void)argument, (void)buffer;
    const char *pending = hardware_gpu_value(hardware, gpu, "mig_mode_pending");
    return pending ? pending : hardware_gpu_value(hardware, gpu, "mig_mode");
}

/* Whether the GPU reports what `name` stands for, as a switch. */
static const char *reported(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE])
{
    (void)buffer;
    return hardware_gpu_value(hardware, gpu, name) ? "Enabled" : NULL;
}

/* Load is not attributed to a GPU that is partitioned. */
static const char *load(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE])
{
    (void)buffer;
    const char *mig = hardware_gpu_value(hardware, gpu, "mig_mode");
    return mig && strcmp(mig, "Enabled") == 0 ? NULL : hardware_gpu_value(hardware, gpu, name);
}

static const struct {
    const char *name;
    derivation derive;
    const char *argument;
} derived[] = {
    {"driver_version", of_host, "driver_version"},
    {"cuda_version", of_host, "cuda_version"},
    {"count", count, ""},
    {"index", rank, ""},
    {"minor_number", minor, ""},
    {"pci_domain", pci_part, "domain"},
    {"pci_bus", pci_part, "bus"},
    {"pci_device", pci_part, "v"},
    {"pci_address", pci_part, "address"},
    {"board_id", pci_part, "id"},
    {"pci_base_class", pci_class, "base"},
    {"pci_sub_class", pci_class, "sub"},
    {"pci_id", pci_id, ""},
    {"pci_subsystem_id", pci_id, "subsystem"},
    {"memory_free_mib", free_mib, "memory"},
    {"bar1_free_mib", free_mib, "bar1"},
    {"protected_free_mib", free_mib, "protected"},
    {"ecc_volatile_corrected", ecc_total, "vc"},
    {"ecc_volatile_uncorrectable", ecc_total, "vu"},
    {"ecc_aggregate_corrected", ecc_total, "ac"},
    {"ecc_aggregate_uncorrectable", ecc_total, "au"},
    {"ecc_volatile_sram_uncorrectable", ecc_sram, "volatile"},
    {"ecc_aggregate_sram_uncorrectable", ecc_sram, "aggregate"},
    {"clock_reasons", clock_reasons, "active"},
    {"clock_reasons_supported", clock_reasons, "supported"},
    {"mig_mode_pending", pending_mig, ""},
    {"gsp_mode", reported, "gsp_firmware_version"},
    {"power_management", reported, "power_limit_w"},
    {"utilization_gpu_percent", load, "utilization_gpu_percent"},
    {"utilization_memory_percent", load, "utilization_memory_percent"},
    {"utilization_encoder_percent", load, "utilization_encoder_percent"},
    {"utilization_decoder_percent", load, "utilization_decoder_percent"},
    {"utilization_jpeg_percent", load, "utilization_jpeg_percent"},
    {"utilization_ofa_percent", load, "utilization_ofa_percent"},
};

const char *smi_value(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE])
{
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        if (strcmp(name, derived[i].name) == 0)
            return derived[i].derive(hardware, gpu, derived[i].argument, buffer);
    return hardware_gpu_value(hardware, gpu, name);
}

const char *smi_now(char buffer[SMI_VALUE_SIZE], const char *format)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t used = strftime(buffer, SMI_VALUE_SIZE, format, localtime(&now.tv_sec));
    if (used && buffer[used - 1] == '.')
        snprintf(buffer + used, SMI_VALUE_SIZE - used, "%03ld", now.tv_nsec / 1000000);
    return buffer;
}

long long smi_bar1_share(const struct hardware *hardware, unsigned gpu, const struct hardware_mig_profile *profile)
{
    enum { MEMORY_SLICES = 8 };
    return hardware_gpu_number(hardware, gpu, "bar1_total_mib", 0) * profile->size / MEMORY_SLICES;
}

int smi_driver_branch(const struct hardware *hardware)
{
    const char *version = hardware_value(hardware, "driver_version");
    return version ? atoi(version) : 0;
}
