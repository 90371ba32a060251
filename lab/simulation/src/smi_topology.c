/* Simulated nvidia-smi: `topo -m` and `nvlink`. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- topo -m ---- */


/* How two GPUs reach each other: all their NVLinks through the switches, else by their NUMA nodes. */
static const char *path_between(const struct hardware *hardware, unsigned left, unsigned right, char text[24])
{
    long long links = hardware_gpu_number(hardware, left, "nvlink_count", 0);
    if (left == right)
        return " X ";
    if (links > 0) {
        snprintf(text, 24, "NV%lld", links);
        return text;
    }
    return hardware_gpu_number(hardware, left, "numa_node", -1) == hardware_gpu_number(hardware, right, "numa_node", -1)
               ? "NODE"
               : "SYS";
}

static const char *adapter_value(const struct hardware *hardware, unsigned adapter, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "hca.%u.%s", adapter, name);
    const char *value = hardware_value(hardware, key);
    if (value)
        return value;
    snprintf(key, sizeof key, "hca.*.%s", name);
    return hardware_value(hardware, key);
}

static unsigned adapter_count(const struct hardware *hardware)
{
    const char *count = hardware_value(hardware, "hca_count");
    return count ? (unsigned)strtoul(count, NULL, 10) : 0;
}

static const char *by_nodes(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0 ? "NODE" : "SYS";
}

static void print_matrix(const struct hardware *hardware, const struct smi_selection *selection)
{
    unsigned adapters = adapter_count(hardware);
    char text[24], buffer[SMI_VALUE_SIZE];
    fputs("\t\033[4m", stdout); /* the real one underlines its header, also in a pipe */
    for (size_t i = 0; i < selection->count; i++)
        printf("GPU%u\t", hardware_gpu_index(hardware, selection->gpu[i]));
    for (unsigned adapter = 0; adapter < adapters; adapter++)
        printf("NIC%u\t", adapter);
    puts("CPU Affinity\tNUMA Affinity\tGPU NUMA ID\033[0m");
    for (size_t row = 0; row < selection->count; row++) {
        unsigned gpu = selection->gpu[row];
        const char *node = hardware_gpu_value(hardware, gpu, "numa_node");
        const char *affinity = smi_value(hardware, gpu, "cpu_affinity", buffer);
        printf("GPU%u", hardware_gpu_index(hardware, gpu));
        for (size_t column = 0; column < selection->count; column++)
            printf("\t%s", path_between(hardware, gpu, selection->gpu[column], text));
        for (unsigned adapter = 0; adapter < adapters; adapter++)
            printf("\t%s", by_nodes(node, adapter_value(hardware, adapter, "numa_node")));
        printf("\t%s\t%s\t\tN/A\n", affinity ? affinity : "N/A", node && *node != '-' ? node : "0");
    }
    for (unsigned row = 0; row < adapters; row++) {
        const char *node = adapter_value(hardware, row, "numa_node");
        printf("NIC%u", row);
        for (size_t column = 0; column < selection->count; column++)
            printf("\t%s", by_nodes(node, hardware_gpu_value(hardware, selection->gpu[column], "numa_node")));
        for (unsigned column = 0; column < adapters; column++)
            printf("\t%s", row == column ? " X " : by_nodes(node, adapter_value(hardware, column, "numa_node")));
        puts("\t\t\t\t");
    }
}

static void print_legend(const struct hardware *hardware)
{
    puts("\nLegend:\n\n  X    = Self\n"
         "  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)\n"
         "  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node\n"
         "  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)\n"
         "  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)\n"
         "  PIX  = Connection traversing at most a single PCIe bridge\n"
         "  NV#  = Connection traversing a bonded set of # NVLinks");
    unsigned adapters = adapter_count(hardware);
    if (adapters)
        puts("\nNIC Legend:\n");
    for (unsigned adapter = 0; adapter < adapters; adapter++)
        printf("  NIC%u: %s\n", adapter, adapter_value(hardware, adapter, "name"));
    if (adapters)
        putchar('\n');
}

