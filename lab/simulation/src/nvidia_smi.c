/* Stand-in for nvidia-smi over a simulated-hardware state file. Static, so that it runs in any image into which the
 * container runtime mounts it. Understands the options listed in usage(); refuses every other, as the real one. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct options {
    bool help, version, list, query, xml;
    const char *devices, *compute_mode, *query_gpu, *query_apps, *format;
};

static void usage(void)
{
    puts("NVIDIA System Management Interface -- SIMULATED, lab stand-in without any GPU\n\n"
         "nvidia-smi [OPTION1 [ARG1]] [OPTION2 [ARG2]] ...\n\n"
         "    -h,   --help                Print usage information and exit.\n"
         "          --version             Print version information and exit.\n"
         "    -L,   --list-gpus           Display a list of GPUs.\n"
         "    -i,   --id=                 Target GPUs: index, UUID or PCI bus id; comma separated.\n"
         "    -q,   --query               Display GPU info.\n"
         "    -x,   --xml-format          With -q: produce XML.\n"
         "          --query-gpu=          Fields of GPUs; needs --format.\n"
         "          --query-compute-apps= Fields of compute processes; needs --format.\n"
         "          --format=             csv[,noheader][,nounits]\n"
         "    -c,   --compute-mode=       0/DEFAULT, 2/PROHIBITED, 3/EXCLUSIVE_PROCESS (not kept)");
}

/* The argument of an option written `-s VALUE`, `--long VALUE` or `--long=VALUE`; NULL if this is another option. */
static const char *argument_of(char **argv, int *at, const char *brief, const char *full)
{
    const char *option = argv[*at];
    size_t length = strlen(full);
    if (strncmp(option, full, length) == 0 && option[length] == '=')
        return option + length + 1;
    if ((brief && strcmp(option, brief) == 0) || strcmp(option, full) == 0)
        return argv[*at + 1] ? argv[++*at] : "";
    return NULL;
}

static bool is_flag(const char *option, const char *brief, const char *full)
{
    return (brief && strcmp(option, brief) == 0) || strcmp(option, full) == 0;
}

static bool parse_options(char **argv, struct options *options)
{
    for (int i = 1; argv[i]; i++) {
        const char *argument;
        if (is_flag(argv[i], "-h", "--help"))
            options->help = true;
        else if (is_flag(argv[i], NULL, "--version"))
            options->version = true;
        else if (is_flag(argv[i], "-L", "--list-gpus"))
            options->list = true;
        else if (is_flag(argv[i], "-q", "--query"))
            options->query = true;
        else if (is_flag(argv[i], "-x", "--xml-format"))
            options->xml = true;
        else if ((argument = argument_of(argv, &i, "-i", "--id")))
            options->devices = argument;
        else if ((argument = argument_of(argv, &i, "-c", "--compute-mode")))
            options->compute_mode = argument;
        else if ((argument = argument_of(argv, &i, NULL, "--query-gpu")))
            options->query_gpu = argument;
        else if ((argument = argument_of(argv, &i, NULL, "--query-compute-apps")))
            options->query_apps = argument;
        else if ((argument = argument_of(argv, &i, NULL, "--format")))
            options->format = argument;
        else {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n");
            return false;
        }
    }
    return true;
}

static bool is_gpu(const struct hardware *hardware, unsigned gpu, const char *wanted)
{
    char index[16];
    const char *uuid = hardware_gpu_value(hardware, gpu, "uuid");
    struct hardware_pci_address here, there;
    snprintf(index, sizeof index, "%u", gpu);
    if (strcmp(wanted, index) == 0 || (uuid && strcasecmp(wanted, uuid) == 0))
        return true;
    return hardware_parse_pci_address(wanted, &there) &&
           hardware_parse_pci_address(hardware_gpu_value(hardware, gpu, "pci_bus_id"), &here) &&
           here.domain == there.domain && here.bus == there.bus && here.device == there.device &&
           here.function == there.function;
}

