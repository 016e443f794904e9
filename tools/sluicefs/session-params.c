/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** See session-params.h. */
#include "tools/sluicefs/session-params.h"

#include <sys/mount.h>

static void append_word(GString *list, const char *word)
{
    if (list->len > 0) {
        g_string_append_c(list, ',');
    }
    for (; *word != '\0'; word++) {
        if (*word == ',' || *word == '\\') {
            g_string_append_c(list, '\\');
        }
        g_string_append_c(list, *word);
    }
}

char *session_params_mount_options(const Options *options)
{
    static const struct {
        unsigned long flag;
        const char *set, *clear;
    } words[] = {
        {MS_RDONLY, "ro", "rw"},           {MS_NOSUID, "nosuid", "suid"},
        {MS_NODEV, "nodev", "dev"},        {MS_NOEXEC, "noexec", "exec"},
        {MS_SYNCHRONOUS, "sync", "async"}, {MS_DIRSYNC, "dirsync", NULL},
        {MS_NOATIME, "noatime", "atime"},
    };
    GString *list = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if ((options->mount_set & words[i].flag) != 0) {
            append_word(list, words[i].set);
        } else if ((options->mount_clear & words[i].flag) != 0) {
            append_word(list, words[i].clear);
        }
    }
    if (options->allow_other) {
        append_word(list, "allow_other");
    }
    if (options->default_permissions) {
        append_word(list, "default_permissions");
    }
    for (guint i = 0; i < options->mount_extra->len; i++) {
        append_word(list, g_ptr_array_index(options->mount_extra, i));
    }
    return g_string_free(list, FALSE);
}

static void set_context_params(AioContextParams *params, const Options *options)
{
    static const AioMonitorKind monitor[] = {
        [ENGINE_AUTO] = AIO_MONITOR_AUTO,
        [ENGINE_URING] = AIO_MONITOR_URING,
        [ENGINE_THREADS] = AIO_MONITOR_EPOLL,
    };

    params->monitor = monitor[options->io_engine];
    params->poll.rule = options->poll == POLL_WEIGHTED ? AIO_POLL_WEIGHTED : AIO_POLL_CLASSIC;
    params->poll.max_ns = options->poll == POLL_OFF ? 0 : options->poll_max_us * INT64_C(1000);
    params->poll.grow = options->poll_grow;
    params->poll.shrink = options->poll_shrink;
    params->poll.weight = (unsigned)options->poll_weight;
    params->poll.insist = options->poll_insist && options->poll != POLL_AUTO;
    params->poll.scope = options->poll == POLL_AUTO ? AIO_POLL_NOTHING : AIO_POLL_ANYTHING;
}

void session_params_init(FsSessionParams *params, const Options *options)
{
    fs_session_params_init(params);
    params->subtype = options->subtype[0] == '\0' ? NULL : options->subtype;
    params->threads = options->threads < 0 ? 0 : (unsigned)options->threads;
    params->helpers = (unsigned)options->helpers;
    params->max_background = (unsigned)options->max_background;
    params->transport = (FsTransportChoice)options->transport;
    params->uring_depth = (unsigned)options->uring_depth;
    params->stop_timeout_ms = (unsigned)MAX(1, MIN(options->stop_timeout, 1e6) * 1000);
    params->debug = options->debug;
    set_context_params(&params->context, options);
}
