/* Stand-in for libnvidia-ml.so.1: MIG. What exists is in the state file; what is made or destroyed is asked of the driver
 * stand-in, which keeps it. */
#include "nvml_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct nvml_gpu_instance gpu_instances[HARDWARE_MAX_GPUS][HARDWARE_MAX_GPU_INSTANCES];
static struct nvml_compute_instance
    compute_instances[HARDWARE_MAX_GPUS][HARDWARE_MAX_GPU_INSTANCES][HARDWARE_MAX_COMPUTE_INSTANCES];

static struct nvml_gpu_instance *gpu_instance_at(unsigned gpu, unsigned id)
{
    gpu_instances[gpu][id] = (struct nvml_gpu_instance){gpu, id};
    return &gpu_instances[gpu][id];
}

static struct nvml_compute_instance *compute_instance_at(struct nvml_gpu_instance *parent, unsigned id)
{
    compute_instances[parent->gpu][parent->id][id] = (struct nvml_compute_instance){parent, id};
    return &compute_instances[parent->gpu][parent->id][id];
}

/* ---- Mode ---- */

nvml_result nvmlDeviceGetMigMode(struct nvml_device *device, unsigned *current, unsigned *pending)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !nvml_reports(device, "mig_mode"))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        *current = nvml_says(device, "mig_mode", "Enabled");
        *pending = nvml_reports(device, "mig_mode_pending") ? nvml_says(device, "mig_mode_pending", "Enabled") : *current;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceSetMigMode(struct nvml_device *device, unsigned mode, nvml_result *activation)
{
    char answer[HARDWARE_ANSWER_SIZE];
    unsigned current, pending;
    nvml_result result = nvmlDeviceGetMigMode(device, &current, &pending);
    if (result != NVML_SUCCESS)
        return result;
    *activation = NVML_SUCCESS;
    return (nvml_result)hardware_request(answer, "mig-mode %u %s", device->gpu, mode ? "Enabled" : "Disabled");
}

/* ---- MIG devices ---- */

nvml_result nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned *count)
{
    return nvml_device_number(device, "mig_max_devices", count);
}

nvml_result nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, unsigned index, struct nvml_device **mig)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !hardware_mig_device(&nvml_hardware, device->gpu, index, &gi, &ci))
        result = NVML_NOT_FOUND;
    if (result == NVML_SUCCESS)
        *mig = &nvml_mig_devices[device->gpu][gi.id][ci.id];
    return nvml_end(result);
}

nvml_result nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned *is_mig)
{
    nvml_result result = nvml_begin_device(device);
    if (result == NVML_SUCCESS)
        *is_mig = device->is_mig;
    return nvml_end(result);
}

static nvml_result begin_mig(const struct nvml_device *device)
{
    nvml_result result = nvml_begin_device(device);
    return result == NVML_SUCCESS && !device->is_mig ? NVML_INVALID_ARGUMENT : result;
}

nvml_result nvmlDeviceGetGpuInstanceId(struct nvml_device *device, unsigned *id)
{
    nvml_result result = begin_mig(device);
    if (result == NVML_SUCCESS)
        *id = device->gpu_instance;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetComputeInstanceId(struct nvml_device *device, unsigned *id)
{
    nvml_result result = begin_mig(device);
    if (result == NVML_SUCCESS)
        *id = device->compute_instance;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct nvml_device *mig, struct nvml_device **device)
{
    nvml_result result = begin_mig(mig);
    if (result == NVML_SUCCESS)
        *device = &nvml_devices[mig->gpu];
    return nvml_end(result);
}

/* Multiprocessors of a part of a GPU instance: all of them, or so many as its slices have. */
static unsigned multiprocessors_of(const struct hardware_mig_profile *profile, unsigned slices)
{
    return slices == profile->slices ? profile->multiprocessors : slices * (profile->multiprocessors / profile->slices);
}

nvml_result nvmlDeviceGetAttributes_v2(struct nvml_device *device, struct nvml_attributes *attributes)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    nvml_result result = begin_mig(device);
    if (result == NVML_SUCCESS && nvml_mig_instances(device, &gi, &ci))
        *attributes = (struct nvml_attributes){.multiprocessors = multiprocessors_of(&gi.profile, ci.slices),
                                               .copy_engines = gi.profile.copy_engines,
                                               .decoders = gi.profile.decoders,
                                               .encoders = gi.profile.encoders,
                                               .jpeg = gi.profile.jpeg,
                                               .ofa = gi.profile.ofa,
                                               .gpu_instance_slices = gi.profile.slices,
                                               .compute_instance_slices = ci.slices,
                                               .memory_mib = gi.profile.memory_mib};
    return nvml_end(result);
}

