/* Simulated nvidia-smi: the report of -q, as text or XML, from one description of its rows (smi_rows.h). */
#include "smi.h"
#include "smi_rows.h"

#include <stdio.h>
#include <string.h>

/* From this branch on values begin after a label column of 55, before it of 42 characters. */
enum { WIDE_LABEL_BRANCH = 580, WIDE_LABEL = 55, NARROW_LABEL = 42, MAX_DEPTH = 8 };
/* From this branch on the XML refers to the document type of version 13. */
enum { DTD_13_BRANCH = 580 };

/* What `-d` calls the rows and sections of the first level. */
static const struct {
    const char *display, *label;
} displays[] = {
    {"MEMORY", "FB Memory Usage"},
    {"MEMORY", "BAR1 Memory Usage"},
    {"MEMORY", "Conf Compute Protected Memory Usage"},
    {"UTILIZATION", "Utilization"},
    {"ECC", "ECC Mode"},
    {"ECC", "ECC Errors"},
    {"TEMPERATURE", "Temperature"},
    {"POWER", "GPU Power Readings"},
    {"POWER", "GPU Memory Power Readings "},
    {"POWER", "Module Power Readings"},
    {"CLOCK", "Clocks"},
    {"CLOCK", "Applications Clocks"},
    {"CLOCK", "Default Applications Clocks"},
    {"CLOCK", "Deferred Clocks"},
    {"CLOCK", "Max Clocks"},
    {"CLOCK", "Max Customer Boost Clocks"},
    {"CLOCK", "Clock Policy"},
    {"COMPUTE", "Compute Mode"},
    {"PIDS", "Processes"},
    {"PERFORMANCE", "Performance State"},
    {"PERFORMANCE", "Clocks Event Reasons"},
    {"PERFORMANCE", "Clocks Event Reasons Counters"},
    {"PERFORMANCE", "Sparse Operation Mode"},
    {"PAGE_RETIREMENT", "Retired Pages"},
    {"ROW_REMAPPER", "Remapped Rows"},
    {"VOLTAGE", "Voltage"},
    {"GSP_FIRMWARE_VERSION", "GSP Firmware Version"},
};

