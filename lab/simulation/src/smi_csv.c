/* Simulated nvidia-smi: --query-gpu and --query-compute-apps. */
#define _GNU_SOURCE
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct csv_field {
    const char *query;  /* what the user asks for */
    const char *header; /* what the header says; NULL: the same */
    const char *value;  /* see smi_value(); NULL: never reported */
    const char *unit;
    int deprecated; /* the first driver branch that does not answer it any more; 0: none */
};

/* From a list of driver 590 and, for the older names, of driver 550; a value of NULL is never reported. */
static const struct csv_field gpu_fields[] = {
    {"timestamp", NULL, "timestamp", "", 0},
    {"driver_version", NULL, "driver_version", "", 0},
    {"vgpu_driver_capability.heterogenous_multivGPU", NULL, NULL, "", 0},
    {"count", NULL, "count", "", 0},
    {"name", NULL, "name", "", 0},
    {"gpu_name", "name", "name", "", 0},
    {"serial", NULL, "serial", "", 0},
    {"gpu_serial", "serial", "serial", "", 0},
    {"uuid", NULL, "uuid", "", 0},
    {"gpu_uuid", "uuid", "uuid", "", 0},
    {"pci.bus_id", NULL, "pci_address", "", 0},
    {"gpu_bus_id", "pci.bus_id", "pci_address", "", 0},
    {"pci.domain", NULL, "pci_domain", "hex", 0},
    {"pci.bus", NULL, "pci_bus", "hex", 0},
    {"pci.device", NULL, "pci_device", "hex", 0},
    {"pci.baseClass", NULL, "pci_base_class", "hex", 0},
    {"pci.subClass", NULL, "pci_sub_class", "hex", 0},
    {"pci.device_id", NULL, "pci_id", "hex", 0},
    {"pci.sub_device_id", NULL, "pci_subsystem_id", "hex", 0},
    {"vgpu_device_capability.fractional_multiVgpu", NULL, NULL, "", 0},
    {"vgpu_device_capability.heterogeneous_timeSlice_profile", NULL, NULL, "", 0},
    {"vgpu_device_capability.heterogeneous_timeSlice_sizes", NULL, NULL, "", 0},
    {"vgpu_device_capability.homogeneous_placements", NULL, NULL, "", 0},
    {"vgpu_device_capability.mig_timeSlicing", NULL, NULL, "", 0},
    {"vgpu_device_capability.mig_timeSlicing_mode", NULL, NULL, "", 0},
    {"pcie.link.gen.current", NULL, "pcie_generation_current", "", 0},
    {"pcie.link.gen.gpucurrent", NULL, "pcie_generation_device_current", "", 0},
    {"pcie.link.gen.max", NULL, "pcie_generation_max", "", 0},
    {"pcie.link.gen.gpumax", NULL, "pcie_generation_device_max", "", 0},
    {"pcie.link.gen.hostmax", NULL, "pcie_generation_host_max", "", 0},
    {"pcie.link.width.current", NULL, "pcie_width_current", "", 0},
    {"pcie.link.width.max", NULL, "pcie_width_max", "", 0},
    {"index", NULL, "index", "", 0},
    {"display_mode", NULL, "display_mode", "", 575},
    {"display_attached", NULL, "display_attached", "", 0},
    {"display_active", NULL, "display_active", "", 0},
    {"persistence_mode", NULL, "persistence_mode", "", 0},
    {"addressing_mode", NULL, "addressing_mode", "", 0},
    {"accounting.mode", NULL, "accounting_mode", "", 0},
    {"accounting.buffer_size", NULL, "accounting_buffer_size", "", 0},
    {"driver_model.current", NULL, NULL, "", 0},
    {"driver_model.pending", NULL, NULL, "", 0},
    {"vbios_version", NULL, "vbios_version", "", 0},
    {"inforom.img", NULL, "inforom_image", "", 0},
    {"inforom.image", "inforom.img", "inforom_image", "", 0},
    {"inforom.oem", NULL, "inforom_oem", "", 0},
    {"inforom.ecc", NULL, "inforom_ecc", "", 0},
    {"inforom.pwr", NULL, "inforom_power", "", 0},
    {"inforom.power", "inforom.pwr", "inforom_power", "", 0},
    {"inforom.checksum_validation", NULL, "inforom_checksum", "", 0},
    {"reset_status.reset_required", NULL, "reset_required", "", 0},
    {"reset_status.drain_and_reset_recommended", NULL, "drain_and_reset_recommended", "", 0},
    {"gpu_recovery_action", NULL, "recovery_action", "", 0},
    {"gom.current", NULL, NULL, "", 0},
    {"gom.pending", NULL, NULL, "", 0},
    {"fan.speed", NULL, "fan_speed_percent", "%", 0},
    {"pstate", NULL, "performance_state", "", 0},
    {"clocks_event_reasons.supported", NULL, "clock_reasons_supported", "", 0},
    {"clocks_event_reasons.active", NULL, "clock_reasons", "", 0},
    {"clocks_event_reasons.gpu_idle", NULL, "clocks_event_idle", "", 0},
    {"clocks_event_reasons.applications_clocks_setting", NULL, "clocks_event_applications_setting", "", 0},
    {"clocks_event_reasons.sw_power_cap", NULL, "clocks_event_sw_power_cap", "", 0},
    {"clocks_event_reasons.hw_slowdown", NULL, "clocks_event_hw_slowdown", "", 0},
    {"clocks_event_reasons.hw_thermal_slowdown", NULL, "clocks_event_hw_thermal_slowdown", "", 0},
    {"clocks_event_reasons.hw_power_brake_slowdown", NULL, "clocks_event_hw_power_brake_slowdown", "", 0},
    {"clocks_event_reasons.sw_thermal_slowdown", NULL, "clocks_event_sw_thermal_slowdown", "", 0},
    {"clocks_event_reasons.sync_boost", NULL, "clocks_event_sync_boost", "", 0},
    {"clocks_throttle_reasons.supported", NULL, "clock_reasons_supported", "", 0},
    {"clocks_throttle_reasons.active", NULL, "clock_reasons", "", 0},
    {"clocks_throttle_reasons.gpu_idle", NULL, "clocks_event_idle", "", 0},
    {"clocks_throttle_reasons.applications_clocks_setting", NULL, "clocks_event_applications_setting", "", 0},
    {"clocks_throttle_reasons.sw_power_cap", NULL, "clocks_event_sw_power_cap", "", 0},
    {"clocks_throttle_reasons.hw_slowdown", NULL, "clocks_event_hw_slowdown", "", 0},
    {"clocks_throttle_reasons.hw_thermal_slowdown", NULL, "clocks_event_hw_thermal_slowdown", "", 0},
    {"clocks_throttle_reasons.hw_power_brake_slowdown", NULL, "clocks_event_hw_power_brake_slowdown", "", 0},
    {"clocks_throttle_reasons.sw_thermal_slowdown", NULL, "clocks_event_sw_thermal_slowdown", "", 0},
    {"clocks_throttle_reasons.sync_boost", NULL, "clocks_event_sync_boost", "", 0},
    {"clocks_event_reasons_counters.sw_power_cap", NULL, "clocks_event_us_sw_power_cap", "us", 0},
    {"clocks_event_reasons_counters.sync_boost", NULL, "clocks_event_us_sync_boost", "us", 0},
    {"clocks_event_reasons_counters.sw_thermal_slowdown", NULL, "clocks_event_us_sw_thermal_slowdown", "us", 0},
    {"clocks_event_reasons_counters.hw_thermal_slowdown", NULL, "clocks_event_us_hw_thermal_slowdown", "us", 0},
    {"clocks_event_reasons_counters.hw_power_brake_slowdown", NULL, "clocks_event_us_hw_power_brake_slowdown", "us", 0},
    {"memory.total", NULL, "memory_total_mib", "MiB", 0},
    {"memory.reserved", NULL, "memory_reserved_mib", "MiB", 0},
    {"memory.used", NULL, "memory_used_mib", "MiB", 0},
    {"memory.free", NULL, "memory_free_mib", "MiB", 0},
    {"compute_mode", NULL, "compute_mode", "", 0},
    {"compute_cap", NULL, "compute_capability", "", 0},
    {"utilization.gpu", NULL, "utilization_gpu_percent", "%", 0},
    {"utilization.memory", NULL, "utilization_memory_percent", "%", 0},
    {"utilization.encoder", NULL, "utilization_encoder_percent", "%", 0},
    {"utilization.decoder", NULL, "utilization_decoder_percent", "%", 0},
    {"utilization.jpeg", NULL, "utilization_jpeg_percent", "%", 0},
    {"utilization.ofa", NULL, "utilization_ofa_percent", "%", 0},
    {"encoder.stats.sessionCount", NULL, "encoder_sessions", "", 0},
    {"encoder.stats.averageFps", NULL, "encoder_fps", "", 0},
    {"encoder.stats.averageLatency", NULL, "encoder_latency_us", "", 0},
    {"dramEncryption.mode.current", NULL, NULL, "", 0},
    {"dramEncryption.mode.pending", NULL, NULL, "", 0},
    {"ecc.mode.current", NULL, "ecc_mode", "", 0},
    {"ecc.mode.pending", NULL, "ecc_mode", "", 0},
    {"ecc.errors.corrected.volatile.device_memory", NULL, "ecc_volatile_dram_correctable", "", 0},
    {"ecc.errors.corrected.volatile.dram", NULL, "ecc_volatile_dram_correctable", "", 0},
    {"ecc.errors.corrected.volatile.register_file", NULL, NULL, "", 0},
    {"ecc.errors.corrected.volatile.l1_cache", NULL, NULL, "", 0},
    {"ecc.errors.corrected.volatile.l2_cache", NULL, NULL, "", 0},
    {"ecc.errors.corrected.volatile.texture_memory", NULL, NULL, "", 0},
    {"ecc.errors.corrected.volatile.cbu", NULL, NULL, "", 0},
    {"ecc.errors.corrected.volatile.sram", NULL, "ecc_volatile_sram_correctable", "", 0},
    {"ecc.errors.corrected.volatile.total", NULL, "ecc_volatile_corrected", "", 0},
    {"ecc.errors.corrected.aggregate.device_memory", NULL, "ecc_aggregate_dram_correctable", "", 0},
    {"ecc.errors.corrected.aggregate.dram", NULL, "ecc_aggregate_dram_correctable", "", 0},
    {"ecc.errors.corrected.aggregate.register_file", NULL, NULL, "", 0},
    {"ecc.errors.corrected.aggregate.l1_cache", NULL, NULL, "", 0},
    {"ecc.errors.corrected.aggregate.l2_cache", NULL, NULL, "", 0},
    {"ecc.errors.corrected.aggregate.texture_memory", NULL, NULL, "", 0},
    {"ecc.errors.corrected.aggregate.cbu", NULL, NULL, "", 0},
    {"ecc.errors.corrected.aggregate.sram", NULL, "ecc_aggregate_sram_correctable", "", 0},
    {"ecc.errors.corrected.aggregate.total", NULL, "ecc_aggregate_corrected", "", 0},
    {"ecc.errors.uncorrected.volatile.device_memory", NULL, "ecc_volatile_dram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.volatile.dram", NULL, "ecc_volatile_dram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.volatile.register_file", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.volatile.l1_cache", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.volatile.l2_cache", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.volatile.texture_memory", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.volatile.cbu", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.volatile.sram", NULL, "ecc_volatile_sram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.volatile.total", NULL, "ecc_volatile_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.aggregate.device_memory", NULL, "ecc_aggregate_dram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.aggregate.dram", NULL, "ecc_aggregate_dram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.aggregate.register_file", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.aggregate.l1_cache", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.aggregate.l2_cache", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.aggregate.texture_memory", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.aggregate.cbu", NULL, NULL, "", 0},
    {"ecc.errors.uncorrected.aggregate.sram", NULL, "ecc_aggregate_sram_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.aggregate.total", NULL, "ecc_aggregate_uncorrectable", "", 0},
    {"ecc.errors.uncorrected.volatile.sram.parity", NULL, "ecc_volatile_sram_uncorrectable_parity", "", 0},
    {"ecc.errors.uncorrected.volatile.sram.secded", NULL, "ecc_volatile_sram_uncorrectable_secded", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.parity", NULL, "ecc_aggregate_sram_uncorrectable_parity", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.secded", NULL, "ecc_aggregate_sram_uncorrectable_secded", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.thresholdExceeded", NULL, "ecc_aggregate_sram_threshold_exceeded", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.l2", NULL, "ecc_aggregate_sram_uncorrectable_l2", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.sm", NULL, "ecc_aggregate_sram_uncorrectable_sm", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.mcu", NULL, "ecc_aggregate_sram_uncorrectable_mcu", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.pcie", NULL, "ecc_aggregate_sram_uncorrectable_pcie", "", 0},
    {"ecc.errors.uncorrected.aggregate.sram.other", NULL, "ecc_aggregate_sram_uncorrectable_other", "", 0},
    {"retired_pages.single_bit_ecc.count", NULL, "retired_pages_single_bit", "", 0},
    {"retired_pages.sbe", "retired_pages.single_bit_ecc.count", "retired_pages_single_bit", "", 0},
    {"retired_pages.double_bit.count", NULL, "retired_pages_double_bit", "", 0},
    {"retired_pages.dbe", "retired_pages.double_bit.count", "retired_pages_double_bit", "", 0},
    {"retired_pages.pending", NULL, "retired_pages_pending", "", 0},
    {"remapped_rows.correctable", NULL, "remapped_rows_correctable", "", 0},
    {"remapped_rows.uncorrectable", NULL, "remapped_rows_uncorrectable", "", 0},
    {"remapped_rows.pending", NULL, "remapped_rows_pending", "", 0},
    {"remapped_rows.failure", NULL, "remapped_rows_failure", "", 0},
    {"remapped_rows.histogram.max", NULL, "remapped_rows_histogram_max", "", 0},
    {"remapped_rows.histogram.high", NULL, "remapped_rows_histogram_high", "", 0},
    {"remapped_rows.histogram.partial", NULL, "remapped_rows_histogram_partial", "", 0},
    {"remapped_rows.histogram.low", NULL, "remapped_rows_histogram_low", "", 0},
    {"remapped_rows.histogram.none", NULL, "remapped_rows_histogram_none", "", 0},
    {"temperature.gpu", NULL, "temperature_gpu_c", "", 0},
    {"temperature.gpu.tlimit", NULL, "temperature_margin_c", "", 0},
    {"temperature.memory", NULL, "temperature_memory_c", "", 0},
    {"power.management", NULL, "power_management", "", 590},
    {"power.draw", NULL, "power_draw_w", "W", 0},
    {"power.draw.average", NULL, "power_draw_w", "W", 0},
    {"power.draw.instant", NULL, "power_draw_instant_w", "W", 0},
    {"power.limit", NULL, "power_limit_w", "W", 0},
    {"enforced.power.limit", NULL, "power_limit_w", "W", 0},
    {"power.default_limit", NULL, "power_limit_default_w", "W", 0},
    {"power.min_limit", NULL, "power_limit_min_w", "W", 0},
    {"power.max_limit", NULL, "power_limit_max_w", "W", 0},
    {"module.power.draw.average", NULL, NULL, "W", 0},
    {"module.power.draw.instant", NULL, NULL, "W", 0},
    {"module.power.limit", NULL, NULL, "W", 0},
    {"module.enforced.power.limit", NULL, NULL, "W", 0},
    {"module.power.default_limit", NULL, NULL, "W", 0},
    {"module.power.min_limit", NULL, NULL, "W", 0},
    {"module.power.max_limit", NULL, NULL, "W", 0},
    {"power_smoothing.delayed_power_smoothing_supported", NULL, NULL, "", 0},
    {"power_smoothing.primary_power_floor", NULL, NULL, "W", 0},
    {"power_smoothing.secondary_power_floor", NULL, NULL, "W", 0},
    {"power_smoothing.min_primary_floor_activation_offset", NULL, NULL, "W", 0},
    {"power_smoothing.min_primary_floor_activation_point", NULL, NULL, "W", 0},
    {"power_smoothing.window_multiplier", NULL, NULL, "ms", 0},
    {"power_smoothing.curr_profile.secondary_power_floor", NULL, NULL, "W", 0},
    {"power_smoothing.curr_profile.primary_floor_act_window_multiplier", NULL, NULL, "", 0},
    {"power_smoothing.curr_profile.primary_floor_tar_window_multiplier", NULL, NULL, "", 0},
    {"power_smoothing.curr_profile.primary_floor_act_offset", NULL, NULL, "W", 0},
    {"power_smoothing.admin_override.secondary_power_floor", NULL, NULL, "W", 0},
    {"power_smoothing.admin_override.primary_floor_act_window_multiplier", NULL, NULL, "", 0},
    {"power_smoothing.admin_override.primary_floor_tar_window_multiplier", NULL, NULL, "", 0},
    {"power_smoothing.admin_override.primary_floor_act_offset", NULL, NULL, "W", 0},
    {"clocks.current.graphics", NULL, "clock_graphics_mhz", "MHz", 0},
    {"clocks.gr", "clocks.current.graphics", "clock_graphics_mhz", "MHz", 0},
    {"clocks.current.sm", NULL, "clock_sm_mhz", "MHz", 0},
    {"clocks.sm", "clocks.current.sm", "clock_sm_mhz", "MHz", 0},
    {"clocks.current.memory", NULL, "clock_memory_mhz", "MHz", 0},
    {"clocks.mem", "clocks.current.memory", "clock_memory_mhz", "MHz", 0},
    {"clocks.current.video", NULL, "clock_video_mhz", "MHz", 0},
    {"clocks.video", "clocks.current.video", "clock_video_mhz", "MHz", 0},
    {"clocks.applications.graphics", NULL, "clock_graphics_application_mhz", "MHz", 590},
    {"clocks.applications.gr", "clocks.applications.graphics", "clock_graphics_application_mhz", "MHz", 590},
    {"clocks.default_applications.graphics", NULL, "clock_graphics_application_mhz", "MHz", 590},
    {"clocks.default_applications.gr", "clocks.default_applications.graphics", "clock_graphics_application_mhz", "MHz", 590},
    {"clocks.applications.memory", NULL, "clock_memory_application_mhz", "MHz", 590},
    {"clocks.applications.mem", "clocks.applications.memory", "clock_memory_application_mhz", "MHz", 590},
    {"clocks.default_applications.memory", NULL, "clock_memory_application_mhz", "MHz", 590},
    {"clocks.default_applications.mem", "clocks.default_applications.memory", "clock_memory_application_mhz", "MHz", 590},
    {"clocks.max.graphics", NULL, "clock_graphics_max_mhz", "MHz", 0},
    {"clocks.max.gr", "clocks.max.graphics", "clock_graphics_max_mhz", "MHz", 0},
    {"clocks.max.sm", NULL, "clock_sm_max_mhz", "MHz", 0},
    {"clocks.max.memory", NULL, "clock_memory_max_mhz", "MHz", 0},
    {"clocks.max.mem", "clocks.max.memory", "clock_memory_max_mhz", "MHz", 0},
    {"mig.mode.current", NULL, "mig_mode", "", 0},
    {"mig.mode.pending", NULL, "mig_mode_pending", "", 0},
    {"gsp.mode.current", NULL, "gsp_mode", "", 0},
    {"gsp.mode.default", NULL, "gsp_mode", "", 0},
    {"c2c.mode", NULL, "c2c_mode", "", 0},
    {"protected_memory.total", NULL, "protected_total_mib", "MiB", 0},
    {"protected_memory.used", NULL, "protected_used_mib", "MiB", 0},
    {"protected_memory.free", NULL, "protected_free_mib", "MiB", 0},
    {"fabric.state", NULL, "fabric_state", "", 0},
    {"fabric.status", NULL, "fabric_status", "", 0},
    {"fabric.cliqueId", NULL, "fabric_clique_id", "", 0},
    {"fabric.clusterUuid", NULL, "fabric_cluster_uuid", "", 0},
    {"fabric.health.summary", NULL, "fabric_health_summary", "", 0},
    {"fabric.health.bandwidth", NULL, "fabric_health_bandwidth", "", 0},
    {"fabric.health.route_recovery_in_progress", NULL, NULL, "", 0},
    {"fabric.health.route_unhealthy", NULL, NULL, "", 0},
    {"fabric.health.access_timeout_recovery", NULL, NULL, "", 0},
    {"fabric.health.incorrect_configuration", NULL, NULL, "", 0},
    {"platform.chassis_serial_number", NULL, NULL, "", 0},
    {"platform.slot_number", NULL, NULL, "", 0},
    {"platform.tray_index", NULL, NULL, "", 0},
    {"platform.host_id", NULL, NULL, "", 0},
    {"platform.peer_type", NULL, NULL, "", 0},
    {"platform.module_id", NULL, "module_id", "", 0},
    {"platform.gpu_fabric_guid", NULL, NULL, "", 0},
    {"hostname", NULL, NULL, "", 0},
    {"edpp_multiplier", NULL, NULL, "%", 0},
};

static const struct csv_field app_fields[] = {
    {"timestamp", NULL, NULL, "", 0},
    {"gpu_name", NULL, NULL, "", 0},
    {"gpu_bus_id", NULL, NULL, "", 0},
    {"gpu_uuid", NULL, NULL, "", 0},
    {"pid", NULL, NULL, "", 0},
    {"process_name", NULL, NULL, "", 0},
    {"name", "process_name", NULL, "", 0},
    {"used_memory", "used_gpu_memory", NULL, "MiB", 0},
    {"used_gpu_memory", NULL, NULL, "MiB", 0},
};

enum { MAX_FIELDS = 256 };

struct csv_query {
    size_t count;
    const struct csv_field *field[MAX_FIELDS];
    bool header, units;
};

/* `csv[,noheader][,nounits]`, in any order; csv is required. */
static bool parse_format(const char *text, struct csv_query *query)
{
    bool csv = false;
    char *copy = strdup(text ? text : ""), *rest = copy;
    query->header = query->units = true;
    bool known = copy != NULL;
    for (char *word; known && (word = strsep(&rest, ","));) {
        if (strcmp(word, "csv") == 0)
            csv = true;
        else if (strcmp(word, "noheader") == 0)
            query->header = false;
        else if (strcmp(word, "nounits") == 0)
            query->units = false;
        else
            known = false;
    }
    free(copy);
    return csv && known;
}

static const struct csv_field *find_field(const struct csv_field *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].query, name) == 0)
            return &fields[i];
    return NULL;
}