nvml_result nvmlDeviceGetAttributes(struct nvml_device *device, struct nvml_attributes *attributes)
{
    return nvmlDeviceGetAttributes_v2(device, attributes);
}

/* ---- GPU instances ---- */

static nvml_result begin_partitioned(const struct nvml_device *device)
{
    nvml_result result = nvml_begin_gpu(device);
    return result == NVML_SUCCESS && !hardware_value(&nvml_hardware, "mig.profiles") ? NVML_NOT_SUPPORTED : result;
}

static bool profile_by_index(unsigned index, struct hardware_mig_profile *profile)
{
    for (unsigned position = 0; hardware_mig_profile_at(&nvml_hardware, position, profile); position++)
        if (profile->index == index)
            return true;
    return false;
}

nvml_result nvmlDeviceGetGpuInstanceProfileInfo(struct nvml_device *device, unsigned index,
                                                struct nvml_gpu_instance_profile *info)
{
    struct hardware_mig_profile profile;
    nvml_result result = begin_partitioned(device);
    if (result == NVML_SUCCESS && !profile_by_index(index, &profile))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *info = (struct nvml_gpu_instance_profile){.id = profile.id,
                                                   .slices = profile.slices,
                                                   .instances = profile.instances,
                                                   .multiprocessors = profile.multiprocessors,
                                                   .copy_engines = profile.copy_engines,
                                                   .decoders = profile.decoders,
                                                   .encoders = profile.encoders,
                                                   .jpeg = profile.jpeg,
                                                   .ofa = profile.ofa,
                                                   .memory_mib = profile.memory_mib};
    return nvml_end(result);
}

nvml_result nvmlDeviceGetGpuInstanceProfileInfoV(struct nvml_device *device, unsigned index, void *info)
{
    struct nvml_gpu_instance_profile plain;
    struct nvml_gpu_instance_profile_v2 *second = info;
    struct nvml_gpu_instance_profile_v3 *third = info;
    char name[96] = "";
    if (second->version != NVML_STRUCT_VERSION(*second, 2) && third->version != NVML_STRUCT_VERSION(*third, 3))
        return NVML_ARGUMENT_VERSION_MISMATCH;
    nvml_result result = nvmlDeviceGetGpuInstanceProfileInfo(device, index, &plain);
    if (result != NVML_SUCCESS)
        return result;
    struct hardware_mig_profile profile;
    if (nvml_begin() == NVML_SUCCESS && hardware_mig_profile(&nvml_hardware, plain.id, &profile))
        snprintf(name, sizeof name, "MIG %s", profile.name);
    nvml_end(NVML_SUCCESS);
    if (third->version == NVML_STRUCT_VERSION(*third, 3)) {
        *third = (struct nvml_gpu_instance_profile_v3){third->version,    plain.id,           plain.slices,
                                                       plain.instances,   plain.multiprocessors, plain.copy_engines,
                                                       plain.decoders,    plain.encoders,     plain.jpeg,
                                                       plain.ofa,         plain.memory_mib,   "", 0};
        memcpy(third->name, name, sizeof name);
    } else {
        *second = (struct nvml_gpu_instance_profile_v2){second->version,   plain.id,           0,
                                                        plain.slices,      plain.instances,    plain.multiprocessors,
                                                        plain.copy_engines, plain.decoders,    plain.encoders,
                                                        plain.jpeg,        plain.ofa,          plain.memory_mib, ""};
        memcpy(second->name, name, sizeof name);
    }
    return NVML_SUCCESS;
}

nvml_result nvmlDeviceGetGpuInstancePossiblePlacements_v2(struct nvml_device *device, unsigned id,
                                                          struct nvml_placement *placements, unsigned *count)
{
    struct hardware_mig_profile profile;
    nvml_result result = begin_partitioned(device);
    if (result == NVML_SUCCESS && !hardware_mig_profile(&nvml_hardware, id, &profile))
        result = NVML_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        unsigned found = 0;
        for (const char *start = profile.starts; *start; start += start[1] ? 2 : 1, found++)
            if (placements && found < *count)
                placements[found] = (struct nvml_placement){(unsigned)(*start - '0'), profile.size};
        *count = found;
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetGpuInstancePossiblePlacements(struct nvml_device *device, unsigned id,
                                                       struct nvml_placement *placements, unsigned *count)
{
    return nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, id, placements, count);
}

nvml_result nvmlDeviceGetGpuInstanceRemainingCapacity(struct nvml_device *device, unsigned id, unsigned *count)
{
    struct hardware_mig_profile profile;
    nvml_result result = begin_partitioned(device);
    if (result == NVML_SUCCESS && !hardware_mig_profile(&nvml_hardware, id, &profile))
        result = NVML_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *count = hardware_mig_free(&nvml_hardware, device->gpu, &profile);
    return nvml_end(result);
}

