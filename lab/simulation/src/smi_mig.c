/* Simulated nvidia-smi: the command `mig`. */
#define _GNU_SOURCE
#include "smi.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char wide_rule[] = "+-----------------------------------------------------------------------------+";
static const char narrow_rule[] = "+-------------------------------------------------------+";
static const char compute_rule[] = "+--------------------------------------------------------------------------------------+";

enum { ANY = -1 };

/* ---- Lists ---- */

static void list_gpu_profiles(const struct hardware *hardware, const struct smi_selection *selection)
{
    struct hardware_mig_profile profile;
    printf("%s\n| GPU instance profiles:                                                      |\n"
           "| GPU   Name             ID    Instances   Memory     P2P    SM    DEC   ENC  |\n"
           "|                              Free/Total   GiB              CE    JPEG  OFA  |\n"
           "|=============================================================================|\n", wide_rule);
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned at = 0; hardware_mig_profile_at(hardware, at, &profile); at++)
            printf("|%4u  MIG %-14s%2u     %u/%u        %-5.2f      No%7u%6u%6u   |\n|%62u%6u%6u   |\n%s\n",
                   hardware_gpu_index(hardware, selection->gpu[i]), profile.name, profile.id,
                   hardware_mig_free(hardware, selection->gpu[i], &profile), profile.instances,
                   profile.memory_mib / 1024.0, profile.multiprocessors, profile.decoders, profile.encoders,
                   profile.copy_engines, profile.jpeg, profile.ofa, wide_rule);
}

static void list_placements(const struct hardware *hardware, const struct smi_selection *selection)
{
    struct hardware_mig_profile profile;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned at = 0; hardware_mig_profile_at(hardware, at, &profile); at++) {
            bool one = strlen(profile.starts) == 1;
            printf("GPU %2u Profile ID %2u %s {", hardware_gpu_index(hardware, selection->gpu[i]), profile.id,
                   one ? "Placement :" : "Placements:");
            for (const char *start = profile.starts; *start; start++)
                putchar(*start == ' ' ? ',' : *start);
            printf("}:%u\n", profile.size);
        }
}

static enum smi_exit list_gpu_instances(const struct hardware *hardware, const struct smi_selection *selection)
{
    struct hardware_gpu_instance gi;
    bool any = false;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned id = 0; id < HARDWARE_MAX_GPU_INSTANCES; id++) {
            char name[64], placement[32];
            if (!hardware_gpu_instance(hardware, selection->gpu[i], id, &gi))
                continue;
            if (!any)
                printf("%s\n| GPU instances:                                        |\n"
                       "| GPU   Name             Profile  Instance   Placement  |\n"
                       "|                          ID       ID       Start:Size |\n"
                       "|=======================================================|\n", narrow_rule);
            any = true;
            hardware_mig_name(&gi.profile, gi.profile.slices, name, sizeof name);
            snprintf(placement, sizeof placement, "%u:%u", gi.start, gi.profile.size);
            printf("|%4u  %-20s%2u%9u%13s     |\n%s\n", hardware_gpu_index(hardware, selection->gpu[i]), name,
                   gi.profile.id, id, placement, narrow_rule);
        }
    if (!any)
        puts("No GPU instances found: Not Found");
    return any ? SMI_OK : SMI_NOT_FOUND;
}

static void list_compute_profiles(const struct hardware *hardware, const struct smi_selection *selection, int wanted)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    printf("%s\n| Compute instance profiles:                                                           |\n"
           "| GPU     GPU       Name             Profile  Instances   Exclusive       Shared       |\n"
           "|       Instance                       ID     Free/Total     SM       DEC   ENC   OFA  |\n"
           "|         ID                                                          CE    JPEG       |\n"
           "|======================================================================================|\n", compute_rule);
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned id = 0; id < HARDWARE_MAX_GPU_INSTANCES; id++) {
            unsigned used = 0;
            if ((wanted != ANY && (unsigned)wanted != id) ||
                !hardware_gpu_instance(hardware, selection->gpu[i], id, &gi))
                continue;
            for (unsigned c = 0; c < HARDWARE_MAX_COMPUTE_INSTANCES; c++)
                if (hardware_compute_instance(hardware, selection->gpu[i], id, c, &ci))
                    used += ci.slices;
            for (unsigned slices = 1; slices <= gi.profile.slices; slices++) {
                char name[64], number[16];
                int profile = hardware_compute_profile(slices);
                unsigned whole = gi.profile.multiprocessors, part = slices * (whole / gi.profile.slices);
                if (profile < 0)
                    continue;
                hardware_mig_name(&gi.profile, slices, name, sizeof name);
                snprintf(number, sizeof number, "%d%s", profile, slices == gi.profile.slices ? "*" : " ");
                printf("|%4u%7u       %-21s%2s     %u/%u%13u%9u%6u%6u   |\n|%71u%6u         |\n%s\n",
                       hardware_gpu_index(hardware, selection->gpu[i]), id, name, number,
                       (gi.profile.slices - used) / slices, gi.profile.slices / slices,
                       slices == gi.profile.slices ? whole : part, gi.profile.decoders, gi.profile.encoders,
                       gi.profile.ofa, gi.profile.copy_engines, gi.profile.jpeg, compute_rule);
            }
        }
}

