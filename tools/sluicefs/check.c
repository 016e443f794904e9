/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * sluicefs check: what this system offers.
 *
 * Nothing is assumed from the kernel's version: each line is asked of the
 * kernel (a ring is made, FUSE is mounted where nobody sees it) or read from
 * the setting that decides it. Exit status 0: a mount can be made here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fuse_lowlevel.h>
#include <liburing.h>

#include "aio/ring.h"
#include "tools/sluicefs/command.h"
#include "tools/sluicefs/fuse-probe.h"
#include "tools/sluicefs/report.h"
#include "tools/sluicefs/uring-reason.h"

#define FUSE_MODULE "/sys/module/fuse/parameters/"
#define FUSE_SYSCTL "/proc/sys/fs/fuse/"

#define INIT_PASSTHROUGH   37 /* bit numbers of FUSE INIT */
#define INIT_ALLOW_IDMAP   40
#define INIT_OVER_IO_URING 41

static const char *const setup_names[] = {
    "IOPOLL",        "SQPOLL",        "SQ_AFF",     "CQSIZE",
    "CLAMP",         "ATTACH_WQ",     "R_DISABLED", "SUBMIT_ALL",
    "COOP_TASKRUN",  "TASKRUN_FLAG",  "SQE128",     "CQE32",
    "SINGLE_ISSUER", "DEFER_TASKRUN", "NO_MMAP",    "REGISTERED_FD_ONLY",
    "NO_SQARRAY",    "HYBRID_IOPOLL",
};

static const char *const feature_names[] = {
    "SINGLE_MMAP", "NODROP",      "SUBMIT_STABLE",   "RW_CUR_POS",   "CUR_PERSONALITY",
    "FAST_POLL",   "POLL_32BITS", "SQPOLL_NONFIXED", "EXT_ARG",      "NATIVE_WORKERS",
    "RSRC_TAGS",   "CQE_SKIP",    "LINKED_FILE",     "REG_REG_RING", "RECVSEND_BUNDLE",
    "MIN_TIMEOUT", "RW_ATTR",     "NO_IOWAIT",
};

static const char *const opcode_names[] = {
    "NOP",
    "READV",
    "WRITEV",
    "FSYNC",
    "READ_FIXED",
    "WRITE_FIXED",
    "POLL_ADD",
    "POLL_REMOVE",
    "SYNC_FILE_RANGE",
    "SENDMSG",
    "RECVMSG",
    "TIMEOUT",
    "TIMEOUT_REMOVE",
    "ACCEPT",
    "ASYNC_CANCEL",
    "LINK_TIMEOUT",
    "CONNECT",
    "FALLOCATE",
    "OPENAT",
    "CLOSE",
    "FILES_UPDATE",
    "STATX",
    "READ",
    "WRITE",
    "FADVISE",
    "MADVISE",
    "SEND",
    "RECV",
    "OPENAT2",
    "EPOLL_CTL",
    "SPLICE",
    "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS",
    "TEE",
    "SHUTDOWN",
    "RENAMEAT",
    "UNLINKAT",
    "MKDIRAT",
    "SYMLINKAT",
    "LINKAT",
    "MSG_RING",
    "FSETXATTR",
    "SETXATTR",
    "FGETXATTR",
    "GETXATTR",
    "SOCKET",
    "URING_CMD",
    "SEND_ZC",
    "SENDMSG_ZC",
    "READ_MULTISHOT",
    "WAITID",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_WAITV",
    "FIXED_FD_INSTALL",
    "FTRUNCATE",
    "BIND",
    "LISTEN",
    "RECV_ZC",
    "EPOLL_WAIT",
    "READV_FIXED",
    "WRITEV_FIXED",
    "PIPE",
};

static const char *name_in(const char *const *names, size_t count, unsigned bit)
{
    return bit < count ? names[bit] : NULL;
}