static nvml_result create_gpu_instance(struct nvml_device *device, unsigned id, const char *start,
                                       struct nvml_gpu_instance **instance)
{
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = nvml_end(begin_partitioned(device));
    if (result == NVML_SUCCESS)
        result = (nvml_result)hardware_request(answer, "create-gpu-instance %u %u%s", device->gpu, id, start);
    if (result == NVML_SUCCESS)
        *instance = gpu_instance_at(device->gpu, (unsigned)atoi(answer) % HARDWARE_MAX_GPU_INSTANCES);
    return result;
}

nvml_result nvmlDeviceCreateGpuInstance(struct nvml_device *device, unsigned id, struct nvml_gpu_instance **instance)
{
    return create_gpu_instance(device, id, "", instance);
}

nvml_result nvmlDeviceCreateGpuInstanceWithPlacement(struct nvml_device *device, unsigned id,
                                                     const struct nvml_placement *placement,
                                                     struct nvml_gpu_instance **instance)
{
    char start[16];
    snprintf(start, sizeof start, " %u", placement->start);
    return create_gpu_instance(device, id, start, instance);
}

nvml_result nvmlGpuInstanceDestroy(struct nvml_gpu_instance *instance)
{
    char answer[HARDWARE_ANSWER_SIZE];
    return (nvml_result)hardware_request(answer, "destroy-gpu-instance %u %u", instance->gpu, instance->id);
}

nvml_result nvmlDeviceGetGpuInstances(struct nvml_device *device, unsigned id, struct nvml_gpu_instance **instances,
                                      unsigned *count)
{
    struct hardware_gpu_instance found;
    nvml_result result = begin_partitioned(device);
    *count = 0;
    for (unsigned gi = 0; result == NVML_SUCCESS && gi < HARDWARE_MAX_GPU_INSTANCES; gi++)
        if (hardware_gpu_instance(&nvml_hardware, device->gpu, gi, &found) && found.profile.id == id)
            instances[(*count)++] = gpu_instance_at(device->gpu, gi);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetGpuInstanceById(struct nvml_device *device, unsigned id, struct nvml_gpu_instance **instance)
{
    struct hardware_gpu_instance found;
    nvml_result result = begin_partitioned(device);
    if (result == NVML_SUCCESS && !hardware_gpu_instance(&nvml_hardware, device->gpu, id, &found))
        result = NVML_NOT_FOUND;
    if (result == NVML_SUCCESS)
        *instance = gpu_instance_at(device->gpu, id);
    return nvml_end(result);
}

static nvml_result begin_gpu_instance(const struct nvml_gpu_instance *instance, struct hardware_gpu_instance *found)
{
    nvml_result result = nvml_begin();
    return result == NVML_SUCCESS && !hardware_gpu_instance(&nvml_hardware, instance->gpu, instance->id, found)
               ? NVML_NOT_FOUND
               : result;
}

nvml_result nvmlGpuInstanceGetInfo(struct nvml_gpu_instance *instance, struct nvml_gpu_instance_info *info)
{
    struct hardware_gpu_instance found;
    nvml_result result = begin_gpu_instance(instance, &found);
    if (result == NVML_SUCCESS)
        *info = (struct nvml_gpu_instance_info){&nvml_devices[instance->gpu], instance->id, found.profile.id,
                                                {found.start, found.profile.size}};
    return nvml_end(result);
}

/* ---- Compute instances ---- */

nvml_result nvmlGpuInstanceGetComputeInstanceProfileInfo(struct nvml_gpu_instance *instance, unsigned index,
                                                         unsigned engines, struct nvml_compute_instance_profile *info)
{
    struct hardware_gpu_instance found;
    unsigned slices = hardware_compute_slices(index);
    nvml_result result = begin_gpu_instance(instance, &found);
    if (result == NVML_SUCCESS && (engines != 0 || slices == 0 || slices > found.profile.slices))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *info = (struct nvml_compute_instance_profile){.id = index,
                                                       .slices = slices,
                                                       .instances = found.profile.slices / slices,
                                                       .multiprocessors = multiprocessors_of(&found.profile, slices),
                                                       .copy_engines = found.profile.copy_engines,
                                                       .decoders = found.profile.decoders,
                                                       .encoders = found.profile.encoders,
                                                       .jpeg = found.profile.jpeg,
                                                       .ofa = found.profile.ofa};
    return nvml_end(result);
}

nvml_result nvmlGpuInstanceGetComputeInstanceProfileInfoV(struct nvml_gpu_instance *instance, unsigned index,
                                                          unsigned engines, struct nvml_compute_instance_profile_v3 *info)
{
    struct hardware_gpu_instance found;
    unsigned third = NVML_STRUCT_VERSION(*info, 3), second = NVML_STRUCT_VERSION(struct nvml_compute_instance_profile_v2, 2);
    if (info->version != third && info->version != second)
        return NVML_ARGUMENT_VERSION_MISMATCH;
    nvml_result result = nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, index, engines, &info->profile);
    if (result == NVML_SUCCESS && begin_gpu_instance(instance, &found) == NVML_SUCCESS)
        hardware_mig_name(&found.profile, info->profile.slices, info->name, sizeof info->name);
    if (result == NVML_SUCCESS)
        nvml_end(NVML_SUCCESS);
    if (result == NVML_SUCCESS && info->version == third)
        info->capabilities = 0;
    return result;
}

