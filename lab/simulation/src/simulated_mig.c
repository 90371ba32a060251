/* MIG of the simulated GPUs as the state file tells it: profiles, instances, devices. See host/mig.py for the format. */
#include "simulated_hardware.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPUTE_SLICES = 7, MEMORY_SLICES = 8 };

static unsigned profile_number(const struct hardware *hardware, unsigned id, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "mig.profile.%u.%s", id, name);
    const char *value = hardware_value(hardware, key);
    return value ? (unsigned)strtoul(value, NULL, 10) : 0;
}

bool hardware_mig_profile(const struct hardware *hardware, unsigned id, struct hardware_mig_profile *profile)
{
    char key[64];
    snprintf(key, sizeof key, "mig.profile.%u.name", id);
    const char *name = hardware_value(hardware, key);
    snprintf(key, sizeof key, "mig.profile.%u.starts", id);
    if (!name)
        return false;
    *profile = (struct hardware_mig_profile){.id = id,
                                             .index = profile_number(hardware, id, "index"),
                                             .slices = profile_number(hardware, id, "slices"),
                                             .size = profile_number(hardware, id, "size"),
                                             .instances = profile_number(hardware, id, "instances"),
                                             .memory_mib = profile_number(hardware, id, "memory_mib"),
                                             .multiprocessors = profile_number(hardware, id, "multiprocessors"),
                                             .copy_engines = profile_number(hardware, id, "copy_engines"),
                                             .decoders = profile_number(hardware, id, "decoders"),
                                             .encoders = profile_number(hardware, id, "encoders"),
                                             .jpeg = profile_number(hardware, id, "jpeg"),
                                             .ofa = profile_number(hardware, id, "ofa"),
                                             .name = name,
                                             .starts = hardware_value(hardware, key)};
    return true;
}

bool hardware_mig_profile_at(const struct hardware *hardware, unsigned position, struct hardware_mig_profile *profile)
{
    const char *rest = hardware_value(hardware, "mig.profiles");
    for (; rest && position; position--) {
        rest = strchr(rest, ',');
        rest = rest ? rest + 1 : NULL;
    }
    return rest && hardware_mig_profile(hardware, (unsigned)strtoul(rest, NULL, 10), profile);
}

bool hardware_gpu_instance(const struct hardware *hardware, unsigned gpu, unsigned id,
                           struct hardware_gpu_instance *instance)
{
    char key[64];
    unsigned profile, start;
    snprintf(key, sizeof key, "gpu.%u.gi.%u", gpu, id);
    const char *value = hardware_value(hardware, key);
    if (!value || sscanf(value, "%u@%u", &profile, &start) != 2)
        return false;
    instance->id = id;
    instance->start = start;
    return hardware_mig_profile(hardware, profile, &instance->profile);
}

bool hardware_compute_instance(const struct hardware *hardware, unsigned gpu, unsigned gpu_instance, unsigned id,
                               struct hardware_compute_instance *instance)
{
    char key[64];
    snprintf(key, sizeof key, "gpu.%u.gi.%u.ci.%u", gpu, gpu_instance, id);
    const char *value = hardware_value(hardware, key);
    if (!value || sscanf(value, "%u@%u@%63s", &instance->profile, &instance->start, instance->uuid) != 3)
        return false;
    instance->id = id;
    instance->slices = hardware_compute_slices(instance->profile);
    return true;
}

bool hardware_mig_device(const struct hardware *hardware, unsigned gpu, unsigned index,
                         struct hardware_gpu_instance *gpu_instance, struct hardware_compute_instance *compute_instance)
{
    for (unsigned gi = 0; gi < HARDWARE_MAX_GPU_INSTANCES; gi++)
        for (unsigned ci = 0; hardware_gpu_instance(hardware, gpu, gi, gpu_instance) && ci < HARDWARE_MAX_COMPUTE_INSTANCES;
             ci++)
            if (hardware_compute_instance(hardware, gpu, gi, ci, compute_instance) && index-- == 0)
                return true;
    return false;
}

unsigned hardware_mig_free(const struct hardware *hardware, unsigned gpu, const struct hardware_mig_profile *profile)
{
    bool taken[MEMORY_SLICES] = {false};
    unsigned same = 0, slices = 0, fit = 0;
    struct hardware_gpu_instance instance;
    for (unsigned gi = 0; gi < HARDWARE_MAX_GPU_INSTANCES; gi++) {
        if (!hardware_gpu_instance(hardware, gpu, gi, &instance))
            continue;
        same += instance.profile.id == profile->id;
        slices += instance.profile.slices;
        for (unsigned at = instance.start; at < instance.start + instance.profile.size && at < MEMORY_SLICES; at++)
            taken[at] = true;
    }
    for (const char *start = profile->starts; start && *start; start += *start == ' ' ? 2 : 1) {
        unsigned begin = (unsigned)(*start == ' ' ? start[1] : *start) - '0';
        bool free_here = begin + profile->size <= MEMORY_SLICES;
        for (unsigned at = begin; free_here && at < begin + profile->size; at++)
            free_here = !taken[at];
        if (!free_here || same + fit >= profile->instances || slices + profile->slices > COMPUTE_SLICES)
            continue;
        for (unsigned at = begin; at < begin + profile->size; at++)
            taken[at] = true;
        fit++;
        slices += profile->slices;
    }
    return fit;
}

static const unsigned slices_of_profile[] = {1, 2, 3, 4, 7};

unsigned hardware_compute_slices(unsigned profile)
{
    return profile < sizeof slices_of_profile / sizeof *slices_of_profile ? slices_of_profile[profile] : 0;
}

int hardware_compute_profile(unsigned slices)
{
    for (unsigned profile = 0; profile < sizeof slices_of_profile / sizeof *slices_of_profile; profile++)
        if (slices_of_profile[profile] == slices)
            return (int)profile;
    return -1;
}

void hardware_mig_name(const struct hardware_mig_profile *profile, unsigned compute_slices, char *name, size_t size)
{
    if (compute_slices == profile->slices)
        snprintf(name, size, "MIG %s", profile->name);
    else
        snprintf(name, size, "MIG %uc.%s", compute_slices, profile->name);
}
