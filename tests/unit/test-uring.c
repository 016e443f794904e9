/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FUSE over io_uring against the real kernel (fs/transport/uring.c), without a
 * session: the test mounts, answers INIT and every request itself, so that it
 * can do what no session does, such as registering too little.
 */
#include "fs/transport/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "aio/buffer.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/request-internal.h"
#include "fs/transport/queues.h"
#include "mount-util.h"
#include "util.h"

/** What the kernel demands for the smallest max_write. */
#define PAYLOAD ((size_t)8192)
/** A payload that counts as large; a mount is allowed one. */
#define LARGE (2 * AIO_BUFFER_RESIDENT)

/* FILE CPU: errno of stat(2) from that CPU. */
static int client_stat(char **args)
{
    struct stat attr;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((unsigned)atoi(args[1]), &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
        return 255;
    }
    test_client_started();
    return stat(args[0], &attr) == 0 ? 0 : errno;
}

static const TestClient clients[] = {
    {"stat", client_stat},
    {NULL, NULL},
};

/* --- a mount, and both ways that its requests may come ------------------------- */

typedef struct Mount {
    char *path; /* of the mountpoint */
    int fd;     /* of the device */
    AioContext *ctx;
    FsTransport *uring;
    FsUringMemory *memory;
    unsigned room;               /* requests that may be taken */
    bool hold;                   /* requests are kept unanswered */
    GPtrArray *held;             /* of FsRequest */
    size_t body_size;            /* of answers, to be wrong; 0: as it should be */
    unsigned by_ring, by_device; /* requests other than INIT */
    bool cut;                    /* and unmounted */
    unsigned refusals, breakages;
    int error; /* errno of the last of both */
} Mount;

/* The root, which is a regular file; nothing else exists. */
static int32_t answer_body(const struct fuse_in_header *in, struct fuse_attr_out *out)
{
    *out = (struct fuse_attr_out){.attr = {.ino = 1, .mode = S_IFREG | 0644, .nlink = 1}};
    return in->opcode == FUSE_GETATTR ? 0 : -ENOSYS;
}

static void answer(Mount *mount, FsRequest *request)
{
    static char excess[LARGE];
    struct fuse_attr_out body;
    struct fuse_in_header in;

    memcpy(&in, request->start, sizeof(in));
    struct fuse_out_header out = {.unique = in.unique, .error = answer_body(&in, &body)};
    size_t size = out.error != 0 ? 0 : sizeof(body);
    struct iovec iov[] = {{&out, sizeof(out)}, {&body, size}};
    if (mount->body_size != 0) {
        iov[1] = (struct iovec){excess, mount->body_size};
    }
    out.len = (uint32_t)(sizeof(out) + iov[1].iov_len);
    request->transport->ops->reply(request->transport, request, iov, 2);
    request->transport->ops->recycle(request->transport, request);
    mount->room++;
    g_free(request);
}

static FsRequest *take(void *opaque)
{
    Mount *mount = opaque;

    if (mount->room == 0) {
        return NULL;
    }
    mount->room--;
    FsRequest *request = g_new0(FsRequest, 1);
    request->holds = 100; /* no worker will take it back */
    return request;
}

static void received(FsRequest *request, void *opaque)
{
    Mount *mount = opaque;

    mount->by_ring++;
    if (mount->hold) {
        g_ptr_array_add(mount->held, request);
    } else {
        answer(mount, request);
    }
}

static void refused(int error, void *opaque)
{
    Mount *mount = opaque;
    mount->refusals++;
    mount->error = error;
}

static void broken(int error, void *opaque)
{
    Mount *mount = opaque;
    mount->breakages++;
    mount->error = error;
}

