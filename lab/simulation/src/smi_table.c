/* Simulated nvidia-smi: the plain table and the list of GPUs. Column widths are those of drivers 550 to 580. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From this branch on the frame under the title begins with '+', and the PID column is wider. */
enum { WIDE_PID_BRANCH = 580 };

static const char cell_rule[] = "-----------------------------------------+------------------------+----------------------";
static const char mig_rule[] = "+------------------+----------------------------------+-----------+-----------------------+";
static const char full_rule[] = "-----------------------------------------------------------------------------------------";

/* The value, or N/A. */
static const char *shown(const struct hardware *hardware, unsigned gpu, const char *name, char buffer[SMI_VALUE_SIZE])
{
    const char *value = smi_value(hardware, gpu, name, buffer);
    return value ? value : "N/A";
}

/* A number cut to a whole one, followed by its unit; N/A when it is not reported. */
static const char *measured(const struct hardware *hardware, unsigned gpu, const char *name, const char *unit,
                            char buffer[SMI_VALUE_SIZE])
{
    const char *value = hardware_gpu_value(hardware, gpu, name);
    if (!value)
        return "N/A";
    snprintf(buffer, SMI_VALUE_SIZE, "%lld%s", (long long)atof(value), unit);
    return buffer;
}

/* A GPU in MIG mode shows this instead of its error count and its load. */
static bool partitioned(const struct hardware *hardware, unsigned gpu)
{
    const char *mode = hardware_gpu_value(hardware, gpu, "mig_mode");
    return mode && strcmp(mode, "Enabled") == 0;
}

enum { NAME_WIDTH = 27 };

static void print_identity(const struct hardware *hardware, unsigned gpu)
{
    char name[SMI_VALUE_SIZE], address[SMI_VALUE_SIZE], errors[SMI_VALUE_SIZE], mode[SMI_VALUE_SIZE];
    bool persistent = strcmp(shown(hardware, gpu, "persistence_mode", mode), "Enabled") == 0;
    char named[SMI_VALUE_SIZE];
    const char *display = shown(hardware, gpu, "display_active", mode), *full = shown(hardware, gpu, "name", name);
    const char *ecc = partitioned(hardware, gpu) ? "On" : shown(hardware, gpu, "ecc_volatile_uncorrectable", errors);
    snprintf(named, sizeof named, strlen(full) > NAME_WIDTH ? "%.*s..." : "%.*s",
             (int)(strlen(full) > NAME_WIDTH ? NAME_WIDTH - 3 : NAME_WIDTH), full);
    printf("|%4u  %-30s %-3s |   %s %-3s |%21s |\n", hardware_gpu_index(hardware, gpu), named, persistent ? "On" : "Off",
           shown(hardware, gpu, "pci_address", address), strcmp(display, "Enabled") == 0 ? "On" : "Off", ecc);
}

static void print_readings(const struct hardware *hardware, unsigned gpu)
{
    char fan[SMI_VALUE_SIZE], temperature[SMI_VALUE_SIZE], state[SMI_VALUE_SIZE], draw[SMI_VALUE_SIZE];
    char limit[SMI_VALUE_SIZE], load[SMI_VALUE_SIZE], mode[SMI_VALUE_SIZE], memory[64] = " Not Supported";

    printf("|%4s%6s%6s%16s / ", measured(hardware, gpu, "fan_speed_percent", "%", fan),
           measured(hardware, gpu, "temperature_gpu_c", "C", temperature),
           shown(hardware, gpu, "performance_state", state), measured(hardware, gpu, "power_draw_w", "W", draw));
    if (hardware_gpu_value(hardware, gpu, "power_limit_w"))
        printf("%5s |", measured(hardware, gpu, "power_limit_w", "W", limit));
    else
        printf("%4s  |", "N/A");

    const char *busy = partitioned(hardware, gpu) ? "N/A" : measured(hardware, gpu, "utilization_gpu_percent", "%", load);
    if (hardware_gpu_value(hardware, gpu, "memory_total_mib"))
        snprintf(memory, sizeof memory, " %7lldMiB / %6lldMiB ", hardware_gpu_number(hardware, gpu, "memory_used_mib", 0),
                 hardware_gpu_number(hardware, gpu, "memory_total_mib", 0));
    const char *compute_mode = shown(hardware, gpu, "compute_mode", mode);
    if (strcmp(compute_mode, "Exclusive_Process") == 0)
        compute_mode = "E. Process";
    printf("%-24.24s|%8s%13s |\n", memory, busy, compute_mode);
}

static void print_gpu(const struct hardware *hardware, unsigned gpu)
{
    char mig[SMI_VALUE_SIZE];
    print_identity(hardware, gpu);
    print_readings(hardware, gpu);
    printf("|%41s|%24s|%21s |\n+%s+\n", "", "", shown(hardware, gpu, "mig_mode", mig), cell_rule);
}

