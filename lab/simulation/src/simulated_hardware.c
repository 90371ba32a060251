/* Reading and finding the state file; see simulated_hardware.h for its format. */
#define _GNU_SOURCE
#include "simulated_hardware.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char state_prefix[] = "libnvidia-simulated-hardware.so.";

static bool copy_path(char path[HARDWARE_MAX_PATH], const char *folder, const char *name)
{
    int length = snprintf(path, HARDWARE_MAX_PATH, "%s/%s", folder, name);
    return length > 0 && length < HARDWARE_MAX_PATH;
}

bool hardware_state_beside(const char *library, char path[HARDWARE_MAX_PATH])
{
    char folder[HARDWARE_MAX_PATH], name[sizeof state_prefix + NAME_MAX];
    if (!realpath(library, folder))
        return false;
    char *slash = strrchr(folder, '/');
    const char *version = strstr(slash, ".so.");
    if (!version)
        return false;
    snprintf(name, sizeof name, "%s%.*s", state_prefix, NAME_MAX, version + strlen(".so."));
    *slash = '\0';
    return copy_path(path, folder, name) && access(path, R_OK) == 0;
}

/* The state file of the highest name in a folder: what is left when a container has no link libnvidia-ml.so.1. */
static bool state_in_folder(const char *folder, char path[HARDWARE_MAX_PATH])
{
    char best[NAME_MAX + 1] = "";
    DIR *listing = opendir(folder);
    if (!listing)
        return false;
    for (struct dirent *file; (file = readdir(listing));)
        if (strncmp(file->d_name, state_prefix, strlen(state_prefix)) == 0 && strverscmp(file->d_name, best) > 0)
            snprintf(best, sizeof best, "%s", file->d_name);
    closedir(listing);
    return *best && copy_path(path, folder, best);
}

static bool state_of_driver_in(const char *folder, char path[HARDWARE_MAX_PATH])
{
    char library[HARDWARE_MAX_PATH];
    return (copy_path(library, folder, "libnvidia-ml.so.1") && hardware_state_beside(library, path)) ||
           state_in_folder(folder, path);
}

bool hardware_find_state(char path[HARDWARE_MAX_PATH])
{
    static const char multiarch_suffix[] = "-linux-gnu";
    const char *named = getenv(HARDWARE_STATE_VARIABLE);
    if (named && *named)
        return snprintf(path, HARDWARE_MAX_PATH, "%s", named) < HARDWARE_MAX_PATH;

    bool found = false;
    DIR *libraries = opendir("/usr/lib");
    for (struct dirent *file; libraries && !found && (file = readdir(libraries));) {
        char folder[HARDWARE_MAX_PATH];
        const char *suffix = strstr(file->d_name, multiarch_suffix);
        found = suffix && strcmp(suffix, multiarch_suffix) == 0 && copy_path(folder, "/usr/lib", file->d_name) &&
                state_of_driver_in(folder, path);
    }
    if (libraries)
        closedir(libraries);
    return found || state_of_driver_in("/usr/lib64", path);
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

/* Split `hardware->text` in place. True if the file was complete. */
static bool parse(struct hardware *hardware)
{
    char *rest = hardware->text;
    hardware->entries = 0;
    for (char *line; (line = strsep(&rest, "\n"));) {
        line = trim(line);
        char *value = strchr(line, '=');
        if (*line == '#' || !value)
            continue;
        *value++ = '\0';
        if (hardware->entries == HARDWARE_MAX_ENTRIES)
            return false;
        hardware->entry[hardware->entries++] = (struct hardware_entry){trim(line), trim(value)};
    }
    const char *complete = hardware_value(hardware, "complete");
    return complete && strcmp(complete, "yes") == 0;
}

bool hardware_load(struct hardware *hardware, const char *path)
{
    bool loaded = false;
    FILE *file = fopen(path, "re");
    struct hardware *fresh = calloc(1, sizeof *fresh);
    if (file)
        flock(fileno(file), LOCK_SH); /* a writer holds the file while it rewrites it */
    if (file && fresh && fstat(fileno(file), &fresh->seen) == 0) {
        size_t length = fread(fresh->text, 1, sizeof fresh->text - 1, file);
        bool whole = feof(file) && !ferror(file);
        fresh->text[length] = '\0';
        snprintf(fresh->path, sizeof fresh->path, "%s", path);
        loaded = whole && parse(fresh);
    }
    if (loaded) {
        *hardware = *fresh;
        for (size_t i = 0; i < hardware->entries; i++) { /* the entries point into the copied text now */
            hardware->entry[i].key = hardware->text + (fresh->entry[i].key - fresh->text);
            hardware->entry[i].value = hardware->text + (fresh->entry[i].value - fresh->text);
        }
    }
    free(fresh);
    if (file)
        fclose(file);
    return loaded;
}

void hardware_refresh(struct hardware *hardware)
{
    struct stat now;
    if (stat(hardware->path, &now) != 0)
        return;
    const struct stat *seen = &hardware->seen;
    bool same = now.st_ino == seen->st_ino && now.st_dev == seen->st_dev && now.st_size == seen->st_size &&
                now.st_mtim.tv_sec == seen->st_mtim.tv_sec && now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
    if (!same) {
        char path[HARDWARE_MAX_PATH];
        memcpy(path, hardware->path, sizeof path);
        hardware_load(hardware, path);
    }
}

/* The entry of a key, the last one if there are several. Its value may be empty, so that one GPU can stop reporting
 * what every GPU reports. */
static const struct hardware_entry *find(const struct hardware *hardware, const char *key)
{
    for (size_t i = hardware->entries; i-- > 0;)
        if (strcmp(hardware->entry[i].key, key) == 0)
            return &hardware->entry[i];
    return NULL;
}

const char *hardware_value(const struct hardware *hardware, const char *key)
{
    const struct hardware_entry *entry = find(hardware, key);
    return entry && *entry->value ? entry->value : NULL;
}

const char *hardware_gpu_value(const struct hardware *hardware, unsigned gpu, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "gpu.%u.%s", gpu, name);
    const struct hardware_entry *entry = find(hardware, key);
    if (!entry) {
        snprintf(key, sizeof key, "gpu.*.%s", name);
        entry = find(hardware, key);
    }
    return entry && *entry->value ? entry->value : NULL;
}

