/* Simulated nvidia-smi: options that change a GPU. The driver stand-in makes the change and keeps it. */
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *smi_error(int code)
{
    switch (code) {
    case SMI_OK: return "Success";
    case SMI_INVALID_ARGUMENT: return "Invalid Argument";
    case SMI_NOT_SUPPORTED: return "Not Supported";
    case SMI_NO_PERMISSION: return "Insufficient Permissions";
    case SMI_NOT_FOUND: return "Not Found";
    case SMI_GPU_LOST: return "GPU is lost";
    case SMI_IN_USE: return "In use by another client";
    case SMI_INSUFFICIENT_RESOURCES: return "Insufficient Resources";
    default: return "Unknown Error";
    }
}

struct choice {
    const char *number, *name; /* as the user may write it */
    const char *value;         /* as the driver stand-in is asked */
};

static const struct choice *choose(const struct choice *choices, size_t count, const char *option, const char *given)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(given, choices[i].number) == 0 || strcasecmp(given, choices[i].name) == 0)
            return &choices[i];
    printf("\"%s\" is not a valid value for %s. Please run 'nvidia-smi -h' for help.\n\n", given, option);
    return NULL;
}

/* Ask for the same change of every selected GPU. `done` and `failed` are printf formats: address, then error. */
static enum smi_exit change(const struct hardware *hardware, const struct smi_selection *selection, const char *request,
                            const char *value, const char *done, const char *failed)
{
    for (size_t i = 0; i < selection->count; i++) {
        char address[SMI_VALUE_SIZE] = "", answer[HARDWARE_ANSWER_SIZE];
        smi_value(hardware, selection->gpu[i], "pci_address", address);
        int code = hardware_request(answer, "%s %u %s", request, selection->gpu[i], value);
        if (code != SMI_OK) {
            printf("Unable to %s for GPU %s: %s\nTerminating early due to previous errors.\n", failed, address,
                   smi_error(code));
            return (enum smi_exit)(code < 256 ? code : 255);
        }
        printf("%s GPU %s.\n", done, address);
    }
    puts("All done.");
    return SMI_OK;
}

enum smi_exit smi_set_compute_mode(const struct hardware *hardware, const struct smi_selection *selection,
                                   const char *value)
{
    static const struct choice modes[] = {{"0", "DEFAULT", "Default"},
                                          {"2", "PROHIBITED", "Prohibited"},
                                          {"3", "EXCLUSIVE_PROCESS", "Exclusive_Process"}};
    char done[64];
    const struct choice *mode = choose(modes, sizeof modes / sizeof *modes, "-c/--compute-mode", value);
    if (!mode)
        return SMI_INVALID_ARGUMENT;
    snprintf(done, sizeof done, "Set compute mode to %s for", mode->name);
    return change(hardware, selection, "compute-mode", mode->value, done, "set the compute mode");
}

static const struct choice switches[] = {{"0", "DISABLED", "Disabled"}, {"1", "ENABLED", "Enabled"}};

enum smi_exit smi_set_persistence_mode(const struct hardware *hardware, const struct smi_selection *selection,
                                       const char *value)
{
    char done[64];
    const struct choice *mode = choose(switches, 2, "-pm/--persistence-mode", value);
    if (!mode)
        return SMI_INVALID_ARGUMENT;
    snprintf(done, sizeof done, "%s persistence mode for", mode->value);
    return change(hardware, selection, "persistence-mode", mode->value, done, "set the persistence mode");
}

enum smi_exit smi_set_mig_mode(const struct hardware *hardware, const struct smi_selection *selection, const char *value)
{
    const struct choice *mode = choose(switches, 2, "-mig/--multi-instance-gpu", value);
    if (!mode)
        return SMI_INVALID_ARGUMENT;
    for (size_t i = 0; i < selection->count; i++) {
        char address[SMI_VALUE_SIZE] = "", answer[HARDWARE_ANSWER_SIZE];
        const char *verb = strcmp(mode->value, "Enabled") == 0 ? "enable" : "disable";
        smi_value(hardware, selection->gpu[i], "pci_address", address);
        int code = hardware_request(answer, "mig-mode %u %s", selection->gpu[i], mode->value);
        if (code != SMI_OK) {
            printf("Unable to %s MIG Mode for GPU %s: %s\nTerminating early due to previous errors.\n", verb, address,
                   smi_error(code));
            return (enum smi_exit)(code < 256 ? code : 255);
        }
        printf("%s MIG Mode for GPU %s\n", mode->value, address);
    }
    puts("All done.");
    return SMI_OK;
}

enum smi_exit smi_set_power_limit(const struct hardware *hardware, const struct smi_selection *selection,
                                  const char *value)
{
    char *end, watts[32], done[64];
    double wanted = strtod(value, &end);
    if (end == value || *end) {
        printf("\"%s\" is not a valid value for -pl/--power-limit. Please run 'nvidia-smi -h' for help.\n\n", value);
        return SMI_INVALID_ARGUMENT;
    }
    snprintf(watts, sizeof watts, "%.2f", wanted);
    snprintf(done, sizeof done, "Power limit set to %s W for", watts);
    return change(hardware, selection, "power-limit", watts, done, "set the power management limit");
}

enum smi_exit smi_clear_ecc(const struct hardware *hardware, const struct smi_selection *selection, const char *value)
{
    static const struct choice counters[] = {{"0", "VOLATILE", "volatile"}, {"1", "AGGREGATE", "aggregate"}};
    char done[64];
    const struct choice *which = choose(counters, 2, "-p/--reset-ecc-errors", value);
    if (!which)
        return SMI_INVALID_ARGUMENT;
    snprintf(done, sizeof done, "Reset %s ECC errors to zero for", which->value);
    return change(hardware, selection, "clear-ecc", which->value, done, "reset ECC errors");
}

enum smi_exit smi_reset(const struct hardware *hardware, const struct smi_selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        char address[SMI_VALUE_SIZE] = "", answer[HARDWARE_ANSWER_SIZE];
        smi_value(hardware, selection->gpu[i], "pci_address", address);
        int code = hardware_request(answer, "reset %u", selection->gpu[i]);
        if (code != SMI_OK) {
            printf("GPU Reset couldn't run because GPU %s: %s\n", address, smi_error(code));
            return (enum smi_exit)(code < 256 ? code : 255);
        }
        printf("GPU %s was successfully reset.\n", address);
    }
    puts("All done.");
    return SMI_OK;
}
