/* Fault injection by LD_PRELOAD: counts file-system calls below a folder, and makes one of them fail or kill.
 *
 * Environment: FAULTS_CONTROL names a file of at least sizeof(struct control) bytes (tests/faults/shim.py writes it),
 * which all processes of a run map, so that the count goes over all of them and can be read and set from outside at
 * any time. No hook in the product is needed, and the writes of C++ libraries are covered like those of Python.
 *
 * Only calls of this process through the C library's symbols are seen; that is how CPython and Arrow make them. What
 * happens between vfork and exec runs in the parent's memory and is passed through untouched.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The order is that of OPS in shim.py. */
enum op {
    OP_CREATE, OP_WRITE, OP_FSYNC, OP_CLOSE, OP_RENAME, OP_LINK, OP_UNLINK, OP_MKDIR, OP_RMDIR, OP_TRUNCATE,
    OP_OPEN, OP_READ, OP_LIST, OP_STAT, OPS
};

enum action { FAIL = 1, SHORT = 2, KILL_PROCESS = 3, KILL_GROUP = 4, STOP_PROCESS = 5 };
enum when { BEFORE = 0, MIDDLE = 1, AFTER = 2 };

struct control {
    uint64_t count;      /* matching calls so far, in all processes */
    uint64_t target;     /* the call that is hit, from 1; 0: none */
    uint64_t fired;      /* how many calls were hit */
    uint32_t ops;        /* bit mask of enum op */
    uint32_t action;
    uint32_t error;      /* errno of FAIL; SHORT: not 0 where the next write finds the disk full */
    uint32_t when;       /* of a kill */
    uint32_t sticky;     /* FAIL: every later matching call as well, until disarmed */
    uint32_t full;       /* set by SHORT: the next call that matches finds the disk full */
    uint32_t fired_op;
    uint32_t fired_pid;
    char prefix[1024];   /* only paths below it */
    char pattern[1024];  /* and only those that match (fnmatch over the whole path); empty: all */
    char fired_path[1024];
};

static struct control *control;
static int log_fd = -1;
static pid_t me;

#define FDS 4096
static char *paths[FDS]; /* path of a descriptor below any prefix; set at open */
static unsigned char writable[FDS];

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void start(void) {
    me = syscall(SYS_getpid);
}

__attribute__((constructor)) static void init(void) {
    start();
    pthread_atfork(NULL, NULL, start);
    const char *file = getenv("FAULTS_CONTROL");
    if (!file) return;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    if (fd < 0) { perror("FAULTS_CONTROL"); _exit(97); }
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (control == MAP_FAILED) { perror("FAULTS_CONTROL"); _exit(97); }
    const char *log = getenv("FAULTS_LOG");
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

static int foreign(void) { /* a vforked child: its memory is its parent's */
    return control == NULL || syscall(SYS_getpid) != me;
}

/* The absolute path, "" where it cannot be told. No dots are resolved: nobody here writes them. */
static const char *absolute(int dir, const char *path, char *into) {
    into[0] = 0;
    if (!path) return into;
    if (path[0] == '/') {
        snprintf(into, PATH_MAX, "%s", path);
        return into;
    }
    ssize_t length;
    if (dir == AT_FDCWD) {
        length = syscall(SYS_getcwd, into, PATH_MAX) > 0 ? (ssize_t)strlen(into) : -1;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, into, PATH_MAX - 1);
    }
    if (length < 0 || length + strlen(path) + 2 > PATH_MAX) { into[0] = 0; return into; }
    into[length] = '/';
    strcpy(into + length + 1, path);
    return into;
}

static void strike(enum op op, const char *path) {
    control->fired_op = op;
    control->fired_pid = me;
    snprintf(control->fired_path, sizeof control->fired_path, "%s", path);
    __atomic_fetch_add(&control->fired, 1, __ATOMIC_SEQ_CST);
}

static void kill_now(void) {
    if (control->action == KILL_GROUP) syscall(SYS_kill, 0, SIGKILL);
    else if (control->action == STOP_PROCESS) syscall(SYS_kill, me, SIGSTOP);
    else syscall(SYS_kill, me, SIGKILL);
}

/* The number of this call, from 1, where it matches; else 0. */
static uint64_t counted(enum op op, const char *path) {
    if (!(control->ops >> op & 1) || !control->prefix[0]) return 0;
    size_t length = strlen(control->prefix);
    if (strncmp(path, control->prefix, length) || (path[length] && path[length] != '/')) return 0;
    if (control->pattern[0] && fnmatch(control->pattern, path, 0)) return 0;
    uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (log_fd >= 0) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%d %d %s\n", (int)me, op, path);
        syscall(SYS_write, log_fd, line, size);
    }
    return number;
}

