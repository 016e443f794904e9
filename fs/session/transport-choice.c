/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether requests come over io_uring, or by the device alone, and why.
 *
 * How it works: use_uring is true from the beginning where io_uring was asked
 * for, and is made false, once, by the first thing that is against it:
 *
 *   start     the number of queues is unknown, or a worker has no fitting ring
 *   INIT      the kernel does not offer it
 *   serving   the kernel refuses to register an entry
 *
 * Up to INIT's answer nothing has been asked of the kernel, so nothing has to
 * be undone. A kernel that refuses turns to the device by itself. Either way
 * the device, which every worker reads in any case, serves alone.
 *
 * Once it has been accepted in INIT's answer, every worker must register its
 * queues: requests wait until all have an entry. So use_uring is looked at
 * before that answer and never between it and the registration.
 */
#include "fs/session/transport-choice.h"

#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

#include "fs/session/kernel-abi.h"
#include "fs/transport/device.h"
#include "fs/transport/queues.h"
#include "fs/transport/uring.h"

#define FUSE_PARAMETER "/sys/module/fuse/parameters/enable_uring"
/** The kernel's FUSE_MIN_READ_BUFFER: the least payload it takes. */
#define LEAST_PAYLOAD 8192u

/** Not over io_uring, for this reason. Any thread; the first reason counts. */
static void give_up(FsSession *session, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void give_up(FsSession *session, const char *format, ...)
{
    if (!atomic_exchange(&session->use_uring, false)) {
        return;
    }
    va_list values;
    va_start(values, format);
    char *reason = g_strdup_vprintf(format, values);
    va_end(values);

    g_mutex_lock(&session->transport_lock);
    session->transport_reason = reason;
    g_log(G_LOG_DOMAIN,
          session->params.transport == FS_TRANSPORT_URING ? G_LOG_LEVEL_MESSAGE : G_LOG_LEVEL_DEBUG,
          "requests come by the device, not over io_uring: %s", reason);
    g_mutex_unlock(&session->transport_lock);
}

static bool is_switched_on(void)
{
    g_autofree char *parameter = NULL;

    return g_file_get_contents(FUSE_PARAMETER, &parameter, NULL, NULL) && parameter[0] == 'Y';
}

static bool is_placed(const FsSession *session)
{
    const AioPollParams *poll = &session->params.context.poll;

    /* who polls in any case has a CPU for it, and would take the time of those whom it waits for */
    return poll->max_ns <= 0 || !poll->insist;
}

/** One for each CPU where each can be on its own, otherwise half as many. */
static unsigned default_workers(const FsSession *session)
{
    const unsigned cpus = g_get_num_processors(); /* that we may run on */
    const bool one_each =
        atomic_load(&session->use_uring) && is_switched_on() && is_placed(session);

    return CLAMP(one_each ? cpus : cpus / 2, 1, FS_SESSION_MOST_WORKERS);
}

/** Once for all workers: each queue must have one of them, whatever becomes of their CPUs. */
static void order_queues(FsSession *session)
{
    const size_t size = CPU_ALLOC_SIZE(session->queue_count);
    cpu_set_t *allowed = CPU_ALLOC(session->queue_count);
    const bool known = allowed != NULL && sched_getaffinity(0, size, allowed) == 0;

    session->queue_order = g_new(unsigned, session->queue_count);
    fs_queues_order(session->queue_order, session->queue_count, known ? allowed : NULL, size);
    if (allowed != NULL) {
        CPU_FREE(allowed);
    }
}

void fs_choice_init(FsSession *session)
{
    g_mutex_init(&session->transport_lock);
    if (session->params.transport != FS_TRANSPORT_DEVICE) {
        atomic_store(&session->use_uring, true);
        session->queue_count = fs_queues_count();
        if (session->queue_count == 0) {
            give_up(session, "the number of possible CPUs is not known");
        } else {
            order_queues(session);
        }
    }
    if (session->params.threads == 0) {
        session->params.threads = default_workers(session);
    }
}

void fs_choice_fini(FsSession *session)
{
    g_clear_pointer(&session->transport_reason, g_free);
    g_clear_pointer(&session->queue_order, g_free);
    g_mutex_clear(&session->transport_lock);
}

FsTransportChoice fs_session_get_transport(FsSession *session, char **reason)
{
    g_mutex_lock(&session->transport_lock);
    *reason = g_strdup(session->transport_reason);
    g_mutex_unlock(&session->transport_lock);
    return atomic_load(&session->use_uring) ? FS_TRANSPORT_URING : FS_TRANSPORT_DEVICE;
}

/* --- what the transport reports ------------------------------------------------ */

static void refused(int error, void *opaque)
{
    const FsWorker *worker = opaque;

    give_up(worker->session, "the kernel refused to register an entry: %s", g_strerror(error));
}

static void broken(int error, void *opaque)
{
    const FsWorker *worker = opaque;

    g_critical("the kernel refused an answer over io_uring: %s; cutting the connection",
               g_strerror(error));
    fs_session_post(worker->session, FS_EVENT_BROKEN);
}

/* --- the steps ------------------------------------------------------------------- */

void fs_choice_open(FsWorker *worker)
{
    FsSession *session = worker->session;
    g_autoptr(GError) error = NULL;
    const FsUringParams params = {
        .ctx = worker->ctx,
        .events = &fs_worker_events,
        .memory = session->uring_memory,
        .refused = refused,
        .broken = broken,
        .opaque = worker,
    };

    if (!atomic_load(&session->use_uring)) {
        return;
    }
    worker->uring = fs_uring_new(&params, &error);
    if (worker->uring == NULL) {
        give_up(session, "%s", error->message);
    }
}

uint64_t fs_choice_init_flags(FsSession *session)
{
    return atomic_load(&session->use_uring) ? FS_FUSE_OVER_IO_URING : 0;
}

/** Why the kernel does not offer it. */
static const char *why_not_offered(void)
{
    g_autofree char *parameter = NULL;

    if (!g_file_get_contents(FUSE_PARAMETER, &parameter, NULL, NULL)) {
        return "this kernel does not have it (Linux 6.14)";
    }
    return parameter[0] == 'N' ? "it is switched off, turn it on by 'echo Y >" FUSE_PARAMETER "'"
                               : "the kernel did not offer it";
}

void fs_choice_settle(FsSession *session)
{
    if (!(session->init.flags & FS_FUSE_OVER_IO_URING)) {
        give_up(session, "%s", why_not_offered());
    }
}

void fs_choice_begin(FsWorker *worker)
{
    FsSession *session = worker->session;
    const FsInitResult *init = &session->init;

    if (!(init->flags & FS_FUSE_OVER_IO_URING)) {
        if (is_placed(session)) {
            fs_device_follow(worker->transport);
        }
        return;
    }
    g_autofree unsigned *queues = g_new(unsigned, session->queue_count);
    unsigned count = 0;
    for (unsigned i = 0; i < session->queue_count; i++) {
        if (fs_queues_serves(worker->index, session->worker_count, i, session->queue_count)) {
            queues[count++] = session->queue_order[i];
        }
    }
    const size_t pages = (size_t)init->max_pages * (size_t)sysconf(_SC_PAGESIZE);
    FsUringBegin begin = {
        .queues = queues,
        .queue_count = count,
        .depth = session->params.uring_depth,
        .all_queues = is_placed(session) ? session->queue_count : 0,
        .payload_size = MAX(MAX(LEAST_PAYLOAD, init->max_write), pages),
    };
    begin.device_fd = fs_device_fd(worker->transport, &begin.device_slot);
    fs_uring_begin(worker->uring, &begin);
}
