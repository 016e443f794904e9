/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creating a ring, finding out what the kernel offers, registrations.
 *
 * Flags are probed from the best set downwards; EINVAL means "this kernel does
 * not know one of them", every other error is final and reported.
 */
#include "aio/error.h"
#include "aio/ring-internal.h"

#include <errno.h>
#include <string.h>

#define RING_ENTRIES_DEFAULT   128
#define RING_CQ_FACTOR_DEFAULT 8

/* Newer than liburing 2.3's header on some systems; values from the kernel ABI. */
#define RING_COMMON (IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE)

static const unsigned flag_sets_interrupt[] = {
    RING_COMMON | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    RING_COMMON | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    RING_COMMON | IORING_SETUP_SUBMIT_ALL,
    RING_COMMON,
};

/*
 * For a ring whose descriptor is polled: deferred work raises the task-run flag
 * but wakes nobody who polls (measured on 6.18). A registered eventfd is no way
 * out, because a signal that comes from within the wake-up of another eventfd
 * is delivered once and then lost. Other work wakes the sleeping thread, which
 * runs it and posts the completion.
 */
static const unsigned flag_sets_pollable[] = {
    RING_COMMON | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    RING_COMMON | IORING_SETUP_SUBMIT_ALL,
    RING_COMMON,
};

static const unsigned flag_sets_special[] = {
    RING_COMMON | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER,
    RING_COMMON | IORING_SETUP_SUBMIT_ALL,
    RING_COMMON,
};

/* Timeouts by the enter call (5.11), completions never dropped (5.5). */
#define RING_FEATURES_NEEDED (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL)

/*
 * The thread sanitizer does not see liburing's mmap(2): to it, a ring that lies
 * where another thread had one before is the same memory, written without order.
 * So the end of a ring is ordered before the beginning of the next.
 */
#if defined(__SANITIZE_THREAD__)
#define AIO_RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AIO_RING_TSAN 1
#endif
#endif
#ifdef AIO_RING_TSAN
#include <sanitizer/tsan_interface.h>

static const char mappings; /* only its address matters */

#define order_after_last_unmap() __tsan_acquire((void *)(uintptr_t)&mappings)
#define order_before_next_map()  __tsan_release((void *)(uintptr_t)&mappings)
#else
#define order_after_last_unmap() ((void)0)
#define order_before_next_map()  ((void)0)
#endif

void aio_ring_queue_exit(struct io_uring *uring)
{
    order_before_next_map();
    io_uring_queue_exit(uring);
}

/* With @more setup flags. */
static int ring_init_with(struct io_uring *uring, const AioRingParams *params, unsigned more,
                          struct io_uring_params *setup)
{
    unsigned entries = params->entries ? params->entries : RING_ENTRIES_DEFAULT;
    unsigned cq_entries =
        params->cq_entries ? params->cq_entries : entries * RING_CQ_FACTOR_DEFAULT;
    bool special = params->flags & (AIO_RING_SQPOLL | AIO_RING_IOPOLL);
    const unsigned *sets = flag_sets_interrupt;
    size_t n_sets = G_N_ELEMENTS(flag_sets_interrupt);
    int ret = -EINVAL;

    if (special) {
        sets = flag_sets_special;
        n_sets = G_N_ELEMENTS(flag_sets_special);
    } else if (params->flags & AIO_RING_POLLABLE) {
        sets = flag_sets_pollable;
        n_sets = G_N_ELEMENTS(flag_sets_pollable);
    }

    for (size_t i = 0; i < n_sets && ret == -EINVAL; i++) {
        memset(setup, 0, sizeof(*setup));
        setup->flags = sets[i] | more;
        setup->cq_entries = cq_entries;
        if (params->flags & AIO_RING_SQPOLL) {
            setup->flags |= IORING_SETUP_SQPOLL;
            setup->sq_thread_idle = params->sqpoll_idle_ms;
        }
        if (params->flags & AIO_RING_IOPOLL) {
            setup->flags |= IORING_SETUP_IOPOLL;
        }
        ret = io_uring_queue_init_params(entries, uring, setup);
    }
    order_after_last_unmap();
    return ret;
}

static int ring_init(struct io_uring *uring, const AioRingParams *params,
                     struct io_uring_params *setup)
{
    int ret = -EINVAL;

    if (params->flags & (AIO_RING_SQE128 | AIO_RING_TRY_SQE128)) {
        ret = ring_init_with(uring, params, IORING_SETUP_SQE128, setup);
    }
    if (ret == -EINVAL && !(params->flags & AIO_RING_SQE128)) {
        ret = ring_init_with(uring, params, 0, setup);
    }
    return ret;
}

static const char *ring_error_hint(int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return " (disabled by kernel.io_uring_disabled or a seccomp filter)";
    case ENOSYS:
        return " (this kernel has no io_uring)";
    case ENOMEM:
        return " (raise the memlock limit)";
    case EMFILE:
    case ENFILE:
        return " (raise the open-files limit)";
    default:
        return "";
    }
}