/* Read a request from the device, if there is one, and answer it. */
static void serve_device(Mount *mount)
{
    _Alignas(struct fuse_in_header) char buf[PAYLOAD + 4096];
    const struct fuse_in_header *in = (const void *)buf;
    struct fuse_attr_out body;

    if (read(mount->fd, buf, sizeof(buf)) < (ssize_t)sizeof(*in)) {
        return;
    }
    if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET ||
        in->opcode == FUSE_INTERRUPT) {
        return;
    }
    mount->by_device++;
    struct fuse_out_header out = {.unique = in->unique, .error = answer_body(in, &body)};
    struct iovec iov[] = {{&out, sizeof(out)}, {&body, out.error != 0 ? 0 : sizeof(body)}};
    out.len = (uint32_t)(iov[0].iov_len + iov[1].iov_len);
    g_assert_cmpint(writev(mount->fd, iov, 2), ==, (ssize_t)out.len);
}

static void turn(Mount *mount)
{
    aio_context_poll(mount->ctx, false);
    g_main_context_iteration(NULL, FALSE);
    serve_device(mount);
    usleep(500);
}

#define until(mount, condition)                                                                    \
    do {                                                                                           \
        while (!(condition)) {                                                                     \
            turn(mount);                                                                           \
        }                                                                                          \
    } while (0)

static void answer_init(int fd)
{
    _Alignas(struct fuse_in_header) char buf[PAYLOAD];
    const struct fuse_in_header *in = (const void *)buf;
    const struct fuse_init_in *init = (const void *)(in + 1);

    g_assert_cmpint(read(fd, buf, sizeof(buf)), >=, (ssize_t)(sizeof(*in) + sizeof(*init)));
    g_assert_cmpuint(in->opcode, ==, FUSE_INIT);
    const uint64_t offered = init->flags | (uint64_t)init->flags2 << 32;
    g_assert_cmpuint(offered & FS_FUSE_OVER_IO_URING, !=, 0);
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } out = {
        .header = {.len = sizeof(out), .unique = in->unique},
        .init = {.major = 7,
                 .minor = MIN(init->minor, FS_FUSE_MINOR),
                 .flags = FUSE_INIT_EXT | FUSE_MAX_PAGES,
                 .flags2 = (uint32_t)(FS_FUSE_OVER_IO_URING >> 32),
                 .max_background = 16,
                 .max_write = 4096,
                 .max_pages = 1},
    };
    g_assert_cmpint(write(fd, &out, sizeof(out)), ==, (ssize_t)sizeof(out));
}

static int mount_fuse(const char *path, const char *options)
{
    return mount("test", path, "fuse", 0, options);
}

static const FsTransportEvents events = {.take = take, .received = received};

static FsTransport *new_transport(Mount *mount)
{
    const FsUringParams params = {
        .ctx = mount->ctx,
        .events = &events,
        .memory = mount->memory,
        .refused = refused,
        .broken = broken,
        .opaque = mount,
    };
    GError *error = NULL;
    FsTransport *transport = fs_uring_new(&params, &error);

    g_assert_no_error(error);
    return transport;
}

static void mount_up(Mount *mount)
{
    AioContextParams context;
    TestFuseUring held;
    GError *error = NULL;

    *mount = (Mount){.room = 100, .held = g_ptr_array_new()};
    int file = g_file_open_tmp("sluice uring XXXXXX", &mount->path, &error);
    g_assert_no_error(error);
    close(file);
    mount->fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    g_assert_cmpint(mount->fd, >=, 0);
    g_autofree char *options =
        g_strdup_printf("fd=%d,rootmode=100000,user_id=0,group_id=0", mount->fd);
    g_assert_true(test_fuse_uring_hold(&held, true));
    g_assert_cmpint(mount_fuse(mount->path, options), ==, 0);
    answer_init(mount->fd);
    test_fuse_uring_release(&held);
    alarm(60);

    aio_context_params_init(&context);
    context.monitor = AIO_MONITOR_URING;
    context.ring.flags = AIO_RING_TRY_SQE128;
    mount->ctx = aio_context_new(&context, &error);
    g_assert_no_error(error);
    mount->memory = fs_uring_memory_new(LARGE);
    mount->uring = new_transport(mount);
}