/* The names of the bits that are set; nameless bits by number. */
static void report_bits(Report *report, const char *key, const char *title, guint64 bits,
                        const char *const *names, size_t count)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);

    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name;

        if ((bits >> bit & 1) == 0) {
            continue;
        }
        name = names == NULL ? fuse_probe_flag_name(bit) : name_in(names, count, bit);
        g_ptr_array_add(words, name != NULL ? g_strdup(name) : g_strdup_printf("bit-%u", bit));
    }
    g_ptr_array_add(words, NULL);
    report_list(report, key, title, (const char *const *)words->pdata, NULL);
}

/* The first line of a small file, or NULL. */
static char *read_line(const char *path)
{
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void report_setting(Report *report, const char *key, const char *title, const char *path)
{
    g_autofree char *text = read_line(path);
    gint64 number;

    if (text != NULL && g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &number, NULL)) {
        report_integer(report, key, title, number, NULL);
    } else {
        report_string(report, key, title, text, text == NULL ? "no such setting" : NULL);
    }
}

static void check_system(Report *report)
{
    struct utsname system;

    report_section(report, "system", "System");
    uname(&system);
    report_string(report, "sluicefs", "sluicefs", SLUICE_VERSION, NULL);
    report_string(report, "libfuse", "libfuse", fuse_pkgversion(), NULL);
    report_string(report, "kernel", "kernel", system.release, NULL);
    report_string(report, "machine", "machine", system.machine, NULL);
    report_integer(report, "cpus_online", "CPUs online", sysconf(_SC_NPROCESSORS_ONLN), NULL);
    report_integer(report, "cpus_configured", "CPUs configured", sysconf(_SC_NPROCESSORS_CONF),
                   NULL);
    report_bool(report, "root", "run as root", geteuid() == 0, NULL);
    report_bool(report, "seccomp_filter", "seccomp filter", uring_reason_has_seccomp_filter(),
                NULL);
}

static void check_uring(Report *report)
{
    g_autofree char *reason = NULL;
    AioRingProbe probe;

    report_section(report, "io_uring", "io_uring");
    aio_ring_probe(&probe);
    if (!probe.available) {
        reason = uring_reason_explain(probe.error);
    }
    report_bool(report, "available", "available", probe.available, reason);
    report_string(report, "engine", "I/O engine used", probe.available ? "io_uring" : "threads",
                  NULL);
    report_setting(report, "io_uring_disabled", "sysctl io_uring_disabled",
                   "/proc/sys/kernel/io_uring_disabled");
    if (probe.available) {
        report_bits(report, "setup_flags", "setup flags", probe.setup_flags, setup_names,
                    G_N_ELEMENTS(setup_names));
        report_bits(report, "features", "features", probe.features, feature_names,
                    G_N_ELEMENTS(feature_names));
        report_integer(report, "last_opcode", "last operation", probe.last_opcode,
                       name_in(opcode_names, G_N_ELEMENTS(opcode_names), probe.last_opcode));
        report_bits(report, "opcodes", "operations", probe.opcodes, opcode_names,
                    G_N_ELEMENTS(opcode_names));
    }
}

/* Whether /dev/fuse can be used; reports it. */
static bool check_device(Report *report)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int error = errno;

    report_bool(report, "device", "/dev/fuse opens", fd >= 0,
                fd >= 0           ? NULL
                : error == ENOENT ? "no such device: load the kernel module fuse"
                                  : g_strerror(error));
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* Whether the helper for mounts without root works; reports it. */
static bool check_fusermount(Report *report)
{
    g_autofree char *path = g_find_program_in_path("fusermount3");
    struct stat st;
    bool setuid = path != NULL && stat(path, &st) == 0 && (st.st_mode & S_ISUID) != 0;

    report_string(report, "fusermount3", "fusermount3", path,
                  path == NULL ? "not installed: mounts without root need it"
                  : !setuid    ? "not set-user-id: mounts without root fail"
                               : NULL);
    return setuid;
}

static bool has_user_allow_other(void)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/etc/fuse.conf", &text, NULL, NULL)) {
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (strcmp(g_strstrip(*line), "user_allow_other") == 0) {
            return true;
        }
    }
    return false;
}

