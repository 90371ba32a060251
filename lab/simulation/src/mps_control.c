/* Stand-in for nvidia-cuda-mps-control: the control daemon of CUDA MPS without CUDA. Static, so that it runs in any
 * image into which the container runtime mounts it.
 *
 *   -d      start the daemon in the background; it listens on the UNIX socket $CUDA_MPS_PIPE_DIRECTORY/control
 *   -f      the same in the foreground
 *   (none)  send the commands of standard input, one a line, to the daemon and print its answers
 *
 * The daemon keeps its settings in memory only, as the real one does: they end with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GPUS = 16, MAX_SERVERS = 16, MAX_COMMANDS = 65536, FOLDER_SIZE = 200 };

static const char server_program[] = "nvidia-cuda-mps-server";

struct daemon_state {
    double thread_percentage;
    char memory_limit[MAX_GPUS][32]; /* as it was given, "4096M"; empty: no limit */
    pid_t server[MAX_SERVERS];
    bool quit;
};

static char pipe_folder[FOLDER_SIZE], log_folder[FOLDER_SIZE];

static void read_environment(void)
{
    const char *pipe = getenv("CUDA_MPS_PIPE_DIRECTORY"), *log = getenv("CUDA_MPS_LOG_DIRECTORY");
    snprintf(pipe_folder, sizeof pipe_folder, "%s", pipe ? pipe : "/tmp/nvidia-mps");
    snprintf(log_folder, sizeof log_folder, "%s", log ? log : "/var/log/nvidia-mps");
}

static bool control_address(struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path, sizeof address->sun_path, "%s/control", pipe_folder);
    return length < (int)sizeof address->sun_path;
}

static void write_log(const char *format, ...)
{
    char path[FOLDER_SIZE + 32], when[32];
    struct timespec now;
    va_list arguments;
    snprintf(path, sizeof path, "%s/control.log", log_folder);
    FILE *log = fopen(path, "ae");
    if (!log)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(when, sizeof when, "%F %T", gmtime(&now.tv_sec));
    fprintf(log, "[%s.%03ld Control %5d] ", when, now.tv_nsec / 1000000, getpid());
    va_start(arguments, format);
    vfprintf(log, format, arguments);
    va_end(arguments);
    fputc('\n', log);
    fclose(log);
}

/* ---- Commands ---- */

static void set_thread_percentage(struct daemon_state *state, const char *argument, FILE *answer)
{
    char *end;
    double percentage = strtod(argument, &end);
    if (end == argument || *end || !(percentage > 0 && percentage <= 100)) {
        fprintf(answer, "Invalid active thread percentage: %s\n", argument);
        return;
    }
    state->thread_percentage = percentage;
    fprintf(answer, "%.1f\n", percentage);
}

static bool parse_gpu(const char *text, unsigned *gpu)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    *gpu = (unsigned)number;
    return end != text && !*end && number < MAX_GPUS;
}

static void set_memory_limit(struct daemon_state *state, const char *device, const char *limit, FILE *answer)
{
    unsigned gpu;
    char *end;
    unsigned long long amount = strtoull(limit, &end, 10);
    bool unit = (*end == 'M' || *end == 'G') && end[1] == '\0';
    if (!parse_gpu(device, &gpu) || end == limit || amount == 0 || !unit)
        fprintf(answer, "Invalid pinned device memory limit: %s %s\n", device, limit);
    else
        snprintf(state->memory_limit[gpu], sizeof state->memory_limit[gpu], "%s", limit);
}

static void get_memory_limit(const struct daemon_state *state, const char *device, FILE *answer)
{
    unsigned gpu;
    if (!parse_gpu(device, &gpu))
        fprintf(answer, "Invalid device: %s\n", device);
    else if (*state->memory_limit[gpu])
        fprintf(answer, "%s\n", state->memory_limit[gpu]);
}

static void start_server(struct daemon_state *state, const char *user, FILE *answer)
{
    size_t slot = 0;
    while (slot < MAX_SERVERS && state->server[slot])
        slot++;
    pid_t server = slot < MAX_SERVERS ? fork() : -1;
    if (server == 0) {
        execlp(server_program, server_program, (char *)NULL);
        _exit(127);
    }
    if (server < 0) {
        fputs("Failed to start MPS server\n", answer);
        return;
    }
    state->server[slot] = server;
    write_log("Starting new server %d for user %s", server, *user ? user : "0");
}

static void reap_servers(struct daemon_state *state)
{
    int status;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < MAX_SERVERS; i++)
            if (state->server[i] == ended) {
                state->server[i] = 0;
                write_log("Server %d exited with status %d", ended, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
            }
}

static void list_servers(const struct daemon_state *state, FILE *answer)
{
    for (size_t i = 0; i < MAX_SERVERS; i++)
        if (state->server[i])
            fprintf(answer, "%d\n", state->server[i]);
}

static void run_command(struct daemon_state *state, const char *line, FILE *answer)
{
    char command[64] = "", first[64] = "", second[64] = "";
    sscanf(line, "%63s %63s %63s", command, first, second);
    if (!*command)
        return;
    write_log("Cmd:%s", line);
    if (strcmp(command, "get_default_active_thread_percentage") == 0)
        fprintf(answer, "%.1f\n", state->thread_percentage);
    else if (strcmp(command, "set_default_active_thread_percentage") == 0)
        set_thread_percentage(state, first, answer);
    else if (strcmp(command, "set_default_device_pinned_mem_limit") == 0)
        set_memory_limit(state, first, second, answer);
    else if (strcmp(command, "get_default_device_pinned_mem_limit") == 0)
        get_memory_limit(state, first, answer);
    else if (strcmp(command, "start_server") == 0)
        start_server(state, second, answer); /* start_server -uid <user> */
    else if (strcmp(command, "get_server_list") == 0)
        list_servers(state, answer);
    else if (strcmp(command, "quit") == 0)
        state->quit = true;
    else
        fprintf(answer, "Unrecognized command: %s\n", command);
}

