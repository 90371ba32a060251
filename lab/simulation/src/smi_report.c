/* Simulated nvidia-smi: the report of -q, as text or XML, from one description of its rows. */
#include "smi.h"

#include <stdio.h>
#include <string.h>

/* From this branch on values begin after a label column of 55, before it of 42 characters. */
enum { WIDE_LABEL_BRANCH = 580, WIDE_LABEL = 55, NARROW_LABEL = 42, MAX_DEPTH = 8 };

enum row_kind { VALUE, SECTION, END };

struct row {
    enum row_kind kind;
    const char *label; /* in text */
    const char *tag;   /* in XML */
    const char *value; /* see smi_value() */
    const char *unit;
};

static const struct row gpu_rows[] = {
    {VALUE, "Product Name", "product_name", "name", ""},
    {VALUE, "Product Brand", "product_brand", "brand", ""},
    {VALUE, "Product Architecture", "product_architecture", "architecture", ""},
    {VALUE, "Display Mode", "display_mode", "display_mode", ""},
    {VALUE, "Display Active", "display_active", "display_active", ""},
    {VALUE, "Persistence Mode", "persistence_mode", "persistence_mode", ""},
    {VALUE, "Addressing Mode", "addressing_mode", "addressing_mode", ""},
    {SECTION, "MIG Mode", "mig_mode", NULL, NULL},
    {VALUE, "Current", "current_mig", "mig_mode", ""},
    {VALUE, "Pending", "pending_mig", "mig_mode", ""},
    {END, NULL, NULL, NULL, NULL},
    {VALUE, "Serial Number", "serial", "serial", ""},
    {VALUE, "GPU UUID", "uuid", "uuid", ""},
    {VALUE, "Minor Number", "minor_number", "index", ""},
    {VALUE, "VBIOS Version", "vbios_version", "vbios_version", ""},
    {VALUE, "Board Part Number", "board_part_number", "board_part_number", ""},
    {VALUE, "GPU Part Number", "gpu_part_number", "gpu_part_number", ""},
    {VALUE, "GPU Recovery Action", "gpu_recovery_action", "recovery_action", ""},
    {VALUE, "GSP Firmware Version", "gsp_firmware_version", "gsp_firmware_version", ""},
    {SECTION, "PCI", "pci", NULL, NULL},
    {VALUE, "Bus", "pci_bus", "pci_bus", "hex"},
    {VALUE, "Device", "pci_device", "pci_device", "hex"},
    {VALUE, "Domain", "pci_domain", "pci_domain", "hex"},
    {VALUE, "Device Id", "pci_device_id", "pci_id", "hex"},
    {VALUE, "Bus Id", "pci_bus_id", "pci_address", ""},
    {VALUE, "Sub System Id", "pci_sub_system_id", "pci_subsystem_id", "hex"},
    {SECTION, "GPU Link Info", "pci_gpu_link_info", NULL, NULL},
    {SECTION, "PCIe Generation", "pcie_gen", NULL, NULL},
    {VALUE, "Max", "max_link_gen", "pcie_generation_max", ""},
    {VALUE, "Current", "current_link_gen", "pcie_generation_current", ""},
    {VALUE, "Device Current", "device_current_link_gen", "pcie_generation_current", ""},
    {VALUE, "Device Max", "max_device_link_gen", "pcie_generation_max", ""},
    {VALUE, "Host Max", "max_host_link_gen", "pcie_generation_max", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Link Width", "link_widths", NULL, NULL},
    {VALUE, "Max", "max_link_width", "pcie_width_max", "x"},
    {VALUE, "Current", "current_link_width", "pcie_width_current", "x"},
    {END, NULL, NULL, NULL, NULL},
    {END, NULL, NULL, NULL, NULL},
    {VALUE, "Replays Since Reset", "replay_counter", "pcie_replays", ""},
    {VALUE, "Replay Number Rollovers", "replay_rollover_counter", "pcie_replay_rollovers", ""},
    {END, NULL, NULL, NULL, NULL},
    {VALUE, "Fan Speed", "fan_speed", "fan_speed_percent", " %"},
    {VALUE, "Performance State", "performance_state", "performance_state", ""},
    {SECTION, "Clocks Event Reasons", "clocks_event_reasons", NULL, NULL},
    {VALUE, "Idle", "clocks_event_reason_gpu_idle", "clocks_event_idle", ""},
    {VALUE, "Applications Clocks Setting", "clocks_event_reason_applications_clocks_setting",
     "clocks_event_applications_setting", ""},
    {VALUE, "SW Power Cap", "clocks_event_reason_sw_power_cap", "clocks_event_sw_power_cap", ""},
    {VALUE, "HW Slowdown", "clocks_event_reason_hw_slowdown", "clocks_event_hw_slowdown", ""},
    {VALUE, "HW Thermal Slowdown", "clocks_event_reason_hw_thermal_slowdown", "clocks_event_hw_thermal_slowdown", ""},
    {VALUE, "HW Power Brake Slowdown", "clocks_event_reason_hw_power_brake_slowdown",
     "clocks_event_hw_power_brake_slowdown", ""},
    {VALUE, "Sync Boost", "clocks_event_reason_sync_boost", "clocks_event_sync_boost", ""},
    {VALUE, "SW Thermal Slowdown", "clocks_event_reason_sw_thermal_slowdown", "clocks_event_sw_thermal_slowdown", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "FB Memory Usage", "fb_memory_usage", NULL, NULL},
    {VALUE, "Total", "total", "memory_total_mib", " MiB"},
    {VALUE, "Reserved", "reserved", "memory_reserved_mib", " MiB"},
    {VALUE, "Used", "used", "memory_used_mib", " MiB"},
    {VALUE, "Free", "free", "memory_free_mib", " MiB"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "BAR1 Memory Usage", "bar1_memory_usage", NULL, NULL},
    {VALUE, "Total", "total", "bar1_total_mib", " MiB"},
    {VALUE, "Used", "used", "bar1_used_mib", " MiB"},
    {VALUE, "Free", "free", "bar1_free_mib", " MiB"},
    {END, NULL, NULL, NULL, NULL},
    {VALUE, "Compute Mode", "compute_mode", "compute_mode", ""},
    {SECTION, "Utilization", "utilization", NULL, NULL},
    {VALUE, "GPU", "gpu_util", "utilization_gpu_percent", " %"},
    {VALUE, "Memory", "memory_util", "utilization_memory_percent", " %"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "ECC Mode", "ecc_mode", NULL, NULL},
    {VALUE, "Current", "current_ecc", "ecc_mode", ""},
    {VALUE, "Pending", "pending_ecc", "ecc_mode", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "ECC Errors", "ecc_errors", NULL, NULL},
    {SECTION, "Volatile", "volatile", NULL, NULL},
    {VALUE, "SRAM Correctable", "sram_correctable", "ecc_volatile_sram_correctable", ""},
    {VALUE, "SRAM Uncorrectable Parity", "sram_uncorrectable_parity", "ecc_volatile_sram_uncorrectable_parity", ""},
    {VALUE, "SRAM Uncorrectable SEC-DED", "sram_uncorrectable_secded", "ecc_volatile_sram_uncorrectable_secded", ""},
    {VALUE, "DRAM Correctable", "dram_correctable", "ecc_volatile_dram_correctable", ""},
    {VALUE, "DRAM Uncorrectable", "dram_uncorrectable", "ecc_volatile_dram_uncorrectable", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Aggregate", "aggregate", NULL, NULL},
    {VALUE, "SRAM Correctable", "sram_correctable", "ecc_aggregate_sram_correctable", ""},
    {VALUE, "SRAM Uncorrectable Parity", "sram_uncorrectable_parity", "ecc_aggregate_sram_uncorrectable_parity", ""},
    {VALUE, "SRAM Uncorrectable SEC-DED", "sram_uncorrectable_secded", "ecc_aggregate_sram_uncorrectable_secded", ""},
    {VALUE, "DRAM Correctable", "dram_correctable", "ecc_aggregate_dram_correctable", ""},
    {VALUE, "DRAM Uncorrectable", "dram_uncorrectable", "ecc_aggregate_dram_uncorrectable", ""},
    {VALUE, "SRAM Threshold Exceeded", "sram_threshold_exceeded", "ecc_aggregate_sram_threshold_exceeded", ""},
    {END, NULL, NULL, NULL, NULL},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Retired Pages", "retired_pages", NULL, NULL},
    {VALUE, "Pending Page Blacklist", "pending_retirement", "retired_pages_pending", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Remapped Rows", "remapped_rows", NULL, NULL},
    {VALUE, "Correctable Error", "remapped_row_corr", "remapped_rows_correctable", ""},
    {VALUE, "Uncorrectable Error", "remapped_row_unc", "remapped_rows_uncorrectable", ""},
    {VALUE, "Pending", "remapped_row_pending", "remapped_rows_pending", ""},
    {VALUE, "Remapping Failure Occurred", "remapped_row_failure", "remapped_rows_failure", ""},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Temperature", "temperature", NULL, NULL},
    {VALUE, "GPU Current Temp", "gpu_temp", "temperature_gpu_c", " C"},
    {VALUE, "GPU T.Limit Temp", "gpu_temp_tlimit", "temperature_margin_c", " C"},
    {VALUE, "Memory Current Temp", "memory_temp", "temperature_memory_c", " C"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "GPU Power Readings", "gpu_power_readings", NULL, NULL},
    {VALUE, "Average Power Draw", "average_power_draw", "power_draw_w", " W"},
    {VALUE, "Instantaneous Power Draw", "instant_power_draw", "power_draw_w", " W"},
    {VALUE, "Current Power Limit", "current_power_limit", "power_limit_w", " W"},
    {VALUE, "Requested Power Limit", "requested_power_limit", "power_limit_w", " W"},
    {VALUE, "Default Power Limit", "default_power_limit", "power_limit_default_w", " W"},
    {VALUE, "Min Power Limit", "min_power_limit", "power_limit_min_w", " W"},
    {VALUE, "Max Power Limit", "max_power_limit", "power_limit_max_w", " W"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Clocks", "clocks", NULL, NULL},
    {VALUE, "Graphics", "graphics_clock", "clock_graphics_mhz", " MHz"},
    {VALUE, "SM", "sm_clock", "clock_sm_mhz", " MHz"},
    {VALUE, "Memory", "mem_clock", "clock_memory_mhz", " MHz"},
    {VALUE, "Video", "video_clock", "clock_video_mhz", " MHz"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Max Clocks", "max_clocks", NULL, NULL},
    {VALUE, "Graphics", "graphics_clock", "clock_graphics_max_mhz", " MHz"},
    {VALUE, "SM", "sm_clock", "clock_sm_max_mhz", " MHz"},
    {VALUE, "Memory", "mem_clock", "clock_memory_max_mhz", " MHz"},
    {VALUE, "Video", "video_clock", "clock_video_max_mhz", " MHz"},
    {END, NULL, NULL, NULL, NULL},
    {SECTION, "Fabric", "fabric", NULL, NULL},
    {VALUE, "State", "state", "fabric_state", ""},
    {VALUE, "Status", "status", "fabric_status", ""},
    {END, NULL, NULL, NULL, NULL},
};

struct report {
    bool xml;
    int label_width;
    int depth;                    /* of the row that comes next; the root of XML counts as one */
    const char *open[MAX_DEPTH]; /* XML tags that are not closed yet */
};

static void indent(const struct report *report)
{
    for (int i = 0; i < report->depth; i++)
        fputs(report->xml ? "\t" : "    ", stdout);
}

static void print_escaped(const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", stdout); break;
        case '<': fputs("&lt;", stdout); break;
        case '>': fputs("&gt;", stdout); break;
        default: putchar(*text);
        }
}

static void open_section(struct report *report, const char *label, const char *tag)
{
    indent(report);
    printf(report->xml ? "<%s>\n" : "%s\n", report->xml ? tag : label);
    report->open[report->depth++] = tag;
}

static void close_section(struct report *report)
{
    report->depth--;
    if (report->xml) {
        indent(report);
        printf("</%s>\n", report->open[report->depth]);
    }
}

static void print_line(const struct report *report, const char *label, const char *tag, const char *value)
{
    indent(report);
    if (report->xml) {
        printf("<%s>", tag);
        print_escaped(value);
        printf("</%s>\n", tag);
    } else {
        printf("%-*s: %s\n", report->label_width - 4 * report->depth, label, value);
    }
}

static void print_row(struct report *report, const struct hardware *hardware, unsigned gpu, const struct row *row)
{
    char derived[SMI_VALUE_SIZE], text[SMI_VALUE_SIZE + 16];
    const char *value = smi_value(hardware, gpu, row->value, derived);
    if (!value)
        snprintf(text, sizeof text, "N/A");
    else if (strcmp(row->unit, "hex") == 0)
        snprintf(text, sizeof text, "%s%s", report->xml ? "" : "0x", value);
    else
        snprintf(text, sizeof text, "%s%s", value, row->unit);
    print_line(report, row->label, row->tag, text);
}

static void print_gpu(struct report *report, const struct hardware *hardware, unsigned gpu)
{
    char address[SMI_VALUE_SIZE] = "N/A";
    smi_value(hardware, gpu, "pci_address", address);
    indent(report);
    printf(report->xml ? "<gpu id=\"%s\">\n" : "GPU %s\n", address);
    report->open[report->depth++] = "gpu";
    for (size_t i = 0; i < sizeof gpu_rows / sizeof *gpu_rows; i++) {
        const struct row *row = &gpu_rows[i];
        if (row->kind == SECTION)
            open_section(report, row->label, row->tag);
        else if (row->kind == END)
            close_section(report);
        else
            print_row(report, hardware, gpu, row);
    }
    if (report->xml) {
        open_section(report, "Processes", "processes"); /* none: no process can use a simulated GPU */
        close_section(report);
    } else {
        print_line(report, "Processes", "processes", "None");
    }
    close_section(report);
    if (!report->xml)
        putchar('\n');
}

void smi_print_report(const struct hardware *hardware, const struct smi_selection *selection, bool xml)
{
    char now[SMI_VALUE_SIZE], count[16];
    struct report report = {.xml = xml};
    report.label_width = smi_driver_branch(hardware) >= WIDE_LABEL_BRANCH ? WIDE_LABEL : NARROW_LABEL;
    snprintf(count, sizeof count, "%u", hardware_gpu_count(hardware));
    if (xml) {
        puts("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">");
        open_section(&report, NULL, "nvidia_smi_log");
    } else {
        puts("\n==============NVSMI LOG==============\n");
    }
    print_line(&report, "Timestamp", "timestamp", smi_now(now));
    print_line(&report, "Driver Version", "driver_version", hardware_value(hardware, "driver_version"));
    print_line(&report, "CUDA Version", "cuda_version", hardware_value(hardware, "cuda_version"));
    if (!xml)
        putchar('\n');
    print_line(&report, "Attached GPUs", "attached_gpus", count);
    for (size_t i = 0; i < selection->count; i++)
        print_gpu(&report, hardware, selection->gpu[i]);
    if (xml)
        close_section(&report);
}
