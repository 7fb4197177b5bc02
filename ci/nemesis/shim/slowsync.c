/* Syncs that are slow or fail while a file says so, for one process.
 *
 *   SLOWSYNC_CONTROL   path of the file; while it exists, each sync does what it says:
 *                      "delay_ms N"  takes N milliseconds longer
 *                      "eio"         fails with EIO
 *   SLOWSYNC_RECORD    path of a file that gets a line for each sync that was disturbed so
 *
 * Without that variable, or without the file, syncs are what they are. Raw system calls are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *control, *record;

__attribute__((constructor)) static void start(void) {
    control = getenv("SLOWSYNC_CONTROL");
    record = getenv("SLOWSYNC_RECORD");
}

static void note(void) {
    int file = record ? open(record, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    if (write(file, "\n", 1) != 1) abort();
    close(file);
}

/* Nonzero: the sync fails. */
static int disturbed(void) {
    char text[64];
    int file = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    unsigned long delay = 0;
    if (sscanf(text, "delay_ms %lu", &delay) == 1) {
        struct timespec time = { (time_t)(delay / 1000), (long)(delay % 1000) * 1000000 };
        nanosleep(&time, NULL);
        note();
        return 0;
    }
    if (strncmp(text, "eio", 3) != 0) return 0;
    note();
    return 1;
}

static int sync_file(const char *name, int fd) {
    int saved = errno;
    if (disturbed()) { errno = EIO; return -1; }
    errno = saved;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return sync_file("fsync", fd); }
int fdatasync(int fd) { return sync_file("fdatasync", fd); }
