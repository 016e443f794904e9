/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An INTERRUPT that overtakes its request, which comes by io_uring
 * (fs/session/interrupt.c). Two workers: one is held while the request lies in
 * its ring, the other reads the INTERRUPT.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/ring.h"
#include "fs/session/session-internal.h"
#include "fs/transport/uring-internal.h"
#include "mount-util.h"
#include "probe-fs.h"

/** How long to wait for what need not happen. */
#define PATIENCE_TURNS 100
/** How long to wait for what must happen, in milliseconds. */
#define LIMIT_TURNS 100000

static bool go_to_cpu(unsigned cpu)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return sched_setaffinity(0, sizeof(cpus), &cpus) == 0;
}

static void ignore_signal(int signal_number)
{
}

/* FILE: open it; when let go read a byte of it from CPU 1. errno of the read. */
static int client_read_later(char **args)
{
    const struct sigaction action = {.sa_handler = ignore_signal};
    char byte;
    int fd = open(args[0], O_RDONLY);

    if (fd < 0) {
        return 255;
    }
    sigaction(SIGUSR1, &action, NULL);
    test_client_started();
    test_client_wait_released();
    if (!go_to_cpu(1)) {
        return 254;
    }
    return read(fd, &byte, 1) < 0 ? errno : 0;
}

/* FILE: look at its attributes from CPU 0. */
static int client_look(char **args)
{
    return go_to_cpu(0) && access(args[0], F_OK) == 0 ? 0 : errno;
}

static const TestClient clients[] = {
    {"look", client_look},
    {"read-later", client_read_later},
    {NULL, NULL},
};

/* --- a worker that is held with a request in its ring ---------------------------- */

typedef struct Held {
    FsWorker *worker;
    sem_t begun, filled, leave;
    bool has_read;
} Held;

/* Whether the kernel has copied a READ into an entry. */
static bool has_read(FsTransport *transport)
{
    const FsUring *uring = aio_container_of(transport, FsUring, base);

    for (const FsUringEntry *entry = uring->entries; entry != NULL; entry = entry->next) {
        const struct fuse_in_header *in = (const void *)entry->header->in_out;
        if (entry->state == FS_URING_IN_KERNEL && in->opcode == FUSE_READ) {
            return true; /* an answer has an error or 0 in that place */
        }
    }
    return false;
}

/* The kernel copies requests into entries while this takes completions; none is handled. */
static void hold(void *opaque)
{
    Held *held = opaque;
    AioRing *ring = aio_context_ring(held->worker->ctx);

    sem_post(&held->begun);
    for (unsigned i = 0; i < LIMIT_TURNS && !held->has_read; i++) {
        held->has_read = has_read(held->worker->uring);
        if (!held->has_read) {
            g_usleep(1000);
            aio_ring_reap(ring, 0);
        }
    }
    sem_post(&held->filled);
    sem_wait(&held->leave);
}

static uint64_t received(FsWorker *worker)
{
    return atomic_load(&worker->received);
}

static void interrupt_one(TestMount *mount, const char *path)
{
    FsWorker *workers = mount->session->workers;
    Held held = {.worker = &workers[1]};

    sem_init(&held.begun, 0, 0);
    sem_init(&held.filled, 0, 0);
    sem_init(&held.leave, 0, 0);
    TestProcess *reader = test_client_start("read-later", path, NULL);
    test_client_wait_started(reader);
    aio_bh_call_once(workers[1].ctx, hold, &held);
    sem_wait(&held.begun);
    test_client_release(reader);
    sem_wait(&held.filled);
    g_assert_true(held.has_read);

    const uint64_t before = received(&workers[0]);
    g_assert_cmpint(kill(reader->pid, SIGUSR1), ==, 0);
    /* either worker may get the INTERRUPT, the held one later */
    for (unsigned i = 0; i < PATIENCE_TURNS && received(&workers[0]) == before; i++) {
        g_usleep(1000);
    }
    g_test_message("the INTERRUPT overtakes: %s", received(&workers[0]) == before ? "no" : "yes");
    g_assert_cmpint(test_client_run("look", path), ==, 0); /* libfuse keeps none beyond this */
    sem_post(&held.leave);
    g_assert_cmpint(test_client_join(reader), ==, EINTR);
    sem_destroy(&held.begun);
    sem_destroy(&held.filled);
    sem_destroy(&held.leave);
}

static void test_overtakes(void)
{
    FsSessionParams params;
    TestMount mount;
    Probe probe;
    cpu_set_t allowed;

    g_assert_cmpint(sched_getaffinity(0, sizeof(allowed), &allowed), ==, 0);
    if (!CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed)) {
        g_test_skip("needs the CPUs 0 and 1");
        return;
    }
    probe_init(&probe);
    test_mount_params(&params, &probe_filesystem, &probe);
    params.threads = 2;
    test_mount_up(&mount, &params);
    g_autofree char *path = test_mount_path(&mount, "stuck");
    for (unsigned i = 0; i < 10; i++) {
        interrupt_one(&mount, path);
    }
    g_assert_cmpint(__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST), ==, 0);
    test_mount_down(&mount);
}

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/uring-interrupt/overtakes", test_overtakes);
    return g_test_run();
}
