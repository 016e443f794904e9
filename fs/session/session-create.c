/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an FsSession comes to be: its parameters with defaults, libfuse's session for the mount
 * options, the mount. What it does then is told in session.c.
 */
#include "fs/session/session.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "aio/error.h"
#include "fs/session/log.h"
#include "fs/session/mount.h"
#include "fs/session/ops.h"
#include "fs/session/reply.h"
#include "fs/session/session-internal.h"
#include "fs/session/transport-choice.h"

#define DEFAULT_HELPERS         16
#define DEFAULT_MAX_BACKGROUND  256
#define DEFAULT_MAX_WRITE       (1024u * 1024)
#define MIN_MAX_WRITE           4096u
#define DEFAULT_MAX_REQUESTS    1024
#define DEFAULT_URING_DEPTH     32
#define DEFAULT_STOP_TIMEOUT_MS 10000

/* --- making a session -------------------------------------------------------- */

void fs_session_params_init(FsSessionParams *params)
{
    *params = (FsSessionParams){0};
    aio_context_params_init(&params->context);
}

static void set_defaults(FsSession *session)
{
    FsSessionParams *params = &session->params;

    if (params->helpers == 0) {
        params->helpers = DEFAULT_HELPERS;
    }
    if (params->max_background == 0) {
        params->max_background = DEFAULT_MAX_BACKGROUND;
    }
    params->max_background = MIN(params->max_background, UINT16_MAX);
    if (params->max_write == 0) {
        params->max_write = DEFAULT_MAX_WRITE;
    }
    if (params->max_requests == 0) {
        params->max_requests = DEFAULT_MAX_REQUESTS;
    }
    if (params->uring_depth == 0) {
        params->uring_depth = DEFAULT_URING_DEPTH;
    }
    if (params->stop_timeout_ms == 0) {
        params->stop_timeout_ms = DEFAULT_STOP_TIMEOUT_MS;
    }
    params->mountpoint = g_strdup(params->mountpoint);
    params->source = g_strdup(params->source);
    params->subtype = g_strdup(params->subtype);
    params->mount_options = g_strdup(params->mount_options);
    session->max_write = params->max_write;
}

/** "-o" list for libfuse: commas inside a value are escaped. */
static char *mount_options(const FsSessionParams *params)
{
    char *options = NULL;

    if (params->source != NULL) {
        g_autofree char *option = g_strdup_printf("fsname=%s", params->source);
        fuse_opt_add_opt_escaped(&options, option);
    }
    if (params->subtype != NULL) {
        g_autofree char *option = g_strdup_printf("subtype=%s", params->subtype);
        fuse_opt_add_opt_escaped(&options, option);
    }
    if (params->mount_options != NULL && params->mount_options[0] != '\0') {
        fuse_opt_add_opt(&options, params->mount_options);
    }
    if (params->debug) {
        fuse_opt_add_opt(&options, "debug");
    }
    return options;
}

/*
 * Take out of @args what libfuse (3.14) neither does nor leaves to the kernel. False: it found
 * no words in them.
 */
static bool take_own_options(FsSession *session, struct fuse_args *args)
{
    struct OwnOptions {
        int nosymfollow;
    } own = {0};
    static const struct fuse_opt table[] = {
        {"nosymfollow", offsetof(struct OwnOptions, nosymfollow), 1},
        FUSE_OPT_END,
    };

    if (fuse_opt_parse(args, &own, table, NULL) < 0) {
        return false;
    }
    session->nosymfollow = own.nosymfollow != 0;
    return true;
}

static struct fuse_session *make_fuse_session(FsSession *session, GError **error)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_lowlevel_ops ops;
    char *options = mount_options(&session->params);

    fuse_opt_add_arg(&args, "sluicefs");
    if (options != NULL) {
        fuse_opt_add_arg(&args, "-o");
        fuse_opt_add_arg(&args, options);
    }
    fs_ops_fill(&ops, session->filesystem);

    fs_log_capture_begin();
    struct fuse_session *fuse =
        take_own_options(session, &args)
            ? fuse_session_new(&args, &ops, sizeof(ops), session->params.userdata)
            : NULL;
    g_autofree char *said = fs_log_capture_end();
    if (fuse == NULL) {
        g_set_error(error, AIO_ERROR, EINVAL, "libfuse refuses the mount options '%s': %s",
                    options ? options : "", said[0] ? said : "no reason given");
    }
    fuse_opt_free_args(&args);
    free(options);
    return fuse;
}

