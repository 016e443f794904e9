/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What the kernel offers in FUSE INIT.
 *
 * How it works: a child makes a mount namespace of its own (and, if it is not
 * root, a user namespace, which since Linux 4.18 may mount FUSE), mounts FUSE
 * in it and reads the first request, which is INIT with all that the kernel
 * offers. It never answers: the child's end closes the device, which aborts
 * the connection, and removes the namespace with the mount.
 */
#include "tools/sluicefs/fuse-probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fuse.h>

#define INIT_WAIT_MS 2000

typedef enum ProbeStep {
    STEP_FORK,
    STEP_NAMESPACE,
    STEP_DEVICE,
    STEP_MOUNT,
    STEP_READ,
    STEP_DONE
} ProbeStep;

/* From the child to its parent, through a pipe. */
typedef struct ProbeAnswer {
    ProbeStep step;
    int error;
    bool user_namespace;
    struct fuse_init_in init;
} ProbeAnswer;

static const char *const step_names[] = {
    [STEP_FORK] = "starting a process",
    [STEP_DEVICE] = "opening /dev/fuse",
    [STEP_NAMESPACE] = "making a mount namespace (run as root)",
    [STEP_MOUNT] = "mounting FUSE (run as root)",
    [STEP_READ] = "reading INIT",
    [STEP_DONE] = "nothing",
};

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0) {
        close(fd);
    }
    return written;
}

/* Become root of a user namespace that has only us. */
static bool enter_user_namespace(void)
{
    char uid_map[64], gid_map[64];

    snprintf(uid_map, sizeof(uid_map), "0 %u 1", (unsigned)geteuid());
    snprintf(gid_map, sizeof(gid_map), "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           write_file("/proc/self/setgroups", "deny") &&
           write_file("/proc/self/uid_map", uid_map) && write_file("/proc/self/gid_map", gid_map);
}

static bool enter_namespace(ProbeAnswer *answer)
{
    answer->step = STEP_NAMESPACE;
    if (unshare(CLONE_NEWNS) < 0) {
        answer->user_namespace = true;
        if (!enter_user_namespace()) {
            return false;
        }
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool read_init(int fd, struct fuse_init_in *init)
{
    _Alignas(8) char buffer[FUSE_MIN_READ_BUFFER];
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct fuse_in_header header;
    ssize_t length;
    size_t argument;

    if (poll(&poll_fd, 1, INIT_WAIT_MS) <= 0) {
        errno = ETIMEDOUT;
        return false;
    }
    length = read(fd, buffer, sizeof(buffer));
    if (length < (ssize_t)sizeof(header)) {
        errno = length < 0 ? errno : EPROTO;
        return false;
    }
    memcpy(&header, buffer, sizeof(header));
    if (header.opcode != FUSE_INIT) {
        errno = EPROTO;
        return false;
    }
    argument = (size_t)length - sizeof(header);
    memset(init, 0, sizeof(*init));
    memcpy(init, buffer + sizeof(header), argument < sizeof(*init) ? argument : sizeof(*init));
    return true;
}

/* What the child does; true if the answer is complete, else errno is set. */
static bool ask_kernel(ProbeAnswer *answer)
{
    char options[128];
    int fd;

    if (!enter_namespace(answer)) {
        return false;
    }
    /* The device must have been opened in the user namespace that mounts. */
    answer->step = STEP_DEVICE;
    fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    answer->step = STEP_MOUNT;
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd,
             (unsigned)geteuid(), (unsigned)getegid());
    if (mount("sluicefs-check", "/", "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
        return false;
    }
    answer->step = STEP_READ;
    if (!read_init(fd, &answer->init)) {
        return false;
    }
    answer->step = STEP_DONE;
    return true;
}

static void probe_child(int pipe_fd) __attribute__((noreturn));
static void probe_child(int pipe_fd)
{
    ProbeAnswer answer = {0};
    ssize_t written;

    if (!ask_kernel(&answer)) {
        answer.error = errno;
    }
    written = write(pipe_fd, &answer, sizeof(answer));
    _exit(written == sizeof(answer) ? 0 : 1);
}

void fuse_probe(FuseProbe *probe)
{
    ProbeAnswer answer = {.step = STEP_FORK};
    int pipe_fds[2];
    pid_t child = -1;

    memset(probe, 0, sizeof(*probe));
    if (pipe2(pipe_fds, O_CLOEXEC) == 0) {
        child = fork();
        if (child == 0) {
            probe_child(pipe_fds[1]);
        }
        answer.error = child < 0 ? errno : EPROTO;
        close(pipe_fds[1]);
        if (child > 0) {
            ProbeAnswer received;

            if (read(pipe_fds[0], &received, sizeof(received)) == sizeof(received)) {
                answer = received;
            }
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
            }
        }
        close(pipe_fds[0]);
    } else {
        answer.error = errno;
    }

    probe->known = answer.step == STEP_DONE;
    probe->step = step_names[answer.step];
    probe->error = answer.error;
    probe->user_namespace = answer.user_namespace;
    probe->major = answer.init.major;
    probe->minor = answer.init.minor;
    probe->max_readahead = answer.init.max_readahead;
    probe->flags = answer.init.flags;
    if ((answer.init.flags & FUSE_INIT_EXT) != 0) {
        probe->flags |= (uint64_t)answer.init.flags2 << 32;
    }
}

const char *fuse_probe_flag_name(unsigned bit)
{
    static const char *const names[] = {
        "ASYNC_READ",
        "POSIX_LOCKS",
        "FILE_OPS",
        "ATOMIC_O_TRUNC",
        "EXPORT_SUPPORT",
        "BIG_WRITES",
        "DONT_MASK",
        "SPLICE_WRITE",
        "SPLICE_MOVE",
        "SPLICE_READ",
        "FLOCK_LOCKS",
        "HAS_IOCTL_DIR",
        "AUTO_INVAL_DATA",
        "DO_READDIRPLUS",
        "READDIRPLUS_AUTO",
        "ASYNC_DIO",
        "WRITEBACK_CACHE",
        "NO_OPEN_SUPPORT",
        "PARALLEL_DIROPS",
        "HANDLE_KILLPRIV",
        "POSIX_ACL",
        "ABORT_ERROR",
        "MAX_PAGES",
        "CACHE_SYMLINKS",
        "NO_OPENDIR_SUPPORT",
        "EXPLICIT_INVAL_DATA",
        "MAP_ALIGNMENT",
        "SUBMOUNTS",
        "HANDLE_KILLPRIV_V2",
        "SETXATTR_EXT",
        "INIT_EXT",
        "INIT_RESERVED",
        "SECURITY_CTX",
        "HAS_INODE_DAX",
        "CREATE_SUPP_GROUP",
        "HAS_EXPIRE_ONLY",
        "DIRECT_IO_ALLOW_MMAP",
        "PASSTHROUGH",
        "NO_EXPORT_SUPPORT",
        "HAS_RESEND",
        "ALLOW_IDMAP",
        "OVER_IO_URING",
        "REQUEST_TIMEOUT",
    };

    return bit < sizeof(names) / sizeof(names[0]) ? names[bit] : NULL;
}