/* 0: do the call. -1: fail with errno set. 1: do the call, then `after`. 2: do half of it (write), then `after`. */
static int before(enum op op, const char *path) {
    uint64_t number = counted(op, path), target = control->target;
    if (!number || !target) return 0;
    if (number > target && control->full) {
        control->full = 0;
        errno = ENOSPC;
        return -1;
    }
    if (number != target && !(control->sticky && number > target)) return 0;
    strike(op, path);
    switch (control->action) {
    case FAIL:
        errno = control->error;
        return -1;
    case SHORT:
        control->full = control->error != 0;
        if (op == OP_WRITE) return 2;
        errno = ENOSPC;
        return -1;
    }
    if (control->when == BEFORE || (control->when == MIDDLE && op != OP_WRITE)) kill_now();
    return control->when == MIDDLE ? 2 : 1;
}

static void after(int verdict) {
    int kept = errno;
    if (verdict > 0 && control->action >= KILL_PROCESS) kill_now();
    errno = kept;
}

static void remember(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS) return;
    free(paths[fd]);
    paths[fd] = path && path[0] ? strdup(path) : NULL;
    writable[fd] = (flags & O_ACCMODE) != O_RDONLY;
}

static const char *known(int fd) {
    return fd >= 0 && fd < FDS && paths[fd] ? paths[fd] : "";
}

/* open */

static int opened(int dir, const char *path, int flags, mode_t mode) {
    if (foreign()) return syscall(SYS_openat, dir, path, flags, mode);
    char buffer[PATH_MAX];
    const char *full = absolute(dir, path, buffer);
    int directory = flags & O_DIRECTORY;
    enum op op = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT ? OP_CREATE : directory ? OP_LIST : OP_OPEN;
    int verdict = before(op, full);
    if (verdict < 0) return -1;
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0) remember(fd, full, flags);
    after(verdict);
    return fd;
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int dir, const char *path, int flags) { return opened(dir, path, flags, 0); }
int __openat64_2(int dir, const char *path, int flags) { return opened(dir, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    if (foreign()) return real(path);
    char buffer[PATH_MAX];
    int verdict = before(OP_LIST, absolute(AT_FDCWD, path, buffer));
    if (verdict < 0) return NULL;
    DIR *found = real(path);
    after(verdict);
    return found;
}

/* On descriptors. The macro is for calls that return -1 and errno. */

#define ON_FD(op, fd, call) do { \
    if (foreign() || !known(fd)[0]) return call; \
    int verdict = before(op, known(fd)); \
    if (verdict < 0) return -1; \
    __typeof__(call) result = call; \
    after(verdict); \
    return result; \
} while (0)

/* Writing the first half of `size` bytes; the kill or the full disk comes after it. */
#define ON_WRITE(fd, size, call, half) do { \
    if (foreign() || !known(fd)[0]) return call; \
    int verdict = before(OP_WRITE, known(fd)); \
    if (verdict < 0) return -1; \
    if (verdict == 2 && (size) < 2) { \
        if (control->action >= KILL_PROCESS) kill_now(); \
        errno = ENOSPC; \
        return -1; \
    } \
    ssize_t result = verdict == 2 ? half : call; \
    after(verdict); \
    return result; \
} while (0)

