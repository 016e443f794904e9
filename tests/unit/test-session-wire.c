/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions against an invented kernel: the test holds the other end of a socket
 * in place of /dev/fuse, and sends what a kernel would, or never would.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/null/null.h"
#include "fs/session/check.h"
#include "fs/session/kernel-abi.h"
#include "probe-fs.h"
#include "util.h"

/* fs/null numbers its files from here: null, direct, async, helper */
#define NULL_DIRECT 3
#define NULL_ASYNC  4

typedef struct Wire {
    int fd; /* our end */
    FsSession *session;
    bool ready, ended;
    int error;
    uint64_t unique;
    /* the last answer */
    struct fuse_out_header header;
    char body[128 * 1024];
} Wire;

static void wire_ready(FsSession *session, void *opaque)
{
    Wire *wire = opaque;
    wire->ready = true;
}

static void wire_ended(FsSession *session, int error, void *opaque)
{
    Wire *wire = opaque;
    wire->ended = true;
    wire->error = error;
}

static void until(bool *condition)
{
    while (!*condition) {
        g_main_context_iteration(NULL, TRUE);
    }
}

static void wire_open(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads)
{
    const struct timeval limit = {.tv_sec = 20};
    int fds[2];
    GError *error = NULL;
    FsSessionParams params;

    *wire = (Wire){.unique = 2};
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
    wire->fd = fds[0];
    g_assert_cmpint(setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);

    g_autofree char *mountpoint = g_strdup_printf("/dev/fd/%d", fds[1]);
    fs_session_params_init(&params);
    test_context_params(&params.context);
    params.filesystem = filesystem;
    params.userdata = userdata;
    params.mountpoint = mountpoint;
    params.threads = threads;
    params.ready = wire_ready;
    params.ended = wire_ended;
    params.opaque = wire;
    wire->session = fs_session_new(&params, &error);
    g_assert_no_error(error);
    g_assert_true(fs_session_mount(wire->session, &error));
    g_assert_no_error(error);
    g_assert_true(fs_session_start(wire->session, &error));
    g_assert_no_error(error);
}

/* Hang up, and wait for the end. */
static void wire_close(Wire *wire, int error)
{
    close(wire->fd);
    until(&wire->ended);
    g_assert_cmpint(wire->error, ==, error);
    fs_session_free(wire->session);
}

static void send_raw(Wire *wire, const void *message, size_t length)
{
    g_assert_cmpint(send(wire->fd, message, length, MSG_NOSIGNAL), ==, (ssize_t)length);
}

/* Returns the request's unique number. */
static uint64_t send_request(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body,
                             size_t length)
{
    char message[64 * 1024];
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + length),
        .opcode = opcode,
        .unique = wire->unique,
        .nodeid = nodeid,
    };

    g_assert_cmpuint(sizeof(header) + length, <=, sizeof(message));
    memcpy(message, &header, sizeof(header));
    if (length > 0) {
        memcpy(message + sizeof(header), body, length);
    }
    send_raw(wire, message, sizeof(header) + length);
    wire->unique += 2;
    return header.unique;
}

