/* Stand-in for /dev/kmsg: the kernel log of one lab host. Containers share the machine's kernel and its log, so a host
 * gets a log of its own, as a FUSE file that is mounted over /dev/kmsg.
 *
 *   simulated-kmsg FILE FIFO    mounts over FILE and goes to the background; every line "<priority>text" that is
 *                               written to FIFO becomes a record of the kernel (facility 0)
 *
 * It keeps the contract of /dev/kmsg: one record a read, EAGAIN or waiting at the end, EINVAL for a buffer that is too
 * small, poll, seeking to the start or the end; what a program writes becomes a record of facility "user". The file
 * protocol is that of linux/fuse.h, spoken without a library, because the program is static. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RECORDS = 65536, RECORD_SIZE = 2048, MAX_OPEN = 256, MAX_WAITING = 256, BUFFER_SIZE = 65536 };
enum { FACILITY_USER = 1, DEFAULT_PRIORITY = 4 };

struct record {
    uint64_t start; /* where it begins in the file, which is all records one after the other */
    size_t length;
    char *text;
};

struct waiting_read {
    uint64_t unique, handle, offset; /* unique 0: free */
    uint32_t size;
};

struct open_file {
    bool used;
    uint64_t read_until; /* poll does not say where the file is read, so it is remembered */
    uint64_t poll_handle;
    bool wants_notice;
};

static int fuse;
static struct record *records;
static size_t record_count;
static uint64_t file_size;
static struct waiting_read waiting[MAX_WAITING];
static struct open_file files[MAX_OPEN];

/* ---- Answers ---- */

static void answer(uint64_t unique, int error, const void *data, size_t length)
{
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .error = -error, .unique = unique};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)data, length}};
    if (writev(fuse, parts, length ? 2 : 1) < 0 && errno != ENOENT)
        perror("simulated-kmsg: answer");
}

static void notify_poll(uint64_t poll_handle)
{
    struct fuse_notify_poll_wakeup_out wakeup = {.kh = poll_handle};
    struct fuse_out_header header = {.len = sizeof header + sizeof wakeup, .error = FUSE_NOTIFY_POLL};
    struct iovec parts[] = {{&header, sizeof header}, {&wakeup, sizeof wakeup}};
    if (writev(fuse, parts, 2) < 0 && errno != ENOENT)
        perror("simulated-kmsg: notice");
}

/* Answer with the record at `offset`; false when there is none yet. */
static bool answer_read(uint64_t unique, uint64_t handle, uint64_t offset, uint32_t size)
{
    size_t low = 0, high = record_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (records[middle].start < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (handle < MAX_OPEN)
        files[handle].read_until = offset;
    if (low == record_count)
        return false;
    if (records[low].length > size) {
        answer(unique, EINVAL, NULL, 0);
        return true;
    }
    if (handle < MAX_OPEN)
        files[handle].read_until = records[low].start + records[low].length;
    answer(unique, 0, records[low].text, records[low].length);
    return true;
}

/* ---- Records ---- */

static void add_record(int priority, const char *text, size_t length)
{
    char line[RECORD_SIZE];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (record_count == MAX_RECORDS)
        return;
    int used = snprintf(line, sizeof line, "%d,%zu,%lld,-;", priority, record_count,
                        (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    for (size_t i = 0; i < length && used < RECORD_SIZE - 8; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= ' ' && byte < 127 && byte != '\\')
            line[used++] = (char)byte;
        else
            used += snprintf(line + used, sizeof line - (size_t)used, "\\x%02x", byte);
    }
    line[used++] = '\n';
    records[record_count] = (struct record){file_size, (size_t)used, malloc((size_t)used)};
    if (!records[record_count].text)
        return;
    memcpy(records[record_count++].text, line, (size_t)used);
    file_size += (uint64_t)used;

    for (size_t i = 0; i < MAX_WAITING; i++)
        if (waiting[i].unique && answer_read(waiting[i].unique, waiting[i].handle, waiting[i].offset, waiting[i].size))
            waiting[i].unique = 0;
    for (size_t i = 0; i < MAX_OPEN; i++)
        if (files[i].used && files[i].wants_notice) {
            files[i].wants_notice = false;
            notify_poll(files[i].poll_handle);
        }
}

/* A record for each line. "<N>" before the text is its priority; only the kernel itself may use facility 0. */
static void add_lines(const char *text, size_t length, bool kernel)
{
    for (const char *end = text + length; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        int priority = DEFAULT_PRIORITY, used = 0;
        if (sscanf(text, "<%d>%n", &priority, &used) != 1 || !used || text + used > stop)
            used = 0, priority = DEFAULT_PRIORITY;
        if (!kernel && priority < 8)
            priority |= FACILITY_USER << 3;
        if (text + used < stop)
            add_record(priority, text + used, (size_t)(stop - text - used));
        text = stop + 1;
    }
}

/* ---- Requests ---- */

static struct fuse_attr attributes(void)
{
    return (struct fuse_attr){.ino = FUSE_ROOT_ID, .size = file_size, .mode = S_IFREG | 0644, .nlink = 1, .blksize = 4096};
}

static void handle_init(const struct fuse_in_header *request, const struct fuse_init_in *in)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096, .max_background = 16};
    if (in->minor < out.minor)
        out.minor = in->minor;
    answer(request->unique, 0, &out, sizeof out);
}