nvml_result nvmlGpuInstanceGetComputeInstanceRemainingCapacity(struct nvml_gpu_instance *instance, unsigned index,
                                                               unsigned *count)
{
    struct hardware_gpu_instance found;
    struct hardware_compute_instance compute;
    unsigned slices = hardware_compute_slices(index), used = 0;
    nvml_result result = begin_gpu_instance(instance, &found);
    for (unsigned ci = 0; result == NVML_SUCCESS && ci < HARDWARE_MAX_COMPUTE_INSTANCES; ci++)
        if (hardware_compute_instance(&nvml_hardware, instance->gpu, instance->id, ci, &compute))
            used += compute.slices;
    if (result == NVML_SUCCESS && slices == 0)
        result = NVML_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *count = (found.profile.slices - used) / slices;
    return nvml_end(result);
}

nvml_result nvmlGpuInstanceCreateComputeInstance(struct nvml_gpu_instance *instance, unsigned index,
                                                 struct nvml_compute_instance **compute)
{
    char answer[HARDWARE_ANSWER_SIZE];
    nvml_result result = (nvml_result)hardware_request(answer, "create-compute-instance %u %u %u", instance->gpu,
                                                       instance->id, index);
    if (result == NVML_SUCCESS)
        *compute = compute_instance_at(instance, (unsigned)atoi(answer) % HARDWARE_MAX_COMPUTE_INSTANCES);
    return result;
}

nvml_result nvmlComputeInstanceDestroy(struct nvml_compute_instance *compute)
{
    char answer[HARDWARE_ANSWER_SIZE];
    return (nvml_result)hardware_request(answer, "destroy-compute-instance %u %u %u", compute->parent->gpu,
                                         compute->parent->id, compute->id);
}

nvml_result nvmlGpuInstanceGetComputeInstances(struct nvml_gpu_instance *instance, unsigned index,
                                               struct nvml_compute_instance **computes, unsigned *count)
{
    struct hardware_gpu_instance found;
    struct hardware_compute_instance compute;
    nvml_result result = begin_gpu_instance(instance, &found);
    *count = 0;
    for (unsigned ci = 0; result == NVML_SUCCESS && ci < HARDWARE_MAX_COMPUTE_INSTANCES; ci++)
        if (hardware_compute_instance(&nvml_hardware, instance->gpu, instance->id, ci, &compute) &&
            compute.profile == index)
            computes[(*count)++] = compute_instance_at(instance, ci);
    return nvml_end(result);
}

nvml_result nvmlGpuInstanceGetComputeInstanceById(struct nvml_gpu_instance *instance, unsigned id,
                                                  struct nvml_compute_instance **compute)
{
    struct hardware_gpu_instance found;
    struct hardware_compute_instance existing;
    nvml_result result = begin_gpu_instance(instance, &found);
    if (result == NVML_SUCCESS && !hardware_compute_instance(&nvml_hardware, instance->gpu, instance->id, id, &existing))
        result = NVML_NOT_FOUND;
    if (result == NVML_SUCCESS)
        *compute = compute_instance_at(instance, id);
    return nvml_end(result);
}

nvml_result nvmlComputeInstanceGetInfo_v2(struct nvml_compute_instance *compute, struct nvml_compute_instance_info *info)
{
    struct hardware_gpu_instance found;
    struct hardware_compute_instance existing;
    nvml_result result = begin_gpu_instance(compute->parent, &found);
    if (result == NVML_SUCCESS &&
        !hardware_compute_instance(&nvml_hardware, compute->parent->gpu, compute->parent->id, compute->id, &existing))
        result = NVML_NOT_FOUND;
    if (result == NVML_SUCCESS)
        *info = (struct nvml_compute_instance_info){&nvml_devices[compute->parent->gpu], compute->parent, compute->id,
                                                    existing.profile, {existing.start, existing.slices}};
    return nvml_end(result);
}

nvml_result nvmlComputeInstanceGetInfo(struct nvml_compute_instance *compute, struct nvml_compute_instance_info *info)
{
    return nvmlComputeInstanceGetInfo_v2(compute, info);
}
