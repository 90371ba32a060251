/* Stand-in for nvidia-smi over a simulated-hardware state file. Static, so that it runs in any image into which the
 * container runtime mounts it. Understands the options listed in usage(); refuses every other, as the real one. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct options {
    bool help, query_help, version, list, query, xml, reset;
    const char *devices, *display, *query_gpu, *query_apps, *format;
    const char *compute_mode, *persistence_mode, *mig_mode, *power_limit, *clear_ecc;
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
         "    -d,   --display=            With -q: only these parts, such as ECC,ROW_REMAPPER.\n"
         "          --query-gpu=          Fields of GPUs; needs --format.\n"
         "          --query-compute-apps= Fields of compute processes; needs --format.\n"
         "          --format=             csv[,noheader][,nounits]\n"
         "          --help-query-gpu      Fields of --query-gpu.\n"
         "    -c,   --compute-mode=       0/DEFAULT, 2/PROHIBITED, 3/EXCLUSIVE_PROCESS\n"
         "    -pm,  --persistence-mode=   0/DISABLED, 1/ENABLED\n"
         "    -mig, --multi-instance-gpu= 0/DISABLED, 1/ENABLED\n"
         "    -pl,  --power-limit=        Watts.\n"
         "    -p,   --reset-ecc-errors=   0/VOLATILE, 1/AGGREGATE\n"
         "    -r,   --gpu-reset           Reset GPUs.\n\n"
         "    mig                         -lgip -lgipp -lgi -lcip -lci -cgi -cci -dgi -dci, with -i -gi -ci -C\n"
         "    topo                        -m\n"
         "    nvlink                      -s -e, with -i");
}

const char *smi_argument(char **argv, int *at, const char *brief, const char *full)
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
    const struct {
        const char *brief, *full;
        bool *flag;
    } flags[] = {{"-h", "--help", &options->help},       {NULL, "--help-query-gpu", &options->query_help},
                 {NULL, "--version", &options->version}, {"-L", "--list-gpus", &options->list},
                 {"-q", "--query", &options->query},     {"-x", "--xml-format", &options->xml},
                 {"-r", "--gpu-reset", &options->reset}};
    const struct {
        const char *brief, *full;
        const char **value;
    } values[] = {{"-i", "--id", &options->devices},
                  {"-d", "--display", &options->display},
                  {"-c", "--compute-mode", &options->compute_mode},
                  {"-pm", "--persistence-mode", &options->persistence_mode},
                  {"-mig", "--multi-instance-gpu", &options->mig_mode},
                  {"-pl", "--power-limit", &options->power_limit},
                  {"-p", "--reset-ecc-errors", &options->clear_ecc},
                  {NULL, "--query-gpu", &options->query_gpu},
                  {NULL, "--query-remapped-rows", &options->query_gpu}, /* its fields are among those of a GPU */
                  {NULL, "--query-compute-apps", &options->query_apps},
                  {NULL, "--format", &options->format}};
    for (int i = 1; argv[i]; i++) {
        bool known = false;
        for (size_t f = 0; f < sizeof flags / sizeof *flags && !known; f++)
            if (is_flag(argv[i], flags[f].brief, flags[f].full))
                *flags[f].flag = known = true;
        for (size_t v = 0; v < sizeof values / sizeof *values && !known; v++) {
            const char *argument = smi_argument(argv, &i, values[v].brief, values[v].full);
            known = argument;
            if (known)
                *values[v].value = argument;
        }
        if (!known) {
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
    snprintf(index, sizeof index, "%u", hardware_gpu_index(hardware, gpu));
    if (strcmp(wanted, index) == 0 || (uuid && strcasecmp(wanted, uuid) == 0))
        return true;
    return hardware_parse_pci_address(wanted, &there) &&
           hardware_parse_pci_address(hardware_gpu_value(hardware, gpu, "pci_bus_id"), &here) &&
           here.domain == there.domain && here.bus == there.bus && here.device == there.device &&
           here.function == there.function;
}

bool smi_select(const struct hardware *hardware, const char *wanted, struct smi_selection *selection)
{
    bool chosen[HARDWARE_MAX_GPUS] = {false}, found = true;
    unsigned count = hardware_gpu_places(hardware);
    char *copy = strdup(wanted ? wanted : ""), *rest = NULL;
    for (char *one = strtok_r(copy, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        unsigned gpu = 0;
        while (gpu < count && !(hardware_gpu_is_present(hardware, gpu) && is_gpu(hardware, gpu, one)))
            gpu++;
        if (gpu < count)
            chosen[gpu] = true;
        else
            found = false;
    }
    free(copy);
    selection->count = 0;
    for (unsigned gpu = 0; gpu < count; gpu++)
        if (hardware_gpu_is_present(hardware, gpu) && (!wanted || chosen[gpu]))
            selection->gpu[selection->count++] = gpu;
    return found && selection->count > 0;
}

/* How long the first two numbers of a version are: what NVML calls its own version. */
static int branch_length(const char *version)
{
    const char *dot = strchr(version, '.');
    const char *second = dot ? strchr(dot + 1, '.') : NULL;
    return (int)(second ? (size_t)(second - version) : strlen(version));
}

/* What NVML would say when it cannot start; the code is also the exit code. */
static enum smi_exit report_init_error(const char *code, const char *version)
{
    enum { NVML_VERSION_MISMATCH = 18 };
    int number = atoi(code);
    if (number == SMI_NO_DRIVER)
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
             "NVIDIA driver is installed and running.\n");
    else if (number == NVML_VERSION_MISMATCH)
        printf("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: %.*s\n",
               branch_length(version), version);
    else
        puts("Failed to initialize NVML: Unknown Error");
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
               "GPU\n", hardware_gpu_index(hardware, selection->gpu[i]), address);
        return SMI_GPU_LOST;
    }
    return SMI_OK;
}