enum smi_exit smi_topology(const struct hardware *hardware, char **argv)
{
    struct smi_selection selection;
    if (!argv[0] || (strcmp(argv[0], "-m") != 0 && strcmp(argv[0], "--matrix") != 0) || argv[1]) {
        puts("Invalid combination of input arguments. Please run 'nvidia-smi topo -h' for help.\n");
        return SMI_INVALID_ARGUMENT;
    }
    smi_select(hardware, NULL, &selection);
    print_matrix(hardware, &selection);
    print_legend(hardware);
    return SMI_OK;
}

/* ---- nvlink ---- */

static const char *link_value(const struct hardware *hardware, unsigned gpu, unsigned link, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "nvlink_%u_%s", link, name);
    return hardware_gpu_value(hardware, gpu, key);
}

static bool is_active(const struct hardware *hardware, unsigned gpu, unsigned link)
{
    const char *state = link_value(hardware, gpu, link, "state");
    return !state || strcmp(state, "Active") == 0;
}

static void print_status(const struct hardware *hardware, unsigned gpu, unsigned link)
{
    long long speed = hardware_gpu_number(hardware, gpu, "nvlink_speed_mb_per_s", 0);
    if (is_active(hardware, gpu, link))
        printf("\t Link %u: %lld.%03lld GB/s\n", link, speed / 1000, speed % 1000);
    else
        printf("\t Link %u: <inactive>\n", link);
}

static void print_errors(const struct hardware *hardware, unsigned gpu, unsigned link)
{
    static const struct {
        const char *label, *name;
    } counters[] = {{"Replay Errors", "replay_errors"},
                    {"Recovery Errors", "recovery_errors"},
                    {"CRC Errors", "crc_flit_errors"}};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        const char *count = link_value(hardware, gpu, link, counters[i].name);
        printf("\t Link %u: %s: %s\n", link, counters[i].label, count ? count : "0");
    }
}

enum smi_exit smi_nvlink(const struct hardware *hardware, char **argv)
{
    struct smi_selection selection;
    const char *devices = NULL, *argument;
    bool errors = false, status = false;
    for (int i = 0; argv[i]; i++) {
        if ((argument = smi_argument(argv, &i, "-i", "--id")))
            devices = argument;
        else if (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--status") == 0)
            status = true;
        else if (strcmp(argv[i], "-e") == 0 || strcmp(argv[i], "--errorcounters") == 0)
            errors = true;
        else
            status = errors = true;
    }
    if (status == errors) {
        puts("Invalid combination of input arguments. Please run 'nvidia-smi nvlink -h' for help.\n");
        return SMI_INVALID_ARGUMENT;
    }
    if (!smi_select(hardware, devices, &selection)) {
        puts("No devices were found");
        return SMI_NOT_FOUND;
    }
    for (size_t i = 0; i < selection.count; i++) {
        unsigned gpu = selection.gpu[i], links = (unsigned)hardware_gpu_number(hardware, gpu, "nvlink_count", 0), active = 0;
        const char *mig = hardware_gpu_value(hardware, gpu, "mig_mode");
        for (unsigned link = 0; link < links; link++)
            active += is_active(hardware, gpu, link);
        if (!links)
            continue; /* a GPU without NVLink is passed over in silence */
        printf("GPU %u: %s (UUID: %s)\n", hardware_gpu_index(hardware, gpu), hardware_gpu_value(hardware, gpu, "name"),
               hardware_gpu_value(hardware, gpu, "uuid"));
        if (mig && strcmp(mig, "Enabled") == 0)
            puts("\t Nvlink queries are not supported for Devices in MIG mode");
        else if (!active && status)
            puts("NVML: Unable to retrieve NVLink information as all links are inactive");
        else
            for (unsigned link = 0; link < links; link++)
                (status ? print_status : print_errors)(hardware, gpu, link);
    }
    return SMI_OK;
}