static enum smi_exit parse_query(const struct csv_field *fields, size_t count, const char *text, const char *format,
                                 struct csv_query *query)
{
    enum smi_exit result = SMI_OK;
    query->count = 0;
    if (!parse_format(format, query)) {
        puts("\"--format=\" switch is missing or its value is not recognized. Please run 'nvidia-smi -h' for help.\n");
        return SMI_INVALID_ARGUMENT;
    }
    char *copy = strdup(text), *rest = copy;
    for (char *name; result == SMI_OK && (name = strsep(&rest, ","));) {
        name += strspn(name, " ");
        const struct csv_field *field = find_field(fields, count, name);
        if (field && query->count < MAX_FIELDS) {
            query->field[query->count++] = field;
        } else {
            printf("Field \"%s\" is not a valid field to query.\n\n", name);
            result = SMI_INVALID_ARGUMENT;
        }
    }
    free(copy);
    return result;
}

static bool is_number_unit(const char *unit) { return *unit && strcmp(unit, "hex") != 0; }

static void print_header(const struct csv_query *query)
{
    for (size_t i = 0; query->header && i < query->count; i++) {
        const struct csv_field *field = query->field[i];
        printf("%s%s", i ? ", " : "", field->header ? field->header : field->query);
        if (is_number_unit(field->unit))
            printf(" [%s]", field->unit);
    }
    if (query->header)
        putchar('\n');
}

