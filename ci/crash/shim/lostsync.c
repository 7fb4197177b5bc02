/* A disk that forgets what was never synced, for one process.
 *
 * Preloaded into a process, this library notes in a journal how to undo every change under one
 * directory that a power cut could take back: writes, truncations and growth since a file's last
 * successful fsync or fdatasync, and names made, renamed or removed since the last fsync of their
 * directory. The changes themselves go to the real file system at once. After SIGKILL the program
 * `undo` beside this file takes back all of it, or a random part.
 *
 *   LOSTSYNC_DIR      absolute path of the directory; without it the library does nothing
 *   LOSTSYNC_JOURNAL  journal file, on the same file system but not inside the directory; removed
 *                     files that may have to come back wait in the directory JOURNAL.kept
 *   LOSTSYNC_LIE=1            syncs answer success, and nothing becomes durable by them
 *   LOSTSYNC_EIO_SYNC=n       the n-th sync fails with EIO (1 is the first)
 *   LOSTSYNC_EIO_WRITE=n      the n-th write fails with EIO
 *   LOSTSYNC_DELAY_MS=n       every sync takes so much longer
 *   LOSTSYNC_FULL=path        while this file exists, whatever needs new space fails with ENOSPC
 *
 * Not seen: writes through memory maps (a shared writable map is refused) and raw system calls. A
 * file that the process made and never synced is taken back whole, however it was filled.
 *
 * Record: type, seq, ino, a, b, payload length, payload; integers are 64 bits, little endian.
 *   W write      a offset, b size before, payload what was there (shorter at the end of the file)
 *   C made       a inode of the directory, payload path
 *   L linked     a inode of the directory, payload path
 *   U removed    a inode of the directory, payload path NUL name in JOURNAL.kept
 *   R renamed    a, b inodes of the directories, payload from NUL to NUL kept name or nothing
 *   S synced     a first seq that is not covered
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define MAX_FD 65536

/* Held from the moment a change is noted until it is made, so that a sync that begins later covers
 * all that was noted before. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ready, journal = -1;
static char root[PATH_MAX], kept_dir[PATH_MAX], full_flag[PATH_MAX];
static size_t root_length;
static uint64_t next_seq, syncs, writes, eio_sync, eio_write, delay_ms, kept_count;
static int lies;

/* What a descriptor was when last looked at. */
static struct { ino_t ino; dev_t dev; char known, ours; } seen[MAX_FD];

/* Removed files that a sync of their directory lets go for good. */
static struct kept { struct kept *next; uint64_t seq; ino_t dir; char name[32]; } *kept;

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("LOSTSYNC_DIR"), *path = getenv("LOSTSYNC_JOURNAL"), *full = getenv("LOSTSYNC_FULL");
    if (!dir || !path) return;
    snprintf(root, sizeof root, "%s", dir);
    root_length = strlen(root);
    while (root_length > 1 && root[root_length - 1] == '/') root[--root_length] = 0;
    snprintf(kept_dir, sizeof kept_dir, "%s.kept", path);
    snprintf(full_flag, sizeof full_flag, "%s", full ? full : "");
    REAL(mkdir)(kept_dir, 0700);
    journal = REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) { perror("lostsync: journal"); abort(); }
    /* Out of the way of programs that count on small numbers. */
    int high = fcntl(journal, F_DUPFD_CLOEXEC, 900);
    if (high >= 0) { REAL(close)(journal); journal = high; }
    /* Children would begin the journal anew. */
    unsetenv("LD_PRELOAD");
    lies = number("LOSTSYNC_LIE") != 0;
    eio_sync = number("LOSTSYNC_EIO_SYNC");
    eio_write = number("LOSTSYNC_EIO_WRITE");
    delay_ms = number("LOSTSYNC_DELAY_MS");
    ready = 1;
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = REAL(write)(journal, at, length);
        if (done < 0) { if (errno == EINTR) continue; perror("lostsync: journal"); abort(); }
        at += done;
        length -= (size_t)done;
    }
}

/* A record is one buffer and one write: SIGKILL leaves all of it or, at the very end, nothing that counts. */
static void note(char type, uint64_t ino, uint64_t a, uint64_t b, const void *payload, size_t length) {
    int saved = errno;
    size_t total = 1 + 5 * 8 + length;
    char *record = malloc(total);
    if (!record) abort();
    uint64_t fields[5] = { next_seq++, ino, a, b, length };
    record[0] = type;
    memcpy(record + 1, fields, sizeof fields);
    if (length) memcpy(record + 1 + sizeof fields, payload, length);
    put(record, total);
    free(record);
    errno = saved;
}