/* Register the queues below @queue_count for @payload bytes, @depth entries each. */
static void begin(Mount *mount, unsigned queue_count, unsigned depth, size_t payload)
{
    g_autofree unsigned *queues = g_new(unsigned, queue_count);

    for (unsigned i = 0; i < queue_count; i++) {
        queues[i] = i;
    }
    const FsUringBegin params = {
        .device_fd = mount->fd,
        .device_slot = -1,
        .queues = queues,
        .queue_count = queue_count,
        .depth = depth,
        .payload_size = payload,
    };
    fs_uring_begin(mount->uring, &params);
}

static void mount_down(Mount *mount)
{
    if (!mount->cut) {
        g_assert_cmpint(umount2(mount->path, MNT_DETACH), ==, 0);
    }
    mount->uring->ops->free(mount->uring);
    aio_context_free(mount->ctx);
    fs_uring_release(mount->uring);
    fs_uring_memory_free(mount->memory);
    close(mount->fd);
    alarm(0);
    g_assert_cmpuint(mount->held->len, ==, 0);
    g_ptr_array_unref(mount->held);
    g_assert_cmpint(unlink(mount->path), ==, 0);
    g_free(mount->path);
}

static TestProcess *start_stat(Mount *mount, unsigned cpu)
{
    g_autofree char *number = g_strdup_printf("%u", cpu);
    return test_client_start("stat", mount->path, number, NULL);
}

/* errno of stat(2) by a client on @cpu. */
static int run_stat(Mount *mount, unsigned cpu)
{
    TestProcess *process = start_stat(mount, cpu);

    until(mount, process->done);
    return test_client_join(process);
}

static uint64_t fetched(Mount *mount)
{
    FsTransportStats stats;

    mount->uring->ops->get_stats(mount->uring, &stats);
    return stats.fetched;
}

/* --- tests ----------------------------------------------------------------------- */

static void test_serves(void)
{
    Mount mount;

    mount_up(&mount);
    begin(&mount, fs_queues_count(), 2, PAYLOAD);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(run_stat(&mount, i % (unsigned)sysconf(_SC_NPROCESSORS_ONLN)), ==, 0);
    }
    g_assert_cmpuint(mount.by_ring, >=, 20);
    g_assert_cmpuint(fetched(&mount), ==, mount.by_ring);
    g_assert_cmpuint(mount.by_device, ==, 0);
    g_assert_cmpuint(mount.refusals + mount.breakages, ==, 0);
    mount_down(&mount);
}

/* A payload that the kernel refuses: the device serves, also what waits already. */
static void test_short_payload(void)
{
    Mount mount;

    mount_up(&mount);
    TestProcess *early = start_stat(&mount, 0);
    test_client_wait_started(early);
    begin(&mount, fs_queues_count(), 2, PAYLOAD / 2);
    until(&mount, early->done);
    g_assert_cmpint(test_client_join(early), ==, 0);
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    g_assert_cmpuint(mount.refusals, ==, 1);
    g_assert_cmpint(mount.error, ==, EINVAL);
    g_assert_cmpuint(mount.by_ring, ==, 0);
    g_assert_cmpuint(mount.by_device, >=, 2);
    mount_down(&mount);
}

