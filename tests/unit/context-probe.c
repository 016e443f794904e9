/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A handler that counts its callbacks: see context-probe.h. */
#include "context-probe.h"

#include <unistd.h>

#include "loop-util.h"
#include "util.h"

static void probe_log(Probe *probe, const char *what)
{
    if (probe->order) {
        g_string_append_printf(probe->order, "%s ", what);
    }
}

void probe_read(void *opaque)
{
    Probe *probe = opaque;
    (void)eventfd_take(probe->fd);
    probe->reads++;
    probe_log(probe, "read");
}

void probe_write(void *opaque)
{
    Probe *probe = opaque;
    probe->writes++;
    probe_log(probe, "write");
}

bool probe_poll(void *opaque)
{
    Probe *probe = opaque;
    probe->polls++;
    return probe->has_work;
}

void probe_poll_ready(void *opaque)
{
    Probe *probe = opaque;
    probe->has_work = false;
    probe->ready++;
    probe_log(probe, "poll-ready");
}

static void probe_begin(void *opaque)
{
    ((Probe *)opaque)->begins++;
}

static void probe_end(void *opaque)
{
    Probe *probe = opaque;
    probe->ends++;
    if (probe->work_at_end) {
        probe->work_at_end = false;
        probe->has_work = true;
    }
}

const AioFdOps polled_ops = {
    .read = probe_read,
    .poll = probe_poll,
    .poll_ready = probe_poll_ready,
    .poll_begin = probe_begin,
    .poll_end = probe_end,
};

void probe_init(Probe *probe, AioContext *ctx, const AioFdOps *ops)
{
    *probe = (Probe){.ctx = ctx, .fd = eventfd_new()};
    aio_set_fd_handler(ctx, probe->fd, ops, probe);
}

void probe_kick(Probe *probe)
{
    eventfd_raise(probe->fd);
}

void probe_init_read(Probe *probe, AioContext *ctx, const AioFdOps *ops)
{
    probe_init(probe, ctx, ops);
    probe_kick(probe);
    test_poll_until(ctx, probe->reads == 1);
}

void probe_fini(Probe *probe)
{
    aio_set_fd_handler(probe->ctx, probe->fd, NULL, NULL);
    close(probe->fd);
}