struct report {
    bool xml;
    const char *display; /* the parts that are wanted; NULL: all */
    int branch, label_width;
    int depth;                   /* of the row that comes next; the root of XML counts as one */
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
    const char *shown = report->xml ? tag : label;
    if (!shown)
        return;
    indent(report);
    printf(report->xml ? "<%s>\n" : "%s\n", shown);
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

static void print_line(const struct report *report, const char *label, const char *tag, const char *value, int deeper)
{
    if (!(report->xml ? tag : label))
        return;
    indent(report);
    if (report->xml) {
        printf("<%s>", tag);
        print_escaped(value);
        printf("</%s>\n", tag);
    } else {
        printf("%*s%-*s: %s\n", 4 * deeper, "", report->label_width - 4 * (report->depth + deeper), label, value);
    }
}

static void print_number(const struct report *report, const char *label, const char *tag, unsigned number,
                         const char *unit)
{
    char text[32];
    snprintf(text, sizeof text, "%u%s", number, unit);
    print_line(report, label, tag, text, 0);
}

static void print_value(const struct report *report, const struct hardware *hardware, unsigned gpu,
                        const struct row *row)
{
    char derived[SMI_VALUE_SIZE], text[SMI_VALUE_SIZE + 16];
    bool deprecated = row->value && strcmp(row->value, DEPRECATED_VALUE) == 0;
    const char *value = row->value && !deprecated ? smi_value(hardware, gpu, row->value, derived) : NULL;
    if (deprecated)
        snprintf(text, sizeof text, "Requested functionality has been deprecated");
    else if (!value)
        snprintf(text, sizeof text, "N/A");
    else if (strcmp(row->unit, "hex") == 0)
        snprintf(text, sizeof text, "%s%s", report->xml && strncmp(row->tag, "board", 5) != 0 ? "" : "0x", value);
    else
        snprintf(text, sizeof text, "%s%s", value, row->unit);
    print_line(report, row->label, row->tag, text, row->deeper);
}

/* ---- MIG devices ---- */

static void print_memory(struct report *report, const char *label, const char *tag, unsigned total_mib, bool reserved)
{
    open_section(report, label, tag);
    print_number(report, "Total", "total", total_mib, " MiB");
    if (reserved)
        print_number(report, "Reserved", "reserved", 0, " MiB");
    print_number(report, "Used", "used", 0, " MiB");
    print_number(report, "Free", "free", total_mib, " MiB");
    close_section(report);
}

static void print_mig_device(struct report *report, unsigned index, const struct hardware_gpu_instance *gi,
                             const struct hardware_compute_instance *ci, unsigned bar1_mib)
{
    const struct hardware_mig_profile *profile = &gi->profile;
    unsigned per_slice = profile->multiprocessors / profile->slices;
    unsigned multiprocessors = ci->slices == profile->slices ? profile->multiprocessors : ci->slices * per_slice;
    open_section(report, "MIG Device", "mig_device");
    print_number(report, "Index", "index", index, "");
    print_number(report, "GPU Instance ID", "gpu_instance_id", gi->id, "");
    print_number(report, "Compute Instance ID", "compute_instance_id", ci->id, "");
    open_section(report, "Device Attributes", "device_attributes");
    open_section(report, "Shared", "shared");
    print_number(report, "Multiprocessor count", "multiprocessor_count", multiprocessors, "");
    print_number(report, "Copy Engine count", "copy_engine_count", profile->copy_engines, "");
    print_number(report, "Encoder count", "encoder_count", profile->encoders, "");
    print_number(report, "Decoder count", "decoder_count", profile->decoders, "");
    print_number(report, "OFA count", "ofa_count", profile->ofa, "");
    print_number(report, "JPG count", "jpg_count", profile->jpeg, "");
    close_section(report);
    close_section(report);
    open_section(report, "ECC Errors", "ecc_error_count");
    open_section(report, "Volatile", "volatile_count");
    print_number(report, "SRAM Uncorrectable", "sram_uncorrectable", 0, "");
    close_section(report);
    close_section(report);
    print_memory(report, "FB Memory Usage", "fb_memory_usage", profile->memory_mib, true);
    print_memory(report, "BAR1 Memory", "bar1_memory_usage", bar1_mib, false);
    close_section(report);
}

static void print_mig_devices(struct report *report, const struct hardware *hardware, unsigned gpu)
{
    struct hardware_gpu_instance gi;
    struct hardware_compute_instance ci;
    bool any = hardware_mig_device(hardware, gpu, 0, &gi, &ci);
    if (report->xml)
        open_section(report, NULL, "mig_devices");
    if (report->xml && !any) {
        indent(report);
        puts("None");
    }
    for (unsigned index = 0; hardware_mig_device(hardware, gpu, index, &gi, &ci); index++)
        print_mig_device(report, index, &gi, &ci, (unsigned)smi_bar1_share(hardware, gpu, &gi.profile));
    if (report->xml)
        close_section(report);
}

/* ---- The whole ---- */

/* No process can use a simulated GPU. */
static void print_processes(struct report *report)
{
    print_line(report, "Processes", NULL, "None", 0);
    for (int i = 0; report->xml && i < 2; i++) {
        open_section(report, NULL, i ? "accounted_processes" : "processes");
        close_section(report);
    }
}

static bool is_of_branch(const struct row *row, int branch)
{
    return branch >= row->from && (!row->until || branch < row->until);
}

/* The row after the section that begins at `at`. */
static size_t end_of_section(size_t at, int branch)
{
    for (int open = 0;; at++) {
        if (!is_of_branch(&gpu_rows[at], branch))
            continue;
        open += gpu_rows[at].kind == SECTION;
        open -= gpu_rows[at].kind == END;
        if (open == 0)
            return at;
    }
}

/* Whether a comma separated list has a word. */
static bool lists(const char *list, const char *word)
{
    for (size_t length = strlen(word); list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
        if (strncmp(list, word, length) == 0 && (list[length] == ',' || !list[length]))
            return true;
    return false;
}

/* Whether a row or section of the first level is asked for. */
static bool is_wanted(const struct report *report, const char *label)
{
    for (size_t i = 0; report->display && i < sizeof displays / sizeof *displays; i++)
        if (label && strcmp(label, displays[i].label) == 0 && lists(report->display, displays[i].display))
            return true;
    return !report->display;
}

/* Whether every word of the list is one that `-d` knows. */
static bool is_display(const char *list)
{
    for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL) {
        size_t length = strcspn(list, ",");
        bool known = false;
        for (size_t i = 0; i < sizeof displays / sizeof *displays; i++)
            known = known || (strlen(displays[i].display) == length && strncmp(list, displays[i].display, length) == 0);
        if (!known)
            return false;
    }
    return true;
}

static void print_gpu(struct report *report, const struct hardware *hardware, unsigned gpu)
{
    bool hidden[MAX_DEPTH * 4] = {false}; /* sections that this format does not show; they close in silence */
    int nested = 0;
    char address[SMI_VALUE_SIZE] = "N/A", derived[SMI_VALUE_SIZE];
    smi_value(hardware, gpu, "pci_address", address);
    indent(report);
    printf(report->xml ? "<gpu id=\"%s\">\n" : "GPU %s\n", address);
    report->open[report->depth++] = "gpu";
    for (size_t i = 0; i < sizeof gpu_rows / sizeof *gpu_rows; i++) {
        const struct row *row = &gpu_rows[i];
        if (!is_of_branch(row, report->branch))
            continue;
        if (!nested && row->kind != END && !is_wanted(report, row->label)) {
            i = row->kind == SECTION ? end_of_section(i, report->branch) : i;
            continue;
        }
        switch (row->kind) {
        case SECTION:
            if (row->value && !smi_value(hardware, gpu, row->value, derived)) {
                print_line(report, row->label, row->tag, "N/A", 0);
                i = end_of_section(i, report->branch);
                break;
            }
            hidden[nested++] = !(report->xml ? row->tag : row->label);
            open_section(report, row->label, row->tag);
            break;
        case END:
            if (!hidden[--nested])
                close_section(report);
            break;
        case VALUE: print_value(report, hardware, gpu, row); break;
        case MIG_DEVICES: print_mig_devices(report, hardware, gpu); break;
        case PROCESSES: print_processes(report); break;
        }
    }
    close_section(report);
    putchar('\n');
}

enum smi_exit smi_print_report(const struct hardware *hardware, const struct smi_selection *selection, bool xml,
                               const char *display)
{
    char now[SMI_VALUE_SIZE];
    struct report report = {.xml = xml, .display = display, .branch = smi_driver_branch(hardware)};
    if (display && (xml || !is_display(display))) {
        printf("\"%s\" is not a valid value for -d/--display. Please run 'nvidia-smi -h' for help.\n\n", display);
        return SMI_INVALID_ARGUMENT;
    }
    report.label_width = report.branch >= WIDE_LABEL_BRANCH ? WIDE_LABEL : NARROW_LABEL;
    if (xml) {
        printf("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v%d.dtd\">\n",
               report.branch >= DTD_13_BRANCH ? 13 : 12);
        open_section(&report, NULL, "nvidia_smi_log");
    } else {
        puts("\n==============NVSMI LOG==============\n");
    }
    print_line(&report, "Timestamp", "timestamp", smi_now(now, "%a %b %e %H:%M:%S %Y"), 0);
    print_line(&report, "Driver Version", "driver_version", hardware_value(hardware, "driver_version"), 0);
    print_line(&report, "CUDA Version", "cuda_version", hardware_value(hardware, "cuda_version"), 0);
    if (!xml)
        putchar('\n');
    print_number(&report, "Attached GPUs", "attached_gpus", hardware_gpu_count(hardware), "");
    for (size_t i = 0; i < selection->count; i++)
        print_gpu(&report, hardware, selection->gpu[i]);
    if (xml)
        close_section(&report);
    return SMI_OK;
}
