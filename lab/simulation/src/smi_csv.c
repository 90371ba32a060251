/* Simulated nvidia-smi: --query-gpu and --query-compute-apps. */
#define _GNU_SOURCE
#include "smi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct csv_field {
    const char *query;  /* what the user asks for */
    const char *header; /* what the header says; NULL: the same */
    const char *value;  /* see smi_value() */
    const char *unit;
};

static const struct csv_field gpu_fields[] = {
    {"timestamp", NULL, "timestamp", ""},
    {"driver_version", NULL, "driver_version", ""},
    {"count", NULL, "count", ""},
    {"index", NULL, "index", ""},
    {"name", NULL, "name", ""},
    {"gpu_name", "name", "name", ""},
    {"serial", NULL, "serial", ""},
    {"gpu_serial", "serial", "serial", ""},
    {"uuid", NULL, "uuid", ""},
    {"gpu_uuid", "uuid", "uuid", ""},
    {"pci.bus_id", NULL, "pci_address", ""},
    {"gpu_bus_id", "pci.bus_id", "pci_address", ""},
    {"pci.domain", NULL, "pci_domain", "hex"},
    {"pci.bus", NULL, "pci_bus", "hex"},
    {"pci.device", NULL, "pci_device", "hex"},
    {"pci.device_id", NULL, "pci_id", "hex"},
    {"pci.sub_device_id", NULL, "pci_subsystem_id", "hex"},
    {"pcie.link.gen.current", NULL, "pcie_generation_current", ""},
    {"pcie.link.gen.max", NULL, "pcie_generation_max", ""},
    {"pcie.link.width.current", NULL, "pcie_width_current", ""},
    {"pcie.link.width.max", NULL, "pcie_width_max", ""},
    {"compute_cap", NULL, "compute_capability", ""},
    {"vbios_version", NULL, "vbios_version", ""},
    {"persistence_mode", NULL, "persistence_mode", ""},
    {"addressing_mode", NULL, "addressing_mode", ""},
    {"compute_mode", NULL, "compute_mode", ""},
    {"mig.mode.current", NULL, "mig_mode", ""},
    {"mig.mode.pending", NULL, "mig_mode", ""},
    {"gpu_recovery_action", NULL, "recovery_action", ""},
    {"fan.speed", NULL, "fan_speed_percent", "%"},
    {"pstate", NULL, "performance_state", ""},
    {"memory.total", NULL, "memory_total_mib", "MiB"},
    {"memory.reserved", NULL, "memory_reserved_mib", "MiB"},
    {"memory.used", NULL, "memory_used_mib", "MiB"},
    {"memory.free", NULL, "memory_free_mib", "MiB"},
    {"utilization.gpu", NULL, "utilization_gpu_percent", "%"},
    {"utilization.memory", NULL, "utilization_memory_percent", "%"},
    {"temperature.gpu", NULL, "temperature_gpu_c", ""},
    {"temperature.memory", NULL, "temperature_memory_c", ""},
    {"power.draw", NULL, "power_draw_w", "W"},
    {"power.limit", NULL, "power_limit_w", "W"},
    {"power.default_limit", NULL, "power_limit_default_w", "W"},
    {"power.min_limit", NULL, "power_limit_min_w", "W"},
    {"power.max_limit", NULL, "power_limit_max_w", "W"},
    {"clocks.gr", "clocks.current.graphics", "clock_graphics_mhz", "MHz"},
    {"clocks.sm", "clocks.current.sm", "clock_sm_mhz", "MHz"},
    {"clocks.mem", "clocks.current.memory", "clock_memory_mhz", "MHz"},
    {"clocks.video", "clocks.current.video", "clock_video_mhz", "MHz"},
    {"clocks.current.graphics", NULL, "clock_graphics_mhz", "MHz"},
    {"clocks.current.sm", NULL, "clock_sm_mhz", "MHz"},
    {"clocks.current.memory", NULL, "clock_memory_mhz", "MHz"},
    {"clocks.current.video", NULL, "clock_video_mhz", "MHz"},
    {"clocks.max.graphics", NULL, "clock_graphics_max_mhz", "MHz"},
    {"clocks.max.sm", NULL, "clock_sm_max_mhz", "MHz"},
    {"clocks.max.memory", NULL, "clock_memory_max_mhz", "MHz"},
    {"ecc.mode.current", NULL, "ecc_mode", ""},
    {"ecc.mode.pending", NULL, "ecc_mode", ""},
    {"ecc.errors.uncorrected.volatile.total", NULL, "ecc_volatile_uncorrectable", ""},
    {"ecc.errors.corrected.volatile.dram", NULL, "ecc_volatile_dram_correctable", ""},
    {"ecc.errors.uncorrected.volatile.dram", NULL, "ecc_volatile_dram_uncorrectable", ""},
    {"remapped_rows.correctable", NULL, "remapped_rows_correctable", ""},
    {"remapped_rows.uncorrectable", NULL, "remapped_rows_uncorrectable", ""},
    {"remapped_rows.pending", NULL, "remapped_rows_pending", ""},
    {"remapped_rows.failure", NULL, "remapped_rows_failure", ""},
};

static const struct csv_field app_fields[] = {
    {"timestamp", NULL, NULL, ""},   {"gpu_name", NULL, NULL, ""},     {"gpu_bus_id", NULL, NULL, ""},
    {"gpu_uuid", NULL, NULL, ""},    {"pid", NULL, NULL, ""},          {"process_name", NULL, NULL, ""},
    {"name", "process_name", NULL, ""}, {"used_memory", "used_gpu_memory", NULL, "MiB"},
    {"used_gpu_memory", NULL, NULL, "MiB"},
};

enum { MAX_FIELDS = 128 };

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
    const char *value = strcmp(field->value, "timestamp") == 0 ? smi_now(buffer)
                                                                : smi_value(hardware, gpu, field->value, buffer);
    if (!value)
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