/* One queue has no entry: nothing is served, and nothing is lost once it has one. */
static void test_missing_queue(void)
{
    const unsigned queues = fs_queues_count();
    Mount mount;

    if (queues < 2) {
        g_test_skip("needs two possible CPUs");
        return;
    }
    mount_up(&mount);
    begin(&mount, queues - 1, 1, PAYLOAD);
    TestProcess *process = start_stat(&mount, 0);
    test_client_wait_started(process);
    for (unsigned i = 0; i < 100; i++) {
        turn(&mount);
    }
    g_assert_cmpuint(mount.by_ring + mount.by_device, ==, 0);
    g_assert_false(process->done);

    FsTransport *second = new_transport(&mount);
    const unsigned last = queues - 1;
    const FsUringBegin params = {
        .device_fd = mount.fd,
        .device_slot = -1,
        .queues = &last,
        .queue_count = 1,
        .depth = 1,
        .payload_size = PAYLOAD,
    };
    fs_uring_begin(second, &params);
    until(&mount, process->done);
    g_assert_cmpint(test_client_join(process), ==, 0);
    g_assert_cmpuint(mount.by_ring, >=, 1);
    g_assert_cmpint(run_stat(&mount, last), ==, 0);
    g_assert_cmpuint(mount.by_device, ==, 0);
    second->ops->free(second);
    mount_down(&mount);
    fs_uring_release(second);
}

/* A queue that the kernel does not have: refused, the device serves. */
static void test_queue_too_many(void)
{
    Mount mount;

    mount_up(&mount);
    const unsigned nowhere = fs_queues_count();
    const FsUringBegin params = {
        .device_fd = mount.fd,
        .device_slot = -1,
        .queues = &nowhere,
        .queue_count = 1,
        .depth = 1,
        .payload_size = PAYLOAD,
    };
    fs_uring_begin(mount.uring, &params);
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    g_assert_cmpuint(mount.refusals, ==, 1);
    g_assert_cmpint(mount.error, ==, EINVAL);
    g_assert_cmpuint(mount.by_device, >=, 1);
    mount_down(&mount);
}

/* Requests that wait hold every entry of a queue: it gets more, as many as it takes. */
static void test_waiting_requests(void)
{
    TestProcess *waiting[8];
    Mount mount;

    mount_up(&mount);
    begin(&mount, fs_queues_count(), 1, PAYLOAD);
    mount.hold = true;
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        waiting[i] = start_stat(&mount, 0);
        until(&mount, mount.held->len > i);
    }
    mount.hold = false;
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        g_assert_false(waiting[i]->done);
        answer(&mount, g_ptr_array_index(mount.held, i));
    }
    g_ptr_array_set_size(mount.held, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        until(&mount, waiting[i]->done);
        g_assert_cmpint(test_client_join(waiting[i]), ==, 0);
    }
    g_assert_cmpuint(mount.refusals + mount.breakages + mount.by_device, ==, 0);
    mount_down(&mount);
}

/* A worker that may take no more keeps what came, in order, until it may. */
static void test_no_room(void)
{
    TestProcess *processes[4];
    Mount mount;

    mount_up(&mount);
    begin(&mount, fs_queues_count(), 4, PAYLOAD);
    mount.room = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(processes); i++) {
        processes[i] = start_stat(&mount, 0);
        test_client_wait_started(processes[i]);
    }
    for (unsigned i = 0; i < 20; i++) {
        turn(&mount);
        mount.uring->ops->resume(mount.uring);
    }
    g_assert_cmpuint(mount.by_ring, ==, 0);
    mount.room = 1;
    for (size_t i = 0; i < G_N_ELEMENTS(processes); i++) {
        while (!processes[i]->done) {
            mount.uring->ops->resume(mount.uring);
            turn(&mount);
        }
        g_assert_cmpint(test_client_join(processes[i]), ==, 0);
    }
    mount_down(&mount);
}

/* An answer that does not fit is an error, for that request alone. */
static void test_answer_too_long(void)
{
    Mount mount;

    mount_up(&mount);
    begin(&mount, fs_queues_count(), 1, PAYLOAD);
    mount.body_size = PAYLOAD + 1;
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*too long*");
    g_assert_cmpint(run_stat(&mount, 0), ==, EIO);
    g_test_assert_expected_messages();
    mount.body_size = 0;
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    mount_down(&mount);
}

/* Have a large answer pass an entry of @cpu's queue; the kernel refuses its length. */
static void touch_entry(Mount *mount, unsigned cpu)
{
    mount->body_size = LARGE;
    g_assert_cmpint(run_stat(mount, cpu), !=, 0);
    mount->body_size = 0;
}