static void print_value(const struct hardware *hardware, unsigned gpu, const struct csv_field *field, bool units)
{
    char buffer[SMI_VALUE_SIZE];
    const char *value = !field->value                              ? NULL
                        : strcmp(field->value, "timestamp") == 0 ? smi_now(buffer, "%Y/%m/%d %H:%M:%S.")
                                                                 : smi_value(hardware, gpu, field->value, buffer);
    if (field->deprecated && smi_driver_branch(hardware) >= field->deprecated)
        fputs("[Requested functionality has been deprecated]", stdout);
    else if (!value)
        fputs("[N/A]", stdout); /* the brackets stay with nounits too */
    else if (strcmp(field->unit, "hex") == 0)
        printf("0x%s", value);
    else
        printf("%s%s%s", value, units && *field->unit ? " " : "", units ? field->unit : "");
}

enum smi_exit smi_print_gpu_csv(const struct hardware *hardware, const struct smi_selection *selection,
                                const char *fields, const char *format)
{
    struct csv_query query;
    enum smi_exit result = parse_query(gpu_fields, sizeof gpu_fields / sizeof *gpu_fields, fields, format, &query);
    if (result != SMI_OK)
        return result;
    print_header(&query);
    for (size_t i = 0; i < selection->count; i++)
        for (size_t f = 0; f < query.count; f++) {
            print_value(hardware, selection->gpu[i], query.field[f], query.units);
            fputs(f + 1 < query.count ? ", " : "\n", stdout);
        }
    return SMI_OK;
}

/* No process can use a simulated GPU: a header at most. */
enum smi_exit smi_print_apps_csv(const char *fields, const char *format)
{
    struct csv_query query;
    enum smi_exit result = parse_query(app_fields, sizeof app_fields / sizeof *app_fields, fields, format, &query);
    if (result == SMI_OK)
        print_header(&query);
    return result;
}

void smi_print_query_help(void)
{
    puts("List of valid properties to query for the switch \"--query-gpu\":\n");
    for (size_t i = 0; i < sizeof gpu_fields / sizeof *gpu_fields; i++)
        if (!gpu_fields[i].header) /* the others are short forms of these */
            printf("\"%s\"\n", gpu_fields[i].query);
}