static enum smi_exit answer(const struct hardware *hardware, const struct options *options,
                            const struct smi_selection *selection)
{
    if (options->compute_mode)
        return smi_set_compute_mode(hardware, selection, options->compute_mode);
    if (options->persistence_mode)
        return smi_set_persistence_mode(hardware, selection, options->persistence_mode);
    if (options->mig_mode)
        return smi_set_mig_mode(hardware, selection, options->mig_mode);
    if (options->power_limit)
        return smi_set_power_limit(hardware, selection, options->power_limit);
    if (options->clear_ecc)
        return smi_clear_ecc(hardware, selection, options->clear_ecc);
    if (options->reset)
        return smi_reset(hardware, selection);
    if (options->query_gpu)
        return smi_print_gpu_csv(hardware, selection, options->query_gpu, options->format);
    if (options->query_apps)
        return smi_print_apps_csv(options->query_apps, options->format);
    if (options->list)
        smi_print_list(hardware, selection);
    else if (options->query)
        return smi_print_report(hardware, selection, options->xml, options->display);
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
    const char *nvml = hardware_value(hardware, "nvml_version");
    printf("NVIDIA-SMI version  : %s\nNVML version        : %.*s\nDRIVER version      : %s\nCUDA Version        : %s\n", nvml,
           branch_length(nvml), nvml, hardware_value(hardware, "driver_version"), hardware_value(hardware, "cuda_version"));
}

/* A command instead of options: `nvidia-smi mig ...`. */
static enum smi_exit (*command_of(const char *name))(const struct hardware *, char **)
{
    static const struct {
        const char *name;
        enum smi_exit (*run)(const struct hardware *, char **);
    } commands[] = {{"mig", smi_mig}, {"topo", smi_topology}, {"nvlink", smi_nvlink}};
    for (size_t i = 0; name && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run;
    return NULL;
}

int main(int argc, char **argv)
{
    static struct hardware hardware;
    struct options options = {0};
    struct smi_selection selection;
    char path[HARDWARE_MAX_PATH];
    enum smi_exit (*command)(const struct hardware *, char **) = command_of(argc > 1 ? argv[1] : NULL);

    if (!command && !parse_options(argv, &options))
        return SMI_INVALID_ARGUMENT;
    if (options.help || options.query_help) {
        if (options.help)
            usage();
        else
            smi_print_query_help();
        return SMI_OK;
    }
    if (!hardware_find_state(path) || !hardware_load(&hardware, path) || !names_a_driver(&hardware))
        return report_init_error("9", "");
    if (hardware_value(&hardware, "init_error"))
        return report_init_error(hardware_value(&hardware, "init_error"), hardware_value(&hardware, "nvml_version"));
    if (command)
        return command(&hardware, argv + 2);
    if (options.version) {
        print_version(&hardware);
        return SMI_OK;
    }
    if (!smi_select(&hardware, options.devices, &selection) || !selection.count) {
        puts("No devices were found");
        return SMI_NOT_FOUND;
    }
    enum smi_exit lost = check_lost(&hardware, &selection);
    return lost != SMI_OK ? lost : answer(&hardware, &options, &selection);
}
