/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs null: serve nothing, to measure FUSE itself. */
#include "fs/null/null.h"
#include "tools/sluicefs/serve.h"

static void *null_open(const Options *options, const char *source, GError **error)
{
    return fs_null_new();
}

static void null_close(void *userdata)
{
    fs_null_free(userdata);
}

static const ServeBackend null_backend = {
    .command = "null",
    .filesystem = fs_null_filesystem,
    .open = null_open,
    .close = null_close,
};

int null_run(Options *options)
{
    if (options->source != NULL) {
        return command_usage_error(command_find("null"), "null has no source, not '%s'",
                                   options->source);
    }
    return serve_run(&null_backend, options, "null", "null",
                     g_ptr_array_index(options->arguments, 0));
}