static int inside(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* Whether a descriptor is of a file or directory of ours. */
static int ours(int fd, struct stat *info) {
    if (!ready || fd < 0 || fd >= MAX_FD || fd == journal) return 0;
    int saved = errno;
    if (fstat(fd, info) != 0 || !(S_ISREG(info->st_mode) || S_ISDIR(info->st_mode))) { errno = saved; return 0; }
    if (!seen[fd].known || seen[fd].ino != info->st_ino || seen[fd].dev != info->st_dev) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        seen[fd].ino = info->st_ino;
        seen[fd].dev = info->st_dev;
        /* The kernel shows a removed file under its last name. */
        seen[fd].ours = length > 0 && inside(path);
        seen[fd].known = 1;
    }
    errno = saved;
    return seen[fd].ours;
}

/* The absolute path of a name, without following it. False: not ours. */
static int resolve(int dirfd, const char *name, char *out) {
    char base[PATH_MAX], copy[PATH_MAX];
    if (!ready || !name || !*name) return 0;
    if (name[0] == '/') base[0] = 0;
    else if (dirfd == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
    else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    if ((size_t)snprintf(copy, sizeof copy, "%s%s%s", base, base[0] ? "/" : "", name) >= sizeof copy) return 0;
    size_t length = strlen(copy);
    while (length > 1 && copy[length - 1] == '/') copy[--length] = 0;
    char *slash = strrchr(copy, '/');
    if (!slash) return 0;
    char last[NAME_MAX + 1], parent[PATH_MAX];
    snprintf(last, sizeof last, "%s", slash + 1);
    *slash = 0;
    if (!realpath(copy[0] ? copy : "/", parent)) return 0;
    if ((size_t)snprintf(out, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", last) >= PATH_MAX) return 0;
    return inside(out);
}

static ino_t inode_of(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 ? info.st_ino : 0;
}

static ino_t directory_of(const char *path) {
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    char *slash = strrchr(copy, '/');
    if (slash) *slash = 0;
    return inode_of(copy);
}

static int no_space(void) {
    if (!full_flag[0] || REAL(access)(full_flag, F_OK) != 0) return 0;
    errno = ENOSPC;
    return 1;
}

/* Gives a file that is about to lose its name another one, so that it can come back. */
static const char *keep(const char *path, char *name) {
    char target[PATH_MAX];
    for (;;) {
        snprintf(name, 32, "%llu", (unsigned long long)kept_count++);
        snprintf(target, sizeof target, "%.4000s/%s", kept_dir, name);
        if (REAL(link)(path, target) == 0) return name;
        if (errno != EEXIST) { perror("lostsync: keep a removed file"); abort(); }
    }
}

static void remember_kept(const char *name, ino_t dir) {
    struct kept *item = malloc(sizeof *item);
    if (!item) abort();
    item->next = kept;
    item->seq = next_seq - 1;
    item->dir = dir;
    snprintf(item->name, sizeof item->name, "%s", name);
    kept = item;
}

static void let_go(ino_t dir, uint64_t upto) {
    for (struct kept **at = &kept; *at;) {
        struct kept *item = *at;
        if (item->dir == dir && item->seq < upto) {
            char path[PATH_MAX];
            snprintf(path, sizeof path, "%.4000s/%s", kept_dir, item->name);
            REAL(unlink)(path);
            *at = item->next;
            free(item);
        } else at = &item->next;
    }
}

/* Notes what a range holds before it changes. */
static void note_range(int fd, const struct stat *info, off_t offset, uint64_t length) {
    uint64_t have = info->st_size > offset ? (uint64_t)(info->st_size - offset) : 0;
    if (have > length) have = length;
    char *old = malloc(have ? have : 1), link[64];
    if (!old) abort();
    ssize_t got = 0;
    if (have) {
        /* The descriptor may be for writing only. */
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int reader = REAL(open)(link, O_RDONLY | O_CLOEXEC);
        if (reader < 0) { perror("lostsync: read back"); abort(); }
        while ((uint64_t)got < have) {
            ssize_t part = pread(reader, old + got, have - (uint64_t)got, offset + got);
            if (part <= 0) break;
            got += part;
        }
        REAL(close)(reader);
    }
    note('W', info->st_ino, (uint64_t)offset, (uint64_t)info->st_size, old, (size_t)got);
    free(old);
}

/* Before a write under the lock: notes it, or says that it must fail. */
static int before_write(int fd, struct stat *info, off_t offset, uint64_t length) {
    if (++writes == eio_write) { errno = EIO; return -1; }
    if (offset + (off_t)length > info->st_size && no_space()) return -1;
    note_range(fd, info, offset, length);
    return 0;
}

static uint64_t total(const struct iovec *parts, int count) {
    uint64_t sum = 0;
    for (int at = 0; at < count; at++) sum += parts[at].iov_len;
    return sum;
}

#define GUARDED(fd, offset, length, call)                                       \
    struct stat info;                                                           \
    if (!ours(fd, &info)) return call;                                          \
    pthread_mutex_lock(&lock);                                                  \
    fstat(fd, &info);                                                           \
    ssize_t result = before_write(fd, &info, offset, length) ? -1 : call;       \
    int saved = errno;                                                          \
    pthread_mutex_unlock(&lock);                                                \
    errno = saved;                                                              \
    return result;

static off_t position(int fd, const struct stat *info) {
    return fcntl(fd, F_GETFL) & O_APPEND ? info->st_size : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    GUARDED(fd, position(fd, &info), length, REAL(write)(fd, bytes, length))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    GUARDED(fd, position(fd, &info), total(parts, count), REAL(writev)(fd, parts, count))
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    GUARDED(fd, offset, length, REAL(pwrite64)(fd, bytes, length, offset))
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    GUARDED(fd, offset, length, REAL(pwrite64)(fd, bytes, length, offset))
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    GUARDED(fd, offset, total(parts, count), REAL(pwritev64)(fd, parts, count, offset))
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    GUARDED(fd, offset, total(parts, count), REAL(pwritev64)(fd, parts, count, offset))
}

/* Callers fall back to reading and writing. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    struct stat info;
    if (ours(to, &info)) { errno = ENOSYS; return -1; }
    return REAL(copy_file_range)(from, from_at, to, to_at, length, flags);
}

static int resize(int fd, off_t size) {
    struct stat info;
    if (!ours(fd, &info)) return REAL(ftruncate64)(fd, size);
    pthread_mutex_lock(&lock);
    fstat(fd, &info);
    int result = -1;
    if (size <= info.st_size || !no_space()) {
        note_range(fd, &info, size, size < info.st_size ? (uint64_t)(info.st_size - size) : 0);
        result = REAL(ftruncate64)(fd, size);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int ftruncate(int fd, off_t size) { return resize(fd, size); }
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }

static int reserve(int fd, int mode, off_t offset, off_t length) {
    struct stat info;
    if (!ours(fd, &info)) return REAL(fallocate64)(fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    fstat(fd, &info);
    int result = -1, makes_holes = mode & ~FALLOC_FL_KEEP_SIZE;
    if (makes_holes || !no_space()) {
        note_range(fd, &info, offset, makes_holes ? (uint64_t)length : 0);
        result = REAL(fallocate64)(fd, mode, offset, length);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return reserve(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return reserve(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return reserve(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return reserve(fd, 0, offset, length) ? errno : 0; }

static int sync_file(int fd, int (*call)(int)) {
    struct stat info;
    if (!ours(fd, &info)) return call(fd);
    pthread_mutex_lock(&lock);
    uint64_t upto = next_seq;
    int fails = ++syncs == eio_sync;
    pthread_mutex_unlock(&lock);
    if (delay_ms) {
        struct timespec delay = { (time_t)(delay_ms / 1000), (long)(delay_ms % 1000) * 1000000 };
        nanosleep(&delay, NULL);
    }
    if (fails) { errno = EIO; return -1; }
    if (lies) return 0;
    int result = call(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        note('S', info.st_ino, upto, 0, NULL, 0);
        if (S_ISDIR(info.st_mode)) let_go(info.st_ino, upto);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

/* Starts writing back, and promises nothing. */
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    return REAL(sync_file_range)(fd, offset, length, flags);
}

static int open_file(int dirfd, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int changes = flags & (O_CREAT | O_TRUNC);
    if (!changes || (flags & O_TMPFILE) == O_TMPFILE || !resolve(dirfd, name, path)) {
        return REAL(openat64)(dirfd, name, flags, mode);
    }
    pthread_mutex_lock(&lock);
    int is_new = inode_of(path) == 0, fd = -1;
    if (!(is_new && (flags & O_CREAT) && no_space())) {
        /* Truncation is done here, after its undoing was noted. */
        fd = REAL(openat64)(dirfd, name, flags & ~O_TRUNC, mode);
    }
    if (fd >= 0) {
        struct stat info;
        fstat(fd, &info);
        if (fd < MAX_FD) seen[fd].known = 0;
        if (is_new) {
            note('C', info.st_ino, directory_of(path), 0, path, strlen(path));
        } else if ((flags & O_TRUNC) && S_ISREG(info.st_mode)) {
            note_range(fd, &info, 0, (uint64_t)info.st_size);
            if (REAL(ftruncate64)(fd, 0) != 0) { int saved = errno; REAL(close)(fd); errno = saved; fd = -1; }
        }
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE(flags, last)                                                  \
    mode_t mode = 0;                                                       \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {         \
        va_list list;                                                      \
        va_start(list, last);                                              \
        mode = (mode_t)va_arg(list, int);                                  \
        va_end(list);                                                      \
    }
int open(const char *name, int flags, ...) { MODE(flags, flags) return open_file(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, flags) return open_file(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *name, int flags, ...) { MODE(flags, flags) return open_file(dir, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE(flags, flags) return open_file(dir, name, flags | O_LARGEFILE, mode); }
int creat(const char *name, mode_t mode) { return open_file(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return open_file(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (ready && fd == journal) { errno = EBADF; return -1; }
    if (fd >= 0 && fd < MAX_FD) seen[fd].known = 0;
    return REAL(close)(fd);
}

static int rename_file(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char from_path[PATH_MAX], to_path[PATH_MAX], payload[3 * PATH_MAX], name[32] = "";
    int from_ours = resolve(from_dir, from, from_path), to_ours = resolve(to_dir, to, to_path);
    if (!from_ours || !to_ours) return REAL(renameat2)(from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    const char *kept_name = flags == 0 && inode_of(to_path) ? keep(to_path, name) : "";
    int length = snprintf(payload, sizeof payload, "%s%c%s%c%s", from_path, 0, to_path, 0, kept_name);
    note('R', inode_of(from_path), directory_of(from_path), directory_of(to_path), payload, (size_t)length);
    if (*kept_name) remember_kept(kept_name, directory_of(to_path));
    int result = flags ? REAL(renameat2)(from_dir, from, to_dir, to, flags) : REAL(renameat)(from_dir, from, to_dir, to);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int rename(const char *from, const char *to) { return rename_file(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return rename_file(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return rename_file(a, from, b, to, flags); }

int unlinkat(int dirfd, const char *name, int flags) {
    char path[PATH_MAX], payload[2 * PATH_MAX], kept_name[32];
    if (flags & AT_REMOVEDIR || !resolve(dirfd, name, path)) return REAL(unlinkat)(dirfd, name, flags);
    pthread_mutex_lock(&lock);
    if (inode_of(path)) {
        const char *as = keep(path, kept_name);
        int length = snprintf(payload, sizeof payload, "%s%c%s", path, 0, as);
        note('U', inode_of(path), directory_of(path), 0, payload, (size_t)length);
        remember_kept(as, directory_of(path));
    }
    int result = REAL(unlinkat)(dirfd, name, flags);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int remove(const char *name) {
    struct stat info;
    if (lstat(name, &info) == 0 && S_ISDIR(info.st_mode)) return REAL(rmdir)(name);
    return unlinkat(AT_FDCWD, name, 0);
}

static int made(int result, const char *path) {
    if (result == 0) note('C', inode_of(path), directory_of(path), 0, path, strlen(path));
    return result;
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    char path[PATH_MAX];
    if (!resolve(b, to, path)) return REAL(linkat)(a, from, b, to, flags);
    pthread_mutex_lock(&lock);
    /* Another name for a file that is there already: its contents are not new. */
    int result = REAL(linkat)(a, from, b, to, flags);
    if (result == 0) note('L', inode_of(path), directory_of(path), 0, path, strlen(path));
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdirat(int dirfd, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!resolve(dirfd, name, path)) return REAL(mkdirat)(dirfd, name, mode);
    pthread_mutex_lock(&lock);
    int result = no_space() ? -1 : made(REAL(mkdirat)(dirfd, name, mode), path);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static void *map(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    struct stat info;
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && ours(fd, &info)) {
        static const char text[] = "lostsync: refused a writable map of a file that is looked after\n";
        if (REAL(write)(2, text, sizeof text - 1) < 0) { /* nothing to be done about it */ }
        errno = EACCES;
        return MAP_FAILED;
    }
    return REAL(mmap64)(at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return map(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    return map(at, length, protection, flags, fd, offset);
}