static void check_init(Report *report)
{
    g_autofree char *reason = NULL, *uring = read_line(FUSE_MODULE "enable_uring");
    FuseProbe probe;

    fuse_probe(&probe);
    if (!probe.known) {
        reason = g_strdup_printf("%s: %s", probe.step, g_strerror(probe.error));
    }
    report_bool(report, "init_known", "INIT asked", probe.known,
                probe.known && probe.user_namespace ? "from inside a user namespace" : reason);
    if (!probe.known) {
        return;
    }
    {
        g_autofree char *protocol = g_strdup_printf("%u.%u", probe.major, probe.minor);

        report_string(report, "protocol", "protocol", protocol, NULL);
    }
    report_bits(report, "init_flags", "INIT flags offered", probe.flags, NULL, 0);
    report_bool(report, "passthrough", "kernel passthrough",
                (probe.flags >> INIT_PASSTHROUGH & 1) != 0,
                geteuid() == 0 ? NULL : "needs root to be used");
    report_bool(report, "over_io_uring", "FUSE over io_uring",
                (probe.flags >> INIT_OVER_IO_URING & 1) != 0,
                uring != NULL && uring[0] == 'N'
                    ? "switched off by the parameter enable_uring of the module fuse"
                    : NULL);
    report_bool(report, "idmap", "id-mapped mounts", (probe.flags >> INIT_ALLOW_IDMAP & 1) != 0,
                NULL);
}

/* Returns whether a mount can be made. */
static bool check_fuse(Report *report)
{
    bool device, helper;

    report_section(report, "fuse", "FUSE");
    device = check_device(report);
    helper = check_fusermount(report);
    report_bool(report, "mount", "mounts possible", device && (geteuid() == 0 || helper), NULL);
    report_bool(report, "user_allow_other", "user_allow_other", has_user_allow_other(),
                "in /etc/fuse.conf: --allow-other without root");
    check_init(report);
    report_setting(report, "enable_uring", "module enable_uring", FUSE_MODULE "enable_uring");
    report_setting(report, "max_user_bgreq", "module max_user_bgreq", FUSE_MODULE "max_user_bgreq");
    report_setting(report, "max_pages_limit", "sysctl max_pages_limit",
                   FUSE_SYSCTL "max_pages_limit");
    report_setting(report, "default_request_timeout", "sysctl request timeout",
                   FUSE_SYSCTL "default_request_timeout");
    return device && (geteuid() == 0 || helper);
}

static void report_limit(Report *report, const char *key, const char *title, int resource)
{
    struct rlimit limit = {0};
    g_autofree char *hard_key = g_strconcat(key, "_hard", NULL);
    g_autofree char *hard_title = g_strconcat(title, ", hard", NULL);

    getrlimit((__rlimit_resource_t)resource, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) {
        report_string(report, key, title, "unlimited", NULL);
    } else {
        report_integer(report, key, title, (gint64)limit.rlim_cur, NULL);
    }
    if (limit.rlim_max == RLIM_INFINITY) {
        report_string(report, hard_key, hard_title, "unlimited", NULL);
    } else {
        report_integer(report, hard_key, hard_title, (gint64)limit.rlim_max, NULL);
    }
}

static void check_limits(Report *report)
{
    report_section(report, "limits", "Limits");
    report_limit(report, "open_files", "open files", RLIMIT_NOFILE);
    report_limit(report, "locked_memory", "locked memory", RLIMIT_MEMLOCK);
    report_limit(report, "processes", "processes", RLIMIT_NPROC);
    report_setting(report, "file_max", "sysctl fs.file-max", "/proc/sys/fs/file-max");
    report_setting(report, "nr_open", "sysctl fs.nr_open", "/proc/sys/fs/nr_open");
}

int check_run(Options *options)
{
    g_autoptr(Report) report = report_new();
    bool can_mount;

    check_system(report);
    check_uring(report);
    can_mount = check_fuse(report);
    check_limits(report);
    if (options->json) {
        report_print_json(report, stdout);
    } else {
        report_print_text(report, stdout);
    }
    return can_mount ? EXIT_OK : EXIT_FAILED;
}