/* ---- Daemon ---- */

/* Run one command, send its answer and log it. */
static void answer_command(struct daemon_state *state, const char *line, int client)
{
    char *text = NULL;
    size_t length = 0;
    FILE *answer = open_memstream(&text, &length);
    if (!answer)
        return;
    run_command(state, line, answer);
    fclose(answer);
    if (length) {
        send(client, text, length, MSG_NOSIGNAL);
        write_log("%.*s", (int)length - 1, text); /* without its newline */
    }
    free(text);
}

/* Read all commands of one client, answer them, close. */
static void serve(struct daemon_state *state, int client)
{
    FILE *stream = fdopen(client, "r");
    char *line = NULL;
    size_t size = 0;
    if (!stream) {
        close(client);
        return;
    }
    write_log("NEW UI");
    while (!state->quit && getline(&line, &size, stream) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        reap_servers(state);
        answer_command(state, line, client);
    }
    free(line);
    fclose(stream);
    write_log("UI closed");
}

static void write_pid_file(bool present)
{
    char path[FOLDER_SIZE + 64];
    snprintf(path, sizeof path, "%s/nvidia-cuda-mps-control.pid", pipe_folder);
    FILE *file = present ? fopen(path, "we") : NULL;
    if (file) {
        fprintf(file, "%d\n", getpid());
        fclose(file);
    } else {
        unlink(path);
    }
}

static int run_daemon(int listener, const struct sockaddr_un *address)
{
    struct daemon_state state = {.thread_percentage = 100.0};
    write_pid_file(true);
    write_log("SIMULATED daemon: no CUDA, no GPU, no limit is enforced");
    write_log("Starting control daemon using socket %s", address->sun_path);
    write_log("To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY=%s", pipe_folder);
    while (!state.quit) {
        write_log("Accepting connection...");
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0)
            serve(&state, client);
    }
    for (size_t i = 0; i < MAX_SERVERS; i++)
        if (state.server[i])
            kill(state.server[i], SIGTERM);
    unlink(address->sun_path);
    write_pid_file(false);
    write_log("Exiting");
    return 0;
}

static int connect_to_daemon(const struct sockaddr_un *address)
{
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection >= 0 && connect(connection, (const struct sockaddr *)address, sizeof *address) == 0)
        return connection;
    if (connection >= 0)
        close(connection);
    return -1;
}

static int start_daemon(const struct sockaddr_un *address, bool background)
{
    int running = connect_to_daemon(address);
    if (running >= 0) {
        close(running);
        fputs("An instance of this daemon is already running\n", stderr);
        return 1;
    }
    mkdir(pipe_folder, 0755);
    mkdir(log_folder, 0755);
    unlink(address->sun_path); /* left by a daemon that was killed: nobody answered on it */
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (const struct sockaddr *)address, sizeof *address) != 0 ||
        chmod(address->sun_path, 0666) != 0 || listen(listener, 16) != 0) {
        fprintf(stderr, "Failed to create control socket %s: %s\n", address->sun_path, strerror(errno));
        return 1;
    }
    if (background) {
        pid_t child = fork();
        if (child != 0)
            return child < 0;
        setsid();
        int null = open("/dev/null", O_RDWR);
        for (int standard = 0; standard <= 2; standard++)
            dup2(null, standard);
        close(null);
    }
    return run_daemon(listener, address);
}

/* ---- Client ---- */

/* Send commands, print the answers. False when the daemon stopped in between. */
static bool converse(int connection, const char *commands, size_t length)
{
    char answer[4096];
    ssize_t received;
    if (send(connection, commands, length, MSG_NOSIGNAL) != (ssize_t)length)
        return false;
    shutdown(connection, SHUT_WR);
    while ((received = read(connection, answer, sizeof answer)) > 0)
        fwrite(answer, 1, (size_t)received, stdout);
    return received == 0;
}

/* All of standard input is read before the daemon is called: it serves one client at a time, and a client that waits
 * for its user would keep the others out. */
static int run_client(const struct sockaddr_un *address)
{
    static char commands[MAX_COMMANDS];
    size_t length = fread(commands, 1, sizeof commands, stdin);
    int connection = connect_to_daemon(address);
    if (connection < 0) {
        fputs("Cannot find MPS control daemon process\n", stderr);
        return 1;
    }
    bool answered = converse(connection, commands, length);
    close(connection);
    return answered ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address;
    bool background = false, foreground = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-d") == 0)
            background = true;
        else if (strcmp(argv[i], "-f") == 0)
            foreground = true;
        else if (strcmp(argv[i], "-multiuser-server") != 0) {
            fprintf(stderr, "usage: %s [-d | -f] [-multiuser-server]   (SIMULATED)\n", argv[0]);
            return 1;
        }
    }
    read_environment();
    if (!control_address(&address)) {
        fprintf(stderr, "CUDA_MPS_PIPE_DIRECTORY is too long for a UNIX socket: %s\n", pipe_folder);
        return 1;
    }
    return background || foreground ? start_daemon(&address, !foreground) : run_client(&address);
}