static enum smi_exit list_compute_instances(const struct hardware *hardware, const struct smi_selection *selection,
                                            int wanted)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    static const char rule[] = "+--------------------------------------------------------------------+";
    bool any = false;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned index = 0; hardware_mig_device(hardware, selection->gpu[i], index, &gi, &ci); index++) {
            char name[64], placement[32];
            if (wanted != ANY && (unsigned)wanted != gi.id)
                continue;
            if (!any)
                printf("%s\n| Compute instances:                                                 |\n"
                       "| GPU     GPU       Name             Profile   Instance   Placement  |\n"
                       "|       Instance                       ID        ID       Start:Size |\n"
                       "|         ID                                                         |\n"
                       "|====================================================================|\n", rule);
            any = true;
            hardware_mig_name(&gi.profile, ci.slices, name, sizeof name);
            snprintf(placement, sizeof placement, "%u:%u", ci.start, ci.slices);
            printf("|%4u%7u       %-21s%u%10u%13s     |\n%s\n", hardware_gpu_index(hardware, selection->gpu[i]), gi.id,
                   name, ci.profile, ci.id, placement, rule);
        }
    if (!any)
        puts("No compute instances found: Not Found");
    return any ? SMI_OK : SMI_NOT_FOUND;
}

/* ---- Changes ---- */

static enum smi_exit as_exit(int code) { return (enum smi_exit)(code < 256 ? code : 255); }

/* A profile named by its number, or by its name with or without "MIG " in front. */
static bool find_profile(const struct hardware *hardware, const char *wanted, struct hardware_mig_profile *profile)
{
    static const char prefix[] = "MIG ";
    if (strncmp(wanted, prefix, strlen(prefix)) == 0)
        wanted += strlen(prefix);
    size_t digits = strspn(wanted, "0123456789");
    if (digits && !wanted[digits])
        return hardware_mig_profile(hardware, (unsigned)atoi(wanted), profile);
    for (unsigned at = 0; hardware_mig_profile_at(hardware, at, profile); at++)
        if (strcmp(profile->name, wanted) == 0)
            return true;
    return false;
}

static enum smi_exit create_compute_instance(unsigned place, unsigned index, unsigned gi, int profile, const char *name)
{
    char answer[HARDWARE_ANSWER_SIZE];
    int code = hardware_request(answer, "create-compute-instance %u %u %d", place, gi, profile);
    if (code != SMI_OK) {
        printf("Unable to create a compute instance on GPU %2u GPU instance ID %2u using profile %d: %s\n", index, gi,
               profile, smi_error(code));
        printf("Failed to create compute instances: %s\n", smi_error(code));
        return as_exit(code);
    }
    printf("Successfully created compute instance ID %2s on GPU %2u GPU instance ID %2u using profile %s (ID %2d)\n", answer,
           index, gi, name, profile);
    return SMI_OK;
}

