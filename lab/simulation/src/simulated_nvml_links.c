/* Stand-in for libnvidia-ml.so.1: NVLink, fabric and field values. */
#include "nvml_abi.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- NVLink: state and errors of each link stand under gpu.N.nvlink_<link>_<name>; absent ones are up, without errors ---- */

static const char *link_value(const struct nvml_device *device, unsigned link, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "nvlink_%u_%s", link, name);
    return hardware_gpu_value(&nvml_hardware, device->gpu, key);
}

static long long link_number(const struct nvml_device *device, unsigned link, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "nvlink_%u_%s", link, name);
    return nvml_value(device, key, 0);
}

static bool link_is_active(const struct nvml_device *device, unsigned link)
{
    const char *state = link_value(device, link, "state");
    return !state || strcmp(state, "Active") == 0;
}

static nvml_result begin_link(const struct nvml_device *device, unsigned link)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !nvml_reports(device, "nvlink_count"))
        return NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS && nvml_says(device, "mig_mode", "Enabled"))
        return NVML_NOT_SUPPORTED;
    return result == NVML_SUCCESS && link >= nvml_value(device, "nvlink_count", 0) ? NVML_INVALID_ARGUMENT : result;
}

nvml_result nvmlDeviceGetNvLinkState(struct nvml_device *device, unsigned link, unsigned *active)
{
    nvml_result result = begin_link(device, link);
    if (result == NVML_SUCCESS)
        *active = link_is_active(device, link);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetNvLinkVersion(struct nvml_device *device, unsigned link, unsigned *version)
{
    nvml_result result = begin_link(device, link);
    if (result == NVML_SUCCESS)
        *version = (unsigned)nvml_value(device, "nvlink_version", 0);
    return nvml_end(result);
}

nvml_result nvmlDeviceGetNvLinkCapability(struct nvml_device *device, unsigned link, unsigned capability, unsigned *has)
{
    enum { SLI_BRIDGE = 4, CAPABILITIES = 6 };
    nvml_result result = capability < CAPABILITIES ? begin_link(device, link) : (nvml_begin(), NVML_INVALID_ARGUMENT);
    if (result == NVML_SUCCESS)
        *has = capability != SLI_BRIDGE;
    return nvml_end(result);
}

nvml_result nvmlDeviceGetNvLinkErrorCounter(struct nvml_device *device, unsigned link, unsigned counter,
                                            unsigned long long *errors)
{
    static const char *const names[] = {"replay_errors", "recovery_errors", "crc_flit_errors", "crc_data_errors"};
    nvml_result result = begin_link(device, link);
    if (result == NVML_SUCCESS && counter >= sizeof names / sizeof *names)
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *errors = (unsigned long long)link_number(device, link, names[counter]);
    return nvml_end(result);
}

/* Every link leads to an NVSwitch. */
nvml_result nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, unsigned link, int *kind)
{
    enum { NVSWITCH = 2 };
    nvml_result result = begin_link(device, link);
    if (result == NVML_SUCCESS)
        *kind = NVSWITCH;
    return nvml_end(result);
}

/* ---- Fabric ---- */

static unsigned char fabric_state(const struct nvml_device *device)
{
    if (nvml_says(device, "fabric_state", "Completed"))
        return NVML_FABRIC_COMPLETED;
    return nvml_says(device, "fabric_state", "In Progress") ? NVML_FABRIC_IN_PROGRESS : NVML_FABRIC_NOT_STARTED;
}

static void parse_cluster(const char *text, unsigned char cluster[NVML_FABRIC_UUID_SIZE])
{
    memset(cluster, 0, NVML_FABRIC_UUID_SIZE);
    for (unsigned byte = 0; text && *text && byte < NVML_FABRIC_UUID_SIZE; text += 2, byte++) {
        unsigned value = 0;
        text += *text == '-';
        if (sscanf(text, "%2x", &value) != 1)
            return;
        cluster[byte] = (unsigned char)value;
    }
}

nvml_result nvmlDeviceGetGpuFabricInfo(struct nvml_device *device, struct nvml_fabric *fabric)
{
    nvml_result result = nvml_begin_gpu(device);
    if (result == NVML_SUCCESS && !nvml_reports(device, "fabric_state"))
        result = NVML_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        parse_cluster(hardware_gpu_value(&nvml_hardware, device->gpu, "fabric_cluster_uuid"), fabric->cluster);
        fabric->status = nvml_says(device, "fabric_status", "Success") ? NVML_SUCCESS : NVML_UNKNOWN;
        fabric->clique = (unsigned)nvml_value(device, "fabric_clique_id", 0);
        fabric->state = fabric_state(device);
    }
    return nvml_end(result);
}

nvml_result nvmlDeviceGetGpuFabricInfoV(struct nvml_device *device, struct nvml_fabric_v *fabric)
{
    struct nvml_fabric plain;
    unsigned version = fabric->version >> 24;
    if (version < 2 || version > 3)
        return NVML_ARGUMENT_VERSION_MISMATCH;
    nvml_result result = nvmlDeviceGetGpuFabricInfo(device, &plain);
    if (result == NVML_SUCCESS) {
        memcpy(fabric->cluster, plain.cluster, sizeof plain.cluster);
        fabric->status = plain.status;
        fabric->clique = plain.clique;
        fabric->state = plain.state;
        fabric->health_mask = 0; /* "not supported", as H100 answers */
        if (version == 3)
            fabric->health_summary = 0;
    }
    return result;
}