/* Returns the length of the body. */
static size_t receive(Wire *wire)
{
    struct iovec iov[2] = {{&wire->header, sizeof(wire->header)}, {wire->body, sizeof(wire->body)}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t length;

    /* With a receive timeout the kernel does not restart the call by itself after task work. */
    do {
        length = recvmsg(wire->fd, &message, 0);
    } while (length < 0 && errno == EINTR);
    g_assert_cmpint(length, >=, (ssize_t)sizeof(wire->header));
    g_assert_cmpuint(wire->header.len, ==, (uint32_t)length);
    return (size_t)length - sizeof(wire->header);
}

/* Request and answer; the error of the answer, positive. */
static int call(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body, size_t length)
{
    uint64_t unique = send_request(wire, opcode, nodeid, body, length);
    size_t received = receive(wire);

    g_assert_cmpuint(wire->header.unique, ==, unique);
    g_assert_true(wire->header.error == 0 || received == 0);
    return -wire->header.error;
}

static int call_init(Wire *wire, uint32_t major, uint32_t minor)
{
    const struct fuse_init_in init = {
        .major = major,
        .minor = minor,
        .max_readahead = 131072,
        .flags = ~0u & ~(1u << 31),
        .flags2 = ~0u,
    };
    return call(wire, FUSE_INIT, 0, &init, sizeof(init));
}

static void wire_up(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads)
{
    wire_open(wire, filesystem, userdata, threads);
    g_assert_cmpint(call_init(wire, 7, 45), ==, 0);
    until(&wire->ready);
}

static FsNull *null_userdata;

static void null_up(Wire *wire, unsigned threads)
{
    wire_up(wire, fs_null_filesystem(), null_userdata, threads);
}

/* --- INIT --------------------------------------------------------------------- */

static void test_init_answer(void)
{
    Wire wire;

    null_up(&wire, 2);
    const struct fuse_init_out *out = (const void *)wire.body;
    g_assert_cmpuint(wire.header.len, ==, sizeof(wire.header) + sizeof(*out));
    g_assert_cmpuint(out->major, ==, 7);
    g_assert_cmpuint(out->minor, ==, FS_FUSE_MINOR);
    g_assert_cmpuint(out->max_background, ==, 256);
    g_assert_cmpuint(out->congestion_threshold, ==, 192);
    wire_close(&wire, 0);
}

static void test_init_too_old(void)
{
    Wire wire;

    wire_open(&wire, fs_null_filesystem(), null_userdata, 2);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*7.22*oldest served*");
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*cannot agree*");
    g_assert_cmpint(call_init(&wire, 7, 22), ==, EPROTO);
    until(&wire.ended);
    g_test_assert_expected_messages();
    wire_close(&wire, EPROTO);
}

/* A kernel of the future asks again with our major number. */
static void test_init_newer_major(void)
{
    Wire wire;

    wire_open(&wire, fs_null_filesystem(), null_userdata, 2);
    g_assert_cmpint(call_init(&wire, 8, 1), ==, 0);
    g_assert_cmpuint(((const struct fuse_init_out *)(const void *)wire.body)->major, ==, 7);
    g_assert_false(wire.ready);
    g_assert_cmpint(call_init(&wire, 7, 45), ==, 0);
    until(&wire.ready);
    wire_close(&wire, 0);
}

/* Hung up before INIT: ended, and never ready. */
static void test_no_init(void)
{
    Wire wire;

    wire_open(&wire, fs_null_filesystem(), null_userdata, 4);
    wire_close(&wire, 0);
    g_assert_false(wire.ready);
}

/* --- requests -------------------------------------------------------------------- */

static void test_operations(void)
{
    Wire wire;
    const struct fuse_getattr_in getattr = {0};
    const struct fuse_read_in read_in = {.offset = 4096, .size = 5000};
    struct {
        struct fuse_write_in in;
        char data[4096];
    } write_in = {.in.size = sizeof(write_in.data)};

    null_up(&wire, 1);
    g_assert_cmpint(call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "direct", sizeof("direct")), ==, 0);
    g_assert_cmpint(call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "absent", sizeof("absent")), ==, ENOENT);
    g_assert_cmpint(call(&wire, FUSE_GETATTR, NULL_DIRECT, &getattr, sizeof(getattr)), ==, 0);
    for (uint64_t file = NULL_DIRECT; file <= NULL_ASYNC + 1; file++) {
        g_assert_cmpint(call(&wire, FUSE_READ, file, &read_in, sizeof(read_in)), ==, 0);
        g_assert_cmpuint(wire.header.len, ==, sizeof(wire.header) + 5000);
        g_assert_cmpint(call(&wire, FUSE_WRITE, file, &write_in, sizeof(write_in)), ==, 0);
        g_assert_cmpuint(((const struct fuse_write_out *)(const void *)wire.body)->size, ==, 4096);
    }
    g_assert_cmpint(call(&wire, FUSE_READ, FUSE_ROOT_ID, &read_in, sizeof(read_in)), ==, EISDIR);
    g_assert_cmpint(call(&wire, FUSE_READLINK, NULL_DIRECT, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(call(&wire, 49, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(call(&wire, 4095, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(call(&wire, G_MAXUINT32, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    wire_close(&wire, 0);
}

/* Requests without answer are taken, and nothing comes back for them. */
static void test_silent_requests(void)
{
    Wire wire;
    FsSessionStats stats;
    const struct fuse_forget_in forget = {.nlookup = 1};
    const struct {
        struct fuse_batch_forget_in in;
        struct fuse_forget_one one[3];
    } batch = {.in.count = 3};

    null_up(&wire, 1);
    for (unsigned i = 0; i < 1000; i++) {
        send_request(&wire, FUSE_FORGET, NULL_DIRECT, &forget, sizeof(forget));
        send_request(&wire, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
        g_assert_cmpint(call(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), ==, 0);
    }
    do {
        fs_session_get_stats(wire.session, &stats);
    } while (stats.in_flight > 0);
    g_assert_cmpuint(stats.requests, ==, 3001);
    g_assert_cmpuint(stats.replies, ==, 1001);
    wire_close(&wire, 0);
}

/* A message whose header lies about its length ends the session. */
static void test_broken_header(void)
{
    const struct fuse_in_header header = {.len = sizeof(header) + 1, .opcode = FUSE_STATFS};
    const size_t lengths[] = {sizeof(header), sizeof(header) - 1, 1};

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        Wire wire;
        null_up(&wire, 1);
        g_test_expect_message("sluicefs", G_LOG_LEVEL_CRITICAL, "*broken request*");
        send_raw(&wire, &header, lengths[i]);
        until(&wire.ended);
        g_test_assert_expected_messages();
        wire_close(&wire, EIO);
    }
}

/* A request that is too short for its operation is refused, and only it. */
static void test_short_requests(void)
{
    Wire wire;
    struct fuse_write_in too_much = {.size = 1};
    struct fuse_batch_forget_in batch = {.count = G_MAXUINT32};

    null_up(&wire, 1);
    for (size_t length = 0; length < sizeof(struct fuse_read_in); length++) {
        g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        g_assert_cmpint(call(&wire, FUSE_READ, NULL_DIRECT, &too_much, length), ==, EIO);
        g_test_assert_expected_messages();
    }
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    g_assert_cmpint(call(&wire, FUSE_WRITE, NULL_DIRECT, &too_much, sizeof(too_much)), ==, EIO);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    g_assert_cmpint(call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "no end", 6), ==, EIO);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    send_request(&wire, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
    g_assert_cmpint(call(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), ==, 0);
    g_test_assert_expected_messages();
    wire_close(&wire, 0);
}

static void drop_message(const char *domain, GLogLevelFlags level, const char *text,
                         gpointer opaque)
{
}

static gboolean never_fatal(const char *domain, GLogLevelFlags level, const char *text,
                            gpointer opaque)
{
    return FALSE;
}

/* The longer form of SETXATTR reaches the file system as the older one, with its flag. */
static void test_setxattr_ext(void)
{
    Wire wire;
    Probe probe;
    struct {
        struct fuse_setxattr_in in;
        char rest[12];
    } set = {
        .in = {.size = 5, .flags = 2, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID},
        .rest = "user.a\0value",
    };

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    g_assert_cmpint(call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, sizeof(set)), ==, 0);
    g_assert_cmpstr(probe.xattr, ==, "user.a=value");
    g_assert_cmpint(probe.xattr_flags, ==, 2);
    g_assert_true(probe.acl_kills_sgid);
    set.in.setxattr_flags = 0;
    g_assert_cmpint(call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, sizeof(set)), ==, 0);
    g_assert_false(probe.acl_kills_sgid);
    for (size_t length = 0; length < sizeof(set); length++) {
        g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        g_assert_cmpint(call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, length), ==, EIO);
        g_test_assert_expected_messages();
    }
    wire_close(&wire, 0);
}

/* A supplementary group comes behind the name; what cannot be right is refused or not seen. */
static void test_supplementary_group(void)
{
    Wire wire;
    Probe probe;
    struct {
        struct fuse_in_header header;
        struct fuse_mkdir_in in;
        char name[8];
        struct fuse_ext_header ext;
        uint32_t count, group;
    } request = {
        .header = {.len = sizeof(request),
                   .opcode = FUSE_MKDIR,
                   .nodeid = FUSE_ROOT_ID,
                   .total_extlen = 2},
        .name = "name",
        .ext = {.size = 16, .type = FS_FUSE_EXT_GROUPS},
        .count = 1,
        .group = 3000,
    };
    /* header.total_extlen, ext.size, ext.type, count; the answer; whether a group is seen */
    static const struct {
        uint16_t total;
        uint32_t size, type, count;
        int error;
        bool seen;
    } rows[] = {
        {2, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, true},
        {0, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, 16, FS_FUSE_EXT_GROUPS, 0, EROFS, false},
        {2, 16, 5, 1, EROFS, false},
        {2, 12, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, 7, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, UINT32_MAX, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {1, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {4, 16, FS_FUSE_EXT_GROUPS, 1, EIO, false},
        {UINT16_MAX, 16, FS_FUSE_EXT_GROUPS, 1, EIO, false},
    };

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        request.header.total_extlen = rows[i].total;
        request.header.unique = wire.unique += 2;
        request.ext.size = rows[i].size;
        request.ext.type = rows[i].type;
        request.count = rows[i].count;
        probe.has_group = false;
        if (rows[i].error == EIO) {
            g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        }
        send_raw(&wire, &request, sizeof(request));
        receive(&wire);
        g_test_assert_expected_messages();
        g_assert_cmpint(-wire.header.error, ==, rows[i].error);
        g_assert_cmpint(probe.has_group, ==, rows[i].seen);
        g_assert_true(!rows[i].seen || probe.group == 3000);
    }
    wire_close(&wire, 0);
}

/* Whatever the body, each request gets its one answer. */
static void test_fuzz(void)
{
    Wire wire;
    GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    uint32_t body[1024];

    g_test_log_set_fatal_handler(never_fatal, NULL);
    guint handler =
        g_log_set_handler("sluicefs", G_LOG_LEVEL_WARNING | G_LOG_FLAG_FATAL, drop_message, NULL);
    null_up(&wire, 2);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t opcode = (uint32_t)g_rand_int_range(rand, 1, 60);
        size_t length = (size_t)g_rand_int_range(rand, 0, i % 8 ? 100 : sizeof(body));

        if (opcode == FUSE_INTERRUPT) {
            continue; /* its answers are nobody's; see test_interrupt_* */
        }
        for (size_t j = 0; j < G_N_ELEMENTS(body); j++) {
            body[j] = g_rand_boolean(rand) ? 0 : g_rand_int(rand);
        }
        if (opcode == FUSE_READ || opcode == FUSE_READDIR) {
            body[4] %= 100000; /* fuse_read_in.size: what a socket can carry */
        }
        if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_NOTIFY_REPLY) {
            send_request(&wire, opcode, g_rand_int_range(rand, 0, 8), body, length);
        } else {
            call(&wire, opcode, g_rand_int_range(rand, 0, 8), body, length);
        }
    }
    wire_close(&wire, 0);
    g_log_remove_handler("sluicefs", handler);
    g_rand_free(rand);
}

/* The check itself, on bytes that end where the request ends (for a sanitizer to watch). */
static void test_check_bounds(void)
{
    GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());

    for (unsigned i = 0; i < 200000; i++) {
        size_t length = sizeof(struct fuse_in_header) + (size_t)g_rand_int_range(rand, 0, 120);
        struct fuse_in_header *in = g_malloc0(length);
        char *bytes = (char *)(in + 1);

        in->opcode = (uint32_t)g_rand_int_range(rand, 0, 60);
        for (size_t j = 0; j < length - sizeof(*in); j++) {
            bytes[j] = (char)(g_rand_int_range(rand, 0, 4) ? 0 : g_rand_int(rand));
        }
        fs_check_request(in, length);
        g_free(in);
    }
    g_rand_free(rand);
}

/* --- INTERRUPT ------------------------------------------------------------------------ */

static uint64_t send_interrupt(Wire *wire, uint64_t unique)
{
    const struct {
        struct fuse_in_header header;
        struct fuse_interrupt_in interrupt;
    } message = {
        .header = {.len = sizeof(message),
                   .opcode = FUSE_INTERRUPT,
                   .unique = unique | FS_FUSE_INTERRUPT_BIT},
        .interrupt.unique = unique,
    };
    send_raw(wire, &message, sizeof(message));
    return message.header.unique;
}

/* Processed before its request: the request is interrupted when it comes. */
static void test_interrupt_overtakes(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    send_interrupt(&wire, wire.unique);
    g_assert_cmpint(call(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in)), ==, EINTR);
    wire_close(&wire, 0);
}

/* One whose request is unknown is handed back when the next request comes. */
static void test_interrupt_unknown(void)
{
    Wire wire;
    FsSessionStats stats;

    null_up(&wire, 2);
    uint64_t unique = send_interrupt(&wire, 1000);
    do { /* two workers: let one take it ... */
        g_usleep(1000);
        fs_session_get_stats(wire.session, &stats);
    } while (stats.requests < 2);
    g_usleep(50000); /* ... and pass it on, before the next message */
    uint64_t next = send_request(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
    receive(&wire);
    g_assert_cmpuint(wire.header.unique, ==, unique);
    g_assert_cmpint(wire.header.error, ==, -EAGAIN);
    receive(&wire);
    g_assert_cmpuint(wire.header.unique, ==, next);
    wire_close(&wire, 0);
}

/* Those that are kept to the end are freed (for a leak checker to see). */
static void test_interrupts_kept(void)
{
    Wire wire;

    null_up(&wire, 1);
    for (uint64_t i = 0; i < 10; i++) {
        send_interrupt(&wire, 1000 + 2 * i);
    }
    wire_close(&wire, 0);
}

/* Hung up while a helper waits as for a lock: it is interrupted. */
static void test_hang_up_interrupts(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 2);
    for (unsigned i = 0; i < 4; i++) {
        send_request(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in));
    }
    while (__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST) < 4) {
        g_usleep(1000);
    }
    wire_close(&wire, 0);
    g_assert_cmpint(probe.interrupts, ==, 4);
    g_assert_cmpint(probe.stuck, ==, 0);
}