/* All GPUs, or those in the comma separated list. False if one of the list does not exist. */
static bool select_gpus(const struct hardware *hardware, const char *wanted, struct smi_selection *selection)
{
    bool chosen[HARDWARE_MAX_GPUS] = {false}, found = true;
    unsigned count = hardware_gpu_count(hardware);
    char *copy = strdup(wanted ? wanted : ""), *rest = NULL;
    for (char *one = strtok_r(copy, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        unsigned gpu = 0;
        while (gpu < count && !is_gpu(hardware, gpu, one))
            gpu++;
        if (gpu < count)
            chosen[gpu] = true;
        else
            found = false;
    }
    free(copy);
    selection->count = 0;
    for (unsigned gpu = 0; gpu < count; gpu++)
        if (!wanted || chosen[gpu])
            selection->gpu[selection->count++] = gpu;
    return found && selection->count > 0;
}

static enum smi_exit set_compute_mode(const struct hardware *hardware, const struct smi_selection *selection,
                                      const char *mode)
{
    static const struct {
        const char *number, *name;
    } modes[] = {{"0", "DEFAULT"}, {"1", "EXCLUSIVE_THREAD"}, {"2", "PROHIBITED"}, {"3", "EXCLUSIVE_PROCESS"}};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].number) == 0 || strcasecmp(mode, modes[i].name) == 0)
            name = modes[i].name;
    if (!name) {
        printf("\"%s\" is not a valid value for -c/--compute-mode. Please run 'nvidia-smi -h' for help.\n\n", mode);
        return SMI_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < selection->count; i++) {
        char address[SMI_VALUE_SIZE] = "";
        smi_value(hardware, selection->gpu[i], "pci_address", address);
        if (geteuid() != 0) {
            printf("Unable to set the compute mode for GPU %s: Insufficient Permissions\nTerminating early due to "
                   "previous errors.\n", address);
            return SMI_NO_PERMISSION;
        }
        printf("Set compute mode to %s for GPU %s.\n", name, address);
    }
    puts("All done.");
    return SMI_OK;
}

/* What NVML would say when it cannot start; the code is also the exit code. */
static enum smi_exit report_init_error(const char *code)
{
    enum { NVML_VERSION_MISMATCH = 18 };
    int number = atoi(code);
    if (number == SMI_NO_DRIVER)
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
             "NVIDIA driver is installed and running.\n");
    else
        printf("Failed to initialize NVML: %s\n",
               number == NVML_VERSION_MISMATCH ? "Driver/library version mismatch" : "Unknown Error");
    return number > 0 && number < 256 ? (enum smi_exit)number : (enum smi_exit)255;
}

static enum smi_exit check_lost(const struct hardware *hardware, const struct smi_selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        char address[SMI_VALUE_SIZE] = "";
        if (!hardware_gpu_is_lost(hardware, selection->gpu[i]))
            continue;
        smi_value(hardware, selection->gpu[i], "pci_address", address);
        printf("Unable to determine the device handle for GPU%u: %s: GPU is lost.  Reboot the system to recover this "
               "GPU\n", selection->gpu[i], address);
        return SMI_GPU_LOST;
    }
    return SMI_OK;
}

static enum smi_exit answer(const struct hardware *hardware, const struct options *options,
                            const struct smi_selection *selection)
{
    if (options->compute_mode)
        return set_compute_mode(hardware, selection, options->compute_mode);
    if (options->query_gpu)
        return smi_print_gpu_csv(hardware, selection, options->query_gpu, options->format);
    if (options->query_apps)
        return smi_print_apps_csv(options->query_apps, options->format);
    if (options->list)
        smi_print_list(hardware, selection);
    else if (options->query)
        smi_print_report(hardware, selection, options->xml);
    else
        smi_print_table(hardware, selection);
    return SMI_OK;
}

/* The versions that every output prints. */
static bool names_a_driver(const struct hardware *hardware)
{
    return hardware_value(hardware, "driver_version") && hardware_value(hardware, "nvml_version") &&
           hardware_value(hardware, "cuda_version");
}

static void print_version(const struct hardware *hardware)
{
    printf("NVIDIA-SMI version  : %s\nNVML version        : %d\nDRIVER version      : %s\nCUDA Version        : %s\n",
           hardware_value(hardware, "nvml_version"), smi_driver_branch(hardware),
           hardware_value(hardware, "driver_version"), hardware_value(hardware, "cuda_version"));
}

int main(int argc, char **argv)
{
    static struct hardware hardware;
    struct options options = {0};
    struct smi_selection selection;
    char path[HARDWARE_MAX_PATH];

    (void)argc;
    if (!parse_options(argv, &options))
        return SMI_INVALID_ARGUMENT;
    if (options.help) {
        usage();
        return SMI_OK;
    }
    if (!hardware_find_state(path) || !hardware_load(&hardware, path) || !names_a_driver(&hardware))
        return report_init_error("9");
    if (hardware_value(&hardware, "init_error"))
        return report_init_error(hardware_value(&hardware, "init_error"));
    if (options.version) {
        print_version(&hardware);
        return SMI_OK;
    }
    if (!select_gpus(&hardware, options.devices, &selection)) {
        puts("No devices were found");
        return SMI_NOT_FOUND;
    }
    enum smi_exit lost = check_lost(&hardware, &selection);
    return lost != SMI_OK ? lost : answer(&hardware, &options, &selection);
}