/* One MIG device: memory and BAR1 as its share, engines as its GPU instance has them. */
static void print_mig_device(const struct hardware *hardware, unsigned gpu, unsigned index,
                             const struct hardware_gpu_instance *gi, const struct hardware_compute_instance *ci)
{
    const struct hardware_mig_profile *profile = &gi->profile;
    unsigned part = ci->slices * (profile->multiprocessors / profile->slices);
    long long bar1 = smi_bar1_share(hardware, gpu, profile);
    printf("|%3u%5u%4u%4u  |%16uMiB / %5uMiB    |%3u%7u |%3u%4u%5u%5u%5u |\n", hardware_gpu_index(hardware, gpu), gi->id,
           ci->id, index, 0, profile->memory_mib,
           ci->slices == profile->slices ? profile->multiprocessors : part, 0, profile->copy_engines, profile->encoders,
           profile->decoders, profile->ofa, profile->jpeg);
    printf("|%18s|%16uMiB / %5lldMiB    |%11s|%23s|\n%s\n", "", 0, bar1, "", "", mig_rule);
}

static void print_mig_devices(const struct hardware *hardware, const struct smi_selection *selection, bool shared_label)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    bool any = false, any_partitioned = false;
    for (size_t i = 0; i < selection->count; i++)
        any_partitioned = any_partitioned || partitioned(hardware, selection->gpu[i]);
    if (!any_partitioned)
        return;
    const char *shared = shared_label ? "Shared " : "";
    printf("\n+%s+\n| %-87s |\n%s\n", full_rule, "MIG devices:", mig_rule);
    printf("| GPU  GI  CI  MIG |%21s%s |        Vol|        Shared         |\n", shared, "Memory-Usage");
    printf("|      ID  ID  Dev |%21s%12s | SM     Unc| CE ENC  DEC  OFA  JPG |\n", shared, "BAR1-Usage");
    printf("|                  |                                  |        ECC|                       |\n");
    puts("|==================+==================================+===========+=======================|");
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned index = 0; partitioned(hardware, selection->gpu[i]) &&
                                 hardware_mig_device(hardware, selection->gpu[i], index, &gi, &ci);
             index++, any = true)
            print_mig_device(hardware, selection->gpu[i], index, &gi, &ci);
    if (!any)
        printf("|  %-87s|\n+%s+\n", "No MIG devices found", full_rule);
}

void smi_print_table(const struct hardware *hardware, const struct smi_selection *selection)
{
    char now[SMI_VALUE_SIZE];
    const char *driver = hardware_value(hardware, "driver_version"), *nvml = hardware_value(hardware, "nvml_version");
    const char *cuda = hardware_value(hardware, "cuda_version");
    bool wide = smi_driver_branch(hardware) >= WIDE_PID_BRANCH;
    printf("%s       \n+%s+\n", smi_now(now, "%a %b %e %H:%M:%S %Y"), full_rule);
    printf("| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n", nvml, driver, cuda);
    printf("%c%s+\n", wide ? '+' : '|', cell_rule);
    puts("| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |");
    puts("| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |");
    puts("|                                         |                        |               MIG M. |");
    puts("|=========================================+========================+======================|");
    for (size_t i = 0; i < selection->count; i++)
        print_gpu(hardware, selection->gpu[i]);

    print_mig_devices(hardware, selection, wide);
    printf("%*s\n+%s+\n", wide ? 0 : (int)strlen(full_rule), "", full_rule);
    printf("| %-87s |\n", "Processes:");
    printf("|  GPU   GI   CI %*s   Type   Process name %*s |\n", wide ? 16 : 10, "PID", wide ? 33 : 39, "GPU Memory");
    printf("| %-77s%-10s |\n", "       ID   ID", "Usage");
    puts("|=========================================================================================|");
    printf("| %-87s |\n+%s+\n", " No running processes found", full_rule);
}

void smi_print_list(const struct hardware *hardware, const struct smi_selection *selection)
{
    char name[SMI_VALUE_SIZE], uuid[SMI_VALUE_SIZE];
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    for (size_t i = 0; i < selection->count; i++) {
        unsigned gpu = selection->gpu[i];
        printf("GPU %u: %s (UUID: %s)\n", hardware_gpu_index(hardware, gpu), shown(hardware, gpu, "name", name),
               shown(hardware, gpu, "uuid", uuid));
        for (unsigned index = 0; hardware_mig_device(hardware, gpu, index, &gi, &ci); index++) {
            char mig[64];
            hardware_mig_name(&gi.profile, ci.slices, mig, sizeof mig);
            printf("  %-15s Device %2u: (UUID: %s)\n", mig, index, ci.uuid);
        }
    }
}