ssize_t write(int fd, const void *data, size_t size) {
    ON_WRITE(fd, size, syscall(SYS_write, fd, data, size), syscall(SYS_write, fd, data, size / 2));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    ON_WRITE(fd, size, syscall(SYS_pwrite64, fd, data, size, at), syscall(SYS_pwrite64, fd, data, size / 2, at));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ON_WRITE(fd, size, syscall(SYS_pwrite64, fd, data, size, at), syscall(SYS_pwrite64, fd, data, size / 2, at));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t first = count > 0 ? parts[0].iov_len : 0;
    ON_WRITE(fd, first, syscall(SYS_writev, fd, parts, count), syscall(SYS_write, fd, parts[0].iov_base, first / 2));
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
    ON_WRITE(out, size, syscall(SYS_sendfile, out, in, at, size), syscall(SYS_sendfile, out, in, at, size / 2));
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    ON_WRITE(out, size, syscall(SYS_copy_file_range, in, from, out, to, size, flags),
             syscall(SYS_copy_file_range, in, from, out, to, size / 2, flags));
}
ssize_t read(int fd, void *into, size_t size) { ON_FD(OP_READ, fd, syscall(SYS_read, fd, into, size)); }
ssize_t pread(int fd, void *into, size_t size, off_t at) {
    ON_FD(OP_READ, fd, syscall(SYS_pread64, fd, into, size, at));
}
ssize_t pread64(int fd, void *into, size_t size, off64_t at) {
    ON_FD(OP_READ, fd, syscall(SYS_pread64, fd, into, size, at));
}
int fsync(int fd) { ON_FD(OP_FSYNC, fd, (int)syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { ON_FD(OP_FSYNC, fd, (int)syscall(SYS_fdatasync, fd)); }
int ftruncate(int fd, off_t size) { ON_FD(OP_TRUNCATE, fd, (int)syscall(SYS_ftruncate, fd, size)); }
int ftruncate64(int fd, off64_t size) { ON_FD(OP_TRUNCATE, fd, (int)syscall(SYS_ftruncate, fd, size)); }

/* A close that fails has closed all the same, as on Linux: the error is one of an earlier write. */
int close(int fd) {
    if (foreign() || !known(fd)[0]) return syscall(SYS_close, fd);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", known(fd));
    int was_writable = writable[fd];
    int verdict = was_writable ? before(OP_CLOSE, path) : 0;
    int error = errno;
    remember(fd, NULL, 0);
    int result = syscall(SYS_close, fd);
    if (verdict < 0) {
        errno = error;
        return -1;
    }
    after(verdict);
    return result;
}

/* On paths. */

#define ON_PATH(op, dir, path, call) do { \
    if (foreign()) return call; \
    char buffer[PATH_MAX]; \
    int verdict = before(op, absolute(dir, path, buffer)); \
    if (verdict < 0) return -1; \
    int result = call; \
    after(verdict); \
    return result; \
} while (0)

/* Calls with two paths are counted under the second, the one that appears. */
int rename(const char *a, const char *b) {
    ON_PATH(OP_RENAME, AT_FDCWD, b, (int)syscall(SYS_renameat, AT_FDCWD, a, AT_FDCWD, b));
}
int renameat(int da, const char *a, int db, const char *b) {
    ON_PATH(OP_RENAME, db, b, (int)syscall(SYS_renameat, da, a, db, b));
}
int renameat2(int da, const char *a, int db, const char *b, unsigned flags) {
    ON_PATH(OP_RENAME, db, b, (int)syscall(SYS_renameat2, da, a, db, b, flags));
}
int link(const char *a, const char *b) {
    ON_PATH(OP_LINK, AT_FDCWD, b, (int)syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0));
}
int linkat(int da, const char *a, int db, const char *b, int flags) {
    ON_PATH(OP_LINK, db, b, (int)syscall(SYS_linkat, da, a, db, b, flags));
}
int unlink(const char *path) { ON_PATH(OP_UNLINK, AT_FDCWD, path, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }
int unlinkat(int dir, const char *path, int flags) {
    ON_PATH(flags & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK, dir, path, (int)syscall(SYS_unlinkat, dir, path, flags));
}
int rmdir(const char *path) {
    ON_PATH(OP_RMDIR, AT_FDCWD, path, (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}
int mkdir(const char *path, mode_t mode) {
    ON_PATH(OP_MKDIR, AT_FDCWD, path, (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
int mkdirat(int dir, const char *path, mode_t mode) {
    ON_PATH(OP_MKDIR, dir, path, (int)syscall(SYS_mkdirat, dir, path, mode));
}
int truncate64(const char *path, off64_t size) {
    ON_PATH(OP_TRUNCATE, AT_FDCWD, path, (int)syscall(SYS_truncate, path, size));
}
int stat64(const char *path, struct stat64 *into) {
    ON_PATH(OP_STAT, AT_FDCWD, path, (int)syscall(SYS_newfstatat, AT_FDCWD, path, into, 0));
}
int lstat64(const char *path, struct stat64 *into) {
    ON_PATH(OP_STAT, AT_FDCWD, path, (int)syscall(SYS_newfstatat, AT_FDCWD, path, into, AT_SYMLINK_NOFOLLOW));
}
int fstatat64(int dir, const char *path, struct stat64 *into, int flags) {
    ON_PATH(OP_STAT, dir, path, (int)syscall(SYS_newfstatat, dir, path, into, flags));
}