FsSession *fs_session_new(const FsSessionParams *params, GError **error)
{
    assert(params->filesystem != NULL && params->mountpoint != NULL);
    if (params->max_write != 0 &&
        (params->max_write < MIN_MAX_WRITE || params->max_write > DEFAULT_MAX_WRITE)) {
        g_set_error(error, AIO_ERROR, EINVAL, "max_write %u is not between %u and %u",
                    params->max_write, MIN_MAX_WRITE, DEFAULT_MAX_WRITE);
        return NULL;
    }

    FsSession *session = g_new0(FsSession, 1);
    session->params = *params;
    session->filesystem = params->filesystem;
    set_defaults(session);
    fs_choice_init(session);
    fs_log_install();
    session->fuse = make_fuse_session(session, error);
    if (session->fuse == NULL) {
        fs_session_free(session);
        return NULL;
    }
    return session;
}

/* --- mounting ------------------------------------------------------------------ */

static bool is_passed_descriptor(const char *mountpoint)
{
    return g_str_has_prefix(mountpoint, "/dev/fd/");
}

/** The mountpoint's canonical path: how the kernel will list it. */
static bool resolve_mountpoint(FsSession *session, GError **error)
{
    const char *given = session->params.mountpoint;
    char *path = realpath(given, NULL);

    if (path == NULL) {
        g_set_error(error, AIO_ERROR, errno, "cannot mount on '%s': %s%s", given, g_strerror(errno),
                    errno == ENOTCONN ? " (a dead mount is there: umount -l it first)" : "");
        return false;
    }
    session->mountpoint = g_strdup(path);
    free(path);
    return true;
}

/** Find out st_dev, and for a descriptor that was passed to us the mountpoint. */
static void identify_mount(FsSession *session)
{
    dev_t device;

    if (session->mountpoint != NULL) {
        device = fs_mount_device(NULL, session->mountpoint);
    } else {
        device = fs_mount_device_of_fd(fuse_session_fd(session->fuse));
        if (device != 0) {
            session->mountpoint = fs_mount_find(NULL, device);
        }
    }
    atomic_store(&session->device, device);
}

bool fs_session_mount(FsSession *session, GError **error)
{
    const char *given = session->params.mountpoint;

    assert(session->phase == FS_SESSION_NEW);
    if (!is_passed_descriptor(given) && !resolve_mountpoint(session, error)) {
        return false;
    }
    const char *path = session->mountpoint ? session->mountpoint : given;
    fs_log_capture_begin();
    int result = fuse_session_mount(session->fuse, path);
    g_autofree char *said = fs_log_capture_end();
    if (result != 0) {
        g_set_error(error, AIO_ERROR, EIO, "cannot mount on '%s': %s", given,
                    said[0] ? said : "see the message of fusermount3");
        g_clear_pointer(&session->mountpoint, g_free);
        return false;
    }
    session->phase = FS_SESSION_MOUNTED;
    identify_mount(session);
    result = session->nosymfollow && !is_passed_descriptor(given)
                 ? fs_mount_set_nosymfollow(session->mountpoint)
                 : 0;
    if (result < 0) {
        g_set_error(error, AIO_ERROR, -result, "cannot mount on '%s' with nosymfollow: %s%s", given,
                    g_strerror(-result), result == -EPERM ? " (only root can)" : "");
        return false;
    }
    result = fs_reply_install(session->fuse);
    if (result < 0) {
        g_set_error(error, AIO_ERROR, -result, "libfuse refuses custom I/O: %s",
                    g_strerror(-result));
        return false;
    }
    return true;
}