static uint64_t ring_probe_opcodes(struct io_uring *uring, unsigned *last)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
    uint64_t opcodes = 0;

    *last = 0;
    if (probe) {
        *last = probe->last_op;
        for (unsigned op = 0; op < 64 && op <= probe->last_op; op++) {
            if (io_uring_opcode_supported(probe, (int)op)) {
                opcodes |= UINT64_C(1) << op;
            }
        }
        io_uring_free_probe(probe);
    }
    return opcodes;
}

AioRing *aio_ring_new(const AioRingParams *params, GError **error)
{
    struct io_uring_params setup;
    AioRing *ring = g_new0(AioRing, 1);
    int ret = ring_init(&ring->uring, params, &setup);

    if (ret < 0) {
        g_set_error(error, AIO_ERROR, -ret, "cannot create an io_uring: %s%s", g_strerror(-ret),
                    ring_error_hint(-ret));
        g_free(ring);
        return NULL;
    }
    if ((setup.features & RING_FEATURES_NEEDED) != RING_FEATURES_NEEDED) {
        g_set_error(error, AIO_ERROR, ENOSYS,
                    "this kernel's io_uring is too old (features 0x%x, needed 0x%x: Linux 5.11)",
                    setup.features, (unsigned)RING_FEATURES_NEEDED);
        aio_ring_queue_exit(&ring->uring);
        g_free(ring);
        return NULL;
    }
    if (params->file_slots > 0) {
        ret = io_uring_register_files_sparse(&ring->uring, params->file_slots);
        if (ret < 0) {
            g_set_error(error, AIO_ERROR, -ret, "cannot register %u file slots: %s",
                        params->file_slots, g_strerror(-ret));
            aio_ring_queue_exit(&ring->uring);
            g_free(ring);
            return NULL;
        }
    }

    unsigned last;
    ring->opcodes = ring_probe_opcodes(&ring->uring, &last);
    /* Saves a descriptor look-up in each enter; an optimisation, so no error. */
    (void)io_uring_register_ring_fd(&ring->uring);
    /* A forked child must not share the queues. */
    (void)io_uring_ring_dontfork(&ring->uring);

    ring->owner = pthread_self();
    ring->setup_flags = setup.flags;
    ring->limit = ring->uring.cq.ring_entries;
    ring->max_batch = ring->uring.sq.ring_entries;
    ring->submit = io_uring_submit;
    ring->event_fd = -1;
    ring->counters = &ring->own_counters;
    ring->ready_tail = &ring->ready_head;
    aio_backlog_init(&ring->backlog, setup.flags & IORING_SETUP_SQE128
                                         ? 2 * sizeof(struct io_uring_sqe)
                                         : sizeof(struct io_uring_sqe));
    return ring;
}

struct io_uring *aio_ring_get_uring(AioRing *ring)
{
    return &ring->uring;
}

int aio_ring_fd(const AioRing *ring)
{
    return ring->uring.ring_fd;
}

unsigned aio_ring_sq_entries(const AioRing *ring)
{
    return ring->uring.sq.ring_entries;
}

unsigned aio_ring_cq_entries(const AioRing *ring)
{
    return ring->uring.cq.ring_entries;
}

unsigned aio_ring_setup_flags(const AioRing *ring)
{
    return ring->setup_flags;
}

bool aio_ring_has_opcode(const AioRing *ring, unsigned opcode)
{
    return opcode < 64 && (ring->opcodes >> opcode & 1);
}

int aio_ring_register_buffers(AioRing *ring, const struct iovec *iov, unsigned n)
{
    return io_uring_register_buffers(&ring->uring, iov, n);
}

int aio_ring_unregister_buffers(AioRing *ring)
{
    return io_uring_unregister_buffers(&ring->uring);
}

int aio_ring_register_file(AioRing *ring, unsigned slot, int fd)
{
    int ret = io_uring_register_files_update(&ring->uring, slot, &fd, 1);
    return ret < 0 ? ret : 0;
}

int aio_ring_register_eventfd(AioRing *ring, int efd)
{
    return io_uring_register_eventfd(&ring->uring, efd);
}

int aio_ring_unregister_eventfd(AioRing *ring)
{
    return io_uring_unregister_eventfd(&ring->uring);
}

void aio_ring_probe(AioRingProbe *probe)
{
    static const AioRingParams params = {.entries = 4};
    struct io_uring_params setup;
    struct io_uring uring;

    *probe = (AioRingProbe){0};
    int ret = ring_init(&uring, &params, &setup);
    if (ret < 0) {
        probe->error = -ret;
        return;
    }
    probe->available = (setup.features & RING_FEATURES_NEEDED) == RING_FEATURES_NEEDED;
    probe->error = probe->available ? 0 : ENOSYS;
    probe->setup_flags = setup.flags;
    probe->features = setup.features;
    probe->opcodes = ring_probe_opcodes(&uring, &probe->last_opcode);
    aio_ring_queue_exit(&uring);
}