long long hardware_gpu_number(const struct hardware *hardware, unsigned gpu, const char *name, long long absent)
{
    const char *value = hardware_gpu_value(hardware, gpu, name);
    return value ? strtoll(value, NULL, 0) : absent;
}

static bool is_yes(const char *value) { return value && strcmp(value, "yes") == 0; }

unsigned hardware_gpu_places(const struct hardware *hardware)
{
    const char *value = hardware_value(hardware, "gpu_count");
    unsigned long count = value ? strtoul(value, NULL, 10) : 0;
    return count > HARDWARE_MAX_GPUS ? HARDWARE_MAX_GPUS : (unsigned)count;
}

bool hardware_gpu_is_present(const struct hardware *hardware, unsigned gpu)
{
    return gpu < hardware_gpu_places(hardware) && !is_yes(hardware_gpu_value(hardware, gpu, "missing")) &&
           !is_yes(hardware_gpu_value(hardware, gpu, "unclaimed"));
}

unsigned hardware_gpu_index(const struct hardware *hardware, unsigned gpu)
{
    unsigned index = 0;
    for (unsigned before = 0; before < gpu; before++)
        index += hardware_gpu_is_present(hardware, before);
    return index;
}

unsigned hardware_gpu_count(const struct hardware *hardware)
{
    return hardware_gpu_index(hardware, hardware_gpu_places(hardware));
}

bool hardware_gpu_is_lost(const struct hardware *hardware, unsigned gpu)
{
    return is_yes(hardware_gpu_value(hardware, gpu, "lost"));
}

bool hardware_parse_pci_address(const char *text, struct hardware_pci_address *address)
{
    int used = 0;
    return text &&
           sscanf(text, "%x:%x:%x.%x%n", &address->domain, &address->bus, &address->device, &address->function,
                  &used) == 4 &&
           text[used] == '\0';
}

bool hardware_clock_reasons(const struct hardware *hardware, unsigned gpu, unsigned long long *reasons)
{
    static const struct {
        const char *name;
        unsigned long long bit;
    } bits[] = {{"idle", 0x1},         {"applications_setting", 0x2}, {"sw_power_cap", 0x4},
                {"hw_slowdown", 0x8},  {"sync_boost", 0x10},          {"sw_thermal_slowdown", 0x20},
                {"hw_thermal_slowdown", 0x40}, {"hw_power_brake_slowdown", 0x80}, {"display_setting", 0x100}};
    bool reported = false;
    *reasons = 0;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        char name[64];
        snprintf(name, sizeof name, "clocks_event_%s", bits[i].name);
        const char *value = hardware_gpu_value(hardware, gpu, name);
        reported = reported || value;
        if (value && strcmp(value, "Active") == 0)
            *reasons |= bits[i].bit;
    }
    return reported;
}

long long hardware_ecc_total(const struct hardware *hardware, unsigned gpu, bool aggregate, bool uncorrected)
{
    static const char *const corrected[] = {"sram_correctable", "dram_correctable", NULL};
    static const char *const others[] = {"sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable",
                                         NULL};
    long long total = 0;
    if (!hardware_gpu_value(hardware, gpu, "ecc_mode"))
        return -1;
    for (const char *const *counter = uncorrected ? others : corrected; *counter; counter++) {
        char name[64];
        snprintf(name, sizeof name, "ecc_%s_%s", aggregate ? "aggregate" : "volatile", *counter);
        total += hardware_gpu_number(hardware, gpu, name, 0);
    }
    return total;
}

/* ---- Changing the hardware ---- */

int hardware_request(char answer[HARDWARE_ANSWER_SIZE], const char *format, ...)
{
    enum { UNKNOWN = 999 };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *named = getenv(HARDWARE_DRIVER_VARIABLE);
    char line[HARDWARE_ANSWER_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    answer[0] = '\0';

    int used = snprintf(address.sun_path, sizeof address.sun_path, "%s", named ? named : HARDWARE_DRIVER_SOCKET);
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t length = 0;
    if (connection < 0 || used >= (int)sizeof address.sun_path ||
        connect(connection, (const struct sockaddr *)&address, sizeof address) != 0 ||
        send(connection, line, strlen(line), MSG_NOSIGNAL) < 0 || send(connection, "\n", 1, MSG_NOSIGNAL) < 0) {
        close(connection);
        return UNKNOWN;
    }
    while (length < HARDWARE_ANSWER_SIZE - 1 && !memchr(answer, '\n', length)) {
        ssize_t received = read(connection, answer + length, HARDWARE_ANSWER_SIZE - 1 - length);
        if (received <= 0)
            break;
        length += (size_t)received;
    }
    close(connection);
    answer[length] = '\0';
    int code = UNKNOWN, prefix = 0;
    if (sscanf(answer, "%d %n", &code, &prefix) < 1)
        return UNKNOWN;
    answer[strcspn(answer, "\n")] = '\0';
    memmove(answer, answer + prefix, strlen(answer + prefix) + 1);
    return code;
}