/* ---- Field values: what DCGM and NVML's users ask for by number ---- */

enum field_source { NUMBER, MILLIWATTS, YES, ENABLED, ECC_TOTAL, LINK_SPEED, LINK_ERRORS };

struct field_rule {
    unsigned id;
    enum field_source source;
    const char *name; /* of the value; ECC: volatile or aggregate; errors: which */
    bool uncorrected;
};

static const struct field_rule rules[] = {
    {1, ENABLED, "ecc_mode", false},
    {2, ENABLED, "ecc_mode", false},
    {3, ECC_TOTAL, "volatile", false},
    {4, ECC_TOTAL, "volatile", true},
    {5, ECC_TOTAL, "aggregate", false},
    {6, ECC_TOTAL, "aggregate", true},
    {11, NUMBER, "ecc_volatile_dram_correctable", false},
    {12, NUMBER, "ecc_volatile_dram_uncorrectable", false},
    {22, NUMBER, "ecc_aggregate_dram_correctable", false},
    {23, NUMBER, "ecc_aggregate_dram_uncorrectable", false},
    {29, NUMBER, "retired_pages_single_bit", false},
    {30, NUMBER, "retired_pages_double_bit", false},
    {31, YES, "retired_pages_pending", false},
    {38, LINK_ERRORS, "crc_flit_errors", false},
    {45, LINK_ERRORS, "crc_data_errors", false},
    {52, LINK_ERRORS, "replay_errors", false},
    {59, LINK_ERRORS, "recovery_errors", false},
    {82, NUMBER, "temperature_memory_c", false},
    {83, NUMBER, "energy_mj", false},
    {90, LINK_SPEED, "nvlink_speed_mb_per_s", false},
    {91, NUMBER, "nvlink_count", false},
    {94, NUMBER, "pcie_replays", false},
    {95, NUMBER, "pcie_replay_rollovers", false},
    {142, NUMBER, "remapped_rows_correctable", false},
    {143, NUMBER, "remapped_rows_uncorrectable", false},
    {144, YES, "remapped_rows_pending", false},
    {145, YES, "remapped_rows_failure", false},
    {164, LINK_SPEED, "nvlink_speed_mb_per_s", false},
    {185, MILLIWATTS, "power_draw_w", false},
    {186, MILLIWATTS, "power_draw_instant_w", false},
    {187, MILLIWATTS, "power_limit_min_w", false},
    {188, MILLIWATTS, "power_limit_max_w", false},
    {189, MILLIWATTS, "power_limit_default_w", false},
    {190, MILLIWATTS, "power_limit_w", false},
    {192, MILLIWATTS, "power_limit_requested_w", false},
};

static nvml_result read_field(const struct nvml_device *device, const struct field_rule *rule, unsigned scope,
                              unsigned long long *value)
{
    double watts = 0;
    long long total = 0;
    switch (rule->source) {
    case ECC_TOTAL:
        total = hardware_ecc_total(&nvml_hardware, device->gpu, strcmp(rule->name, "aggregate") == 0, rule->uncorrected);
        *value = (unsigned long long)total;
        return total < 0 ? NVML_NOT_SUPPORTED : NVML_SUCCESS;
    case LINK_ERRORS:
        for (unsigned link = 0; link < nvml_value(device, "nvlink_count", 0); link++)
            total += link_number(device, link, rule->name);
        *value = (unsigned long long)total;
        return nvml_reports(device, "nvlink_count") ? NVML_SUCCESS : NVML_NOT_SUPPORTED;
    default:
        break;
    }
    const char *text = hardware_gpu_value(&nvml_hardware, device->gpu, rule->name);
    if (!text)
        return NVML_NOT_SUPPORTED;
    if (rule->source == YES)
        *value = strcmp(text, "Yes") == 0;
    else if (rule->source == ENABLED)
        *value = strcmp(text, "Enabled") == 0;
    else if (rule->source == MILLIWATTS)
        *value = sscanf(text, "%lf", &watts) == 1 ? (unsigned long long)(1000 * watts) : 0;
    else if (rule->source == LINK_SPEED)
        *value = link_is_active(device, scope) ? (unsigned long long)nvml_value(device, rule->name, 0) : 0;
    else
        *value = (unsigned long long)nvml_value(device, rule->name, 0);
    return NVML_SUCCESS;
}

nvml_result nvmlDeviceGetFieldValues(struct nvml_device *device, int count, struct nvml_field *fields)
{
    struct timespec now;
    nvml_result result = nvml_begin_gpu(device);
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; result == NVML_SUCCESS && i < count; i++) {
        fields[i].timestamp_us = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        fields[i].latency_us = 0;
        fields[i].type = NVML_VALUE_UNSIGNED_LONG_LONG;
        fields[i].value.as_unsigned_long_long = 0;
        fields[i].result = NVML_NOT_SUPPORTED;
        for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
            if (rules[r].id == fields[i].id)
                fields[i].result =
                    read_field(device, &rules[r], fields[i].scope, &fields[i].value.as_unsigned_long_long);
    }
    return nvml_end(result);
}