/* Entries of all workers together hold what is allowed, and idle ones nothing large. */
static void test_memory(void)
{
    Mount mount;

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        g_test_skip("needs two CPUs");
        return;
    }
    mount_up(&mount);
    begin(&mount, 1, 2, LARGE);
    FsTransport *second = new_transport(&mount);
    g_autofree unsigned *others = g_new(unsigned, fs_queues_count());
    for (unsigned i = 1; i < fs_queues_count(); i++) {
        others[i - 1] = i;
    }
    const FsUringBegin params = {
        .device_fd = mount.fd,
        .device_slot = -1,
        .queues = others,
        .queue_count = fs_queues_count() - 1,
        .depth = 2,
        .payload_size = LARGE,
    };
    fs_uring_begin(second, &params);

    /* what is allowed stays */
    touch_entry(&mount, 0);
    for (unsigned i = 0; i < 20; i++) {
        turn(&mount);
    }
    g_assert_cmpuint(fs_uring_memory_held(mount.memory), ==, LARGE);
    /* another worker needs it: the first gives it back */
    touch_entry(&mount, 1);
    until(&mount, fs_uring_memory_held(mount.memory) <= LARGE);
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    g_assert_cmpint(run_stat(&mount, 1), ==, 0);
    /* and again, the other way round */
    touch_entry(&mount, 0);
    until(&mount, fs_uring_memory_held(mount.memory) <= LARGE);
    /* a request that is held keeps it, whoever asks */
    mount.hold = true;
    TestProcess *process = start_stat(&mount, 0);
    until(&mount, mount.held->len > 0);
    mount.hold = false;
    second->ops->idle(second);
    mount.uring->ops->idle(mount.uring);
    answer(&mount, g_ptr_array_index(mount.held, 0));
    g_ptr_array_set_size(mount.held, 0);
    until(&mount, process->done);
    g_assert_cmpint(test_client_join(process), ==, 0);
    /* idle workers keep nothing large */
    second->ops->idle(second);
    mount.uring->ops->idle(mount.uring);
    until(&mount, fs_uring_memory_held(mount.memory) == 0);
    g_assert_cmpint(run_stat(&mount, 0), ==, 0);
    second->ops->free(second);
    mount_down(&mount);
    fs_uring_release(second);
}

/* The connection is cut while requests are held: entries come back, answers go nowhere. */
static void test_abort(void)
{
    Mount mount;

    mount_up(&mount);
    begin(&mount, fs_queues_count(), 4, PAYLOAD);
    mount.hold = true;
    TestProcess *process = start_stat(&mount, 0);
    until(&mount, mount.held->len > 0);
    g_assert_cmpint(umount2(mount.path, MNT_FORCE | MNT_DETACH), ==, 0);
    mount.cut = true;
    until(&mount, process->done);
    g_assert_cmpint(test_client_join(process), ==, ECONNABORTED);
    for (unsigned i = 0; i < mount.held->len; i++) {
        answer(&mount, g_ptr_array_index(mount.held, i));
    }
    g_ptr_array_set_size(mount.held, 0);
    for (unsigned i = 0; i < 20; i++) {
        turn(&mount);
    }
    g_assert_cmpuint(mount.refusals + mount.breakages, ==, 0);
    mount_down(&mount);
}

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/uring/serves", test_serves);
    g_test_add_func("/uring/short-payload", test_short_payload);
    g_test_add_func("/uring/missing-queue", test_missing_queue);
    g_test_add_func("/uring/queue-too-many", test_queue_too_many);
    g_test_add_func("/uring/waiting-requests", test_waiting_requests);
    g_test_add_func("/uring/no-room", test_no_room);
    g_test_add_func("/uring/answer-too-long", test_answer_too_long);
    g_test_add_func("/uring/memory", test_memory);
    g_test_add_func("/uring/abort", test_abort);
    return g_test_run();
}