static void handle_open(const struct fuse_in_header *request)
{
    for (size_t i = 0; i < MAX_OPEN; i++)
        if (!files[i].used) {
            files[i] = (struct open_file){.used = true};
            struct fuse_open_out out = {.fh = i, .open_flags = FOPEN_DIRECT_IO};
            answer(request->unique, 0, &out, sizeof out);
            return;
        }
    answer(request->unique, EMFILE, NULL, 0);
}

static void handle_read(const struct fuse_in_header *request, const struct fuse_read_in *in)
{
    if (answer_read(request->unique, in->fh, in->offset, in->size))
        return;
    for (size_t i = 0; !(in->flags & O_NONBLOCK) && i < MAX_WAITING; i++)
        if (!waiting[i].unique) {
            waiting[i] = (struct waiting_read){request->unique, in->fh, in->offset, in->size};
            return;
        }
    answer(request->unique, EAGAIN, NULL, 0);
}

static void handle_interrupt(const struct fuse_interrupt_in *in)
{
    for (size_t i = 0; i < MAX_WAITING; i++)
        if (waiting[i].unique == in->unique) {
            waiting[i].unique = 0;
            answer(in->unique, EINTR, NULL, 0);
        }
}

static void handle_poll(const struct fuse_in_header *request, const struct fuse_poll_in *in)
{
    struct fuse_poll_out out = {.revents = POLLOUT | POLLWRNORM};
    if (in->fh < MAX_OPEN) {
        if (files[in->fh].read_until < file_size)
            out.revents |= POLLIN | POLLRDNORM;
        if (in->flags & FUSE_POLL_SCHEDULE_NOTIFY) {
            files[in->fh].wants_notice = true;
            files[in->fh].poll_handle = in->kh;
        }
    }
    answer(request->unique, 0, &out, sizeof out);
}

static void handle(const char *buffer)
{
    const struct fuse_in_header *request = (const void *)buffer;
    const void *body = buffer + sizeof *request;
    struct fuse_attr_out attr = {.attr = attributes()};
    struct fuse_statfs_out statistics = {.st = {.namelen = 255, .bsize = 4096}};

    switch (request->opcode) {
    case FUSE_INIT: handle_init(request, body); break;
    case FUSE_GETATTR:
    case FUSE_SETATTR: answer(request->unique, 0, &attr, sizeof attr); break; /* truncation changes nothing */
    case FUSE_OPEN: handle_open(request); break;
    case FUSE_READ: handle_read(request, body); break;
    case FUSE_INTERRUPT: handle_interrupt(body); break;
    case FUSE_POLL: handle_poll(request, body); break;
    case FUSE_WRITE: {
        const struct fuse_write_in *in = body;
        struct fuse_write_out out = {.size = in->size};
        add_lines((const char *)(in + 1), in->size, false);
        answer(request->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_RELEASE: {
        const struct fuse_release_in *in = body;
        if (in->fh < MAX_OPEN)
            files[in->fh].used = false;
        answer(request->unique, 0, NULL, 0);
        break;
    }
    case FUSE_STATFS: answer(request->unique, 0, &statistics, sizeof statistics); break;
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_ACCESS: answer(request->unique, 0, NULL, 0); break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET: break;
    default: answer(request->unique, ENOSYS, NULL, 0);
    }
}

static int serve(int fifo)
{
    static char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
    struct pollfd sources[] = {{.fd = fuse, .events = POLLIN}, {.fd = fifo, .events = POLLIN}};
    for (;;) {
        if (poll(sources, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (sources[1].revents & POLLIN) {
            ssize_t length = read(fifo, buffer, sizeof buffer - 1);
            buffer[length > 0 ? length : 0] = '\0';
            if (length > 0)
                add_lines(buffer, (size_t)length, true);
        }
        if (sources[0].revents & (POLLERR | POLLHUP))
            return 0; /* unmounted */
        if (!(sources[0].revents & POLLIN))
            continue;
        ssize_t length = read(fuse, buffer, sizeof buffer - 1);
        if (length < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
            continue;
        if (length <= 0)
            return errno != ENODEV;
        buffer[length] = '\0';
        handle(buffer);
    }
}

int main(int argc, char **argv)
{
    char options[128];
    if (argc != 3) {
        fprintf(stderr, "usage: %s FILE FIFO   (SIMULATED kernel log)\n", argv[0]);
        return 2;
    }
    records = calloc(MAX_RECORDS, sizeof *records);
    fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (!records || fuse < 0) {
        fprintf(stderr, "simulated-kmsg: /dev/fuse: %s\n", strerror(errno));
        return 1;
    }
    if (mkfifo(argv[2], 0600) != 0 && errno != EEXIST) {
        fprintf(stderr, "simulated-kmsg: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    int fifo = open(argv[2], O_RDWR | O_CLOEXEC | O_NONBLOCK); /* also for writing: it never ends */
    snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other", fuse, S_IFREG | 0644);
    if (fifo < 0 || mount("simulated-kmsg", argv[1], "fuse.simulated-kmsg", MS_NOSUID | MS_NODEV, options) != 0) {
        fprintf(stderr, "simulated-kmsg: cannot mount over %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    if (daemon(0, 0) != 0)
        return 1;
    return serve(fifo);
}