static enum smi_exit create_gpu_instances(const struct hardware *hardware, const struct smi_selection *selection,
                                          const char *wanted, bool with_compute)
{
    enum smi_exit result = SMI_OK;
    for (size_t i = 0; i < selection->count && result == SMI_OK; i++) {
        unsigned place = selection->gpu[i], index = hardware_gpu_index(hardware, place);
        char *copy = strdup(wanted), *rest = copy;
        for (char *one; result == SMI_OK && (one = strsep(&rest, ","));) {
            struct hardware_mig_profile profile;
            char answer[HARDWARE_ANSWER_SIZE], name[64];
            char *start = strchr(one, ':'); /* profile:start asks for a placement */
            if (start)
                *start++ = '\0';
            int code = find_profile(hardware, one, &profile)
                           ? hardware_request(answer, "create-gpu-instance %u %u %s", place, profile.id, start ? start : "")
                           : SMI_INVALID_ARGUMENT;
            if (code != SMI_OK) {
                printf("Unable to create a GPU instance on GPU %2u using profile %s: %s\n", index, one, smi_error(code));
                printf("Failed to create GPU instances: %s\n", smi_error(code));
                result = as_exit(code);
                break;
            }
            hardware_mig_name(&profile, profile.slices, name, sizeof name);
            printf("Successfully created GPU instance ID %2s on GPU %2u using profile %s (ID %2u)\n", answer, index, name,
                   profile.id);
            if (with_compute)
                result = create_compute_instance(place, index, (unsigned)atoi(answer),
                                                 hardware_compute_profile(profile.slices), name);
        }
        free(copy);
    }
    return result;
}

static enum smi_exit create_compute_instances(const struct hardware *hardware, const struct smi_selection *selection,
                                              int instance, const char *wanted)
{
    enum smi_exit result = SMI_NOT_FOUND;
    struct hardware_gpu_instance gi;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned id = 0; id < HARDWARE_MAX_GPU_INSTANCES; id++) {
            if ((instance != ANY && (unsigned)instance != id) ||
                !hardware_gpu_instance(hardware, selection->gpu[i], id, &gi))
                continue;
            char *copy = strdup(*wanted ? wanted : "default"), *rest = copy;
            for (char *one; (one = strsep(&rest, ","));) {
                char name[64];
                int profile = isdigit((unsigned char)*one) ? atoi(one) : hardware_compute_profile(gi.profile.slices);
                hardware_mig_name(&gi.profile, hardware_compute_slices((unsigned)profile), name, sizeof name);
                result = create_compute_instance(selection->gpu[i], hardware_gpu_index(hardware, selection->gpu[i]), id,
                                                 profile, name);
                if (result != SMI_OK)
                    break;
            }
            free(copy);
            if (result != SMI_OK)
                return result;
        }
    if (result == SMI_NOT_FOUND)
        puts("No GPU instances found: Not Found");
    return result;
}

static enum smi_exit destroy_compute_instances(const struct hardware *hardware, const struct smi_selection *selection,
                                               int instance, int compute)
{
    enum smi_exit result = SMI_NOT_FOUND;
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned at = 0; hardware_mig_device(hardware, selection->gpu[i], at, &gi, &ci); at++) {
            char answer[HARDWARE_ANSWER_SIZE];
            unsigned index = hardware_gpu_index(hardware, selection->gpu[i]);
            if ((instance != ANY && (unsigned)instance != gi.id) || (compute != ANY && (unsigned)compute != ci.id))
                continue;
            int code = hardware_request(answer, "destroy-compute-instance %u %u %u", selection->gpu[i], gi.id, ci.id);
            if (code == SMI_OK)
                printf("Successfully destroyed compute instance ID %2u from GPU %2u GPU instance ID %2u\n", ci.id, index,
                       gi.id);
            else
                printf("Unable to destroy compute instance ID %2u from GPU %2u GPU instance ID %2u: %s\n", ci.id, index,
                       gi.id, smi_error(code));
            if (code != SMI_OK)
                return as_exit(code);
            result = SMI_OK;
        }
    if (result != SMI_OK)
        puts("No compute instances found: Not Found");
    return result;
}

static enum smi_exit destroy_gpu_instances(const struct hardware *hardware, const struct smi_selection *selection,
                                           int instance)
{
    enum smi_exit result = SMI_NOT_FOUND;
    struct hardware_gpu_instance gi;
    for (size_t i = 0; i < selection->count; i++)
        for (unsigned id = 0; id < HARDWARE_MAX_GPU_INSTANCES; id++) {
            char answer[HARDWARE_ANSWER_SIZE];
            unsigned index = hardware_gpu_index(hardware, selection->gpu[i]);
            if ((instance != ANY && (unsigned)instance != id) ||
                !hardware_gpu_instance(hardware, selection->gpu[i], id, &gi))
                continue;
            int code = hardware_request(answer, "destroy-gpu-instance %u %u", selection->gpu[i], id);
            if (code != SMI_OK) {
                printf("Unable to destroy GPU instance ID %2u from GPU %2u: %s\n", id, index, smi_error(code));
                printf("Failed to destroy GPU instances: %s\n", smi_error(code));
                return as_exit(code);
            }
            printf("Successfully destroyed GPU instance ID %2u from GPU %2u\n", id, index);
            result = SMI_OK;
        }
    if (result != SMI_OK)
        puts("No GPU instances found: Not Found");
    return result;
}

