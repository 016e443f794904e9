/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions in unit tests: see session-util.h. */
#include "session-util.h"

#include "fs/null/null.h"
#include "session-clients.h"

static FsNull *null_userdata;

void session_test_init(int *argc, char ***argv)
{
    test_mount_init(argc, argv, session_clients);
    null_userdata = fs_null_new();
}

int session_test_run(void)
{
    int status = g_test_run();
    fs_null_free(null_userdata);
    return status;
}

const char *const null_files[NULL_FILES] = {"null", "direct", "async", "helper"};

void null_params(FsSessionParams *params, unsigned threads)
{
    test_mount_params(params, fs_null_filesystem(), null_userdata);
    params->threads = threads;
}

void null_up(TestMount *mount, unsigned threads)
{
    FsSessionParams params;
    null_params(&params, threads);
    test_mount_up(mount, &params);
}

void probe_up(TestMount *mount, Probe *probe, unsigned threads)
{
    FsSessionParams params;
    probe_init(probe);
    test_mount_params(&params, &probe_filesystem, probe);
    params.threads = threads;
    test_mount_up(mount, &params);
}

TestProcess *start_on(const TestMount *mount, const char *client, const char *file)
{
    g_autofree char *path = test_mount_path(mount, file);
    return test_client_start(client, path, NULL);
}

int run_on(const TestMount *mount, const char *client, const char *file)
{
    return test_client_join(start_on(mount, client, file));
}