/* A request that waits for another's progress does not keep it out. */
static void test_waiting_requests_do_not_count(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    for (unsigned i = 0; i < 40; i++) { /* more than there are helpers */
        send_request(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in));
    }
    g_assert_cmpint(call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "setuid", sizeof("setuid")), ==, 0);
    probe_let_go(&probe);
    for (unsigned i = 0; i < 40; i++) {
        receive(&wire);
        g_assert_cmpint(wire.header.error, ==, -EBUSY);
    }
    wire_close(&wire, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_log_set_handler("sluicefs", G_LOG_LEVEL_MESSAGE, drop_message, NULL); /* no clones here */
    null_userdata = fs_null_new();

    g_test_add_func("/wire/init", test_init_answer);
    g_test_add_func("/wire/init-too-old", test_init_too_old);
    g_test_add_func("/wire/init-newer-major", test_init_newer_major);
    g_test_add_func("/wire/no-init", test_no_init);
    g_test_add_func("/wire/D17-operations", test_operations);
    g_test_add_func("/wire/silent-requests", test_silent_requests);
    g_test_add_func("/wire/D13-broken-header", test_broken_header);
    g_test_add_func("/wire/D16-short-requests", test_short_requests);
    g_test_add_func("/wire/setxattr-ext", test_setxattr_ext);
    g_test_add_func("/wire/supplementary-group", test_supplementary_group);
    g_test_add_func("/wire/D16-fuzz", test_fuzz);
    g_test_add_func("/wire/D16-check-bounds", test_check_bounds);
    g_test_add_func("/wire/interrupt-overtakes", test_interrupt_overtakes);
    g_test_add_func("/wire/interrupt-unknown", test_interrupt_unknown);
    g_test_add_func("/wire/interrupts-kept", test_interrupts_kept);
    g_test_add_func("/wire/hang-up-interrupts", test_hang_up_interrupts);
    g_test_add_func("/wire/waiting-requests-do-not-count", test_waiting_requests_do_not_count);

    int status = g_test_run();
    fs_null_free(null_userdata);
    return status;
}