/* ---- Command ---- */

struct mig_options {
    char action;
    const char *devices, *profiles;
    int instance, compute;
    bool with_compute;
};

static bool is(const char *option, const char *brief, const char *full)
{
    return strcmp(option, brief) == 0 || strcmp(option, full) == 0;
}

static bool parse(char **argv, struct mig_options *options)
{
    static const struct {
        char action;
        const char *brief, *full;
    } flags[] = {{'p', "-lgip", "--list-gpu-instance-profiles"},
                 {'P', "-lgipp", "--list-gpu-instance-possible-placements"},
                 {'g', "-lgi", "--list-gpu-instances"},
                 {'c', "-lcip", "--list-compute-instance-profiles"},
                 {'i', "-lci", "--list-compute-instances"},
                 {'d', "-dgi", "--destroy-gpu-instance"},
                 {'D', "-dci", "--destroy-compute-instance"}};
    for (int i = 0; argv[i]; i++) {
        const char *argument;
        bool known = false;
        for (size_t f = 0; f < sizeof flags / sizeof *flags; f++)
            if (is(argv[i], flags[f].brief, flags[f].full)) {
                options->action = flags[f].action;
                known = true;
            }
        if (known)
            continue;
        if (is(argv[i], "-C", "--default-compute-instance"))
            options->with_compute = true;
        else if (is(argv[i], "-cci", "--create-compute-instance") && (!argv[i + 1] || *argv[i + 1] == '-'))
            options->action = 'n', options->profiles = "";
        else if ((argument = smi_argument(argv, &i, "-cgi", "--create-gpu-instance")))
            options->action = 'N', options->profiles = argument;
        else if ((argument = smi_argument(argv, &i, "-cci", "--create-compute-instance")))
            options->action = 'n', options->profiles = argument;
        else if ((argument = smi_argument(argv, &i, "-i", "--id")))
            options->devices = argument;
        else if ((argument = smi_argument(argv, &i, "-gi", "--gpu-instance-id")))
            options->instance = atoi(argument);
        else if ((argument = smi_argument(argv, &i, "-ci", "--compute-instance-id")))
            options->compute = atoi(argument);
        else
            return false;
    }
    return options->action != '\0';
}

/* Only GPUs in MIG mode have instances and profiles to list. */
static void keep_partitioned(const struct hardware *hardware, struct smi_selection *selection)
{
    size_t kept = 0;
    for (size_t i = 0; i < selection->count; i++) {
        const char *mode = hardware_gpu_value(hardware, selection->gpu[i], "mig_mode");
        if (mode && strcmp(mode, "Enabled") == 0)
            selection->gpu[kept++] = selection->gpu[i];
    }
    selection->count = kept;
}

enum smi_exit smi_mig(const struct hardware *hardware, char **argv)
{
    struct mig_options options = {.instance = ANY, .compute = ANY};
    struct smi_selection selection;
    if (!parse(argv, &options)) {
        puts("Invalid combination of input arguments. Please run 'nvidia-smi mig -h' for help.\n");
        return SMI_INVALID_ARGUMENT;
    }
    if (!smi_select(hardware, options.devices, &selection)) {
        puts("No devices were found");
        return SMI_NOT_FOUND;
    }
    keep_partitioned(hardware, &selection);
    if (!selection.count) {
        puts("No MIG-enabled devices found.");
        return SMI_NOT_FOUND;
    }
    switch (options.action) {
    case 'p': list_gpu_profiles(hardware, &selection); return SMI_OK;
    case 'P': list_placements(hardware, &selection); return SMI_OK;
    case 'c': list_compute_profiles(hardware, &selection, options.instance); return SMI_OK;
    case 'g': return list_gpu_instances(hardware, &selection);
    case 'i': return list_compute_instances(hardware, &selection, options.instance);
    case 'N': return create_gpu_instances(hardware, &selection, options.profiles, options.with_compute);
    case 'n': return create_compute_instances(hardware, &selection, options.instance, options.profiles);
    case 'd': return destroy_gpu_instances(hardware, &selection, options.instance);
    default: return destroy_compute_instances(hardware, &selection, options.instance, options.compute);
    }
}
