/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the passthrough file system on real mounts: see passthrough-util.h. */
#include "passthrough-util.h"

#include <fcntl.h>
#include <sys/stat.h>

const char *mount_dir;
const char *source_dir;

int on_mount(const char *name, int flags)
{
    g_autofree char *path = g_build_filename(mount_dir, name, NULL);
    return open(path, flags | O_CLOEXEC, 0644);
}

int on_source(const char *name, int flags)
{
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    return open(path, flags | O_CLOEXEC, 0644);
}

bool source_is(const char *name, const void *data, size_t length)
{
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    g_autofree char *content = NULL;
    gsize got = 0;
    return g_file_get_contents(path, &content, &got, NULL) && got == length &&
           memcmp(content, data, length) == 0;
}

void fill(unsigned char *buffer, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++) {
        buffer[i] = (unsigned char)((i * 2654435761u + seed * 40503u) >> 13);
    }
}

const Mode test_modes[MODE_COUNT] = {
    [MODE_AUTO] = {"auto", FS_PASSTHROUGH_CACHE_AUTO, false, FS_PASSTHROUGH_LOCKS_LOCAL, 1,
                   FS_PASSTHROUGH_IO_OFF},
    [MODE_NONE] = {"none-4-threads", FS_PASSTHROUGH_CACHE_NONE, false, FS_PASSTHROUGH_LOCKS_REMOTE,
                   4, FS_PASSTHROUGH_IO_OFF},
    [MODE_ALWAYS] = {"always-writeback", FS_PASSTHROUGH_CACHE_ALWAYS, true,
                     FS_PASSTHROUGH_LOCKS_REMOTE, 2, FS_PASSTHROUGH_IO_OFF},
    [MODE_KERNEL] = {"kernel-io", FS_PASSTHROUGH_CACHE_AUTO, false, FS_PASSTHROUGH_LOCKS_LOCAL, 2,
                     FS_PASSTHROUGH_IO_AUTO},
};

void test_serve_params(Served *served, const FsPassthroughParams *pt_params, unsigned threads)
{
    GError *error = NULL;
    FsSessionParams params;
    served->pt = fs_passthrough_new(pt_params, &error);
    g_assert_no_error(error);
    test_mount_params(&params, fs_passthrough_filesystem(), served->pt);
    params.threads = threads;
    params.max_requests = served->max_requests;
    params.mount_options = "allow_other,default_permissions,dev,suid";
    test_mount_new(&served->mount, &params);
    fs_passthrough_attach_session(served->pt, served->mount.session);
    test_mount_start(&served->mount);
}

void test_serve(Served *served, const Mode *mode)
{
    GError *error = NULL;
    FsPassthroughParams params;
    served->source = g_dir_make_tmp("sluice source XXXXXX", &error);
    g_assert_no_error(error);
    g_assert_cmpint(chmod(served->source, 0755), ==, 0);
    fs_passthrough_params_init(&params);
    params.source = served->source;
    params.cache = mode->cache;
    params.writeback = mode->writeback;
    params.locks = mode->locks;
    params.passthrough_io = mode->passthrough_io;
    test_serve_params(served, &params, mode->threads);
}

void test_remove_tree(const char *path)
{
    const char *argv[] = {"rm", "-rf", path, NULL};
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

void test_wait_for_releases(Served *served)
{
    FsPassthroughStats stats;
    for (unsigned i = 0; i < 6000; i++) { /* a close may wait for a disk */
        fs_passthrough_get_stats(served->pt, &stats);
        if (stats.handles == 0) {
            return;
        }
        g_usleep(5000);
    }
    g_error("%u handles are still open", (unsigned)stats.handles);
}

void test_serve_end(Served *served)
{
    test_wait_for_releases(served);
    test_mount_down(&served->mount);
    g_assert_cmpint(served->mount.error, ==, 0);
    fs_passthrough_free(served->pt);
    test_remove_tree(served->source);
    g_free(served->source);
}

int test_run_client(Served *served, const char *name, const char *option)
{
    g_autofree char *below = g_build_filename(served->source, name, NULL);
    g_assert_cmpint(mkdir(below, 0755), ==, 0);
    g_autofree char *path = test_mount_path(&served->mount, name);
    return test_client_run(name, path, below, option);
}

typedef struct Case {
    const Mode *mode;
    const char *client;
} Case;

static void test_case(gconstpointer opaque)
{
    const Case *test = opaque;
    Served served = {0};
    test_serve(&served, test->mode);
    const char *option = test->mode->cache != FS_PASSTHROUGH_CACHE_ALWAYS ? "fresh" : NULL;
    if (test->mode->passthrough_io != FS_PASSTHROUGH_IO_OFF) {
        option = "kernel-io";
    }
    g_assert_cmpint(test_run_client(&served, test->client, option), ==, 0);
    test_serve_end(&served);
}

static void add_case(const Mode *mode, const char *client)
{
    g_autofree char *path = g_strdup_printf("/passthrough/%s/%s", mode->name, client);
    Case *test = g_new(Case, 1);
    *test = (Case){mode, client};
    g_test_add_data_func_full(path, test, test_case, g_free);
}

void test_add_everywhere(const char *const *clients)
{
    for (size_t i = 0; i < MODE_KERNEL; i++) {
        for (const char *const *client = clients; *client; client++) {
            add_case(&test_modes[i], *client);
        }
    }
}

void test_add_kernel_io(const char *const *clients)
{
    for (const char *const *client = clients; *client; client++) {
        add_case(&test_modes[MODE_KERNEL], *client);
    }
}

void test_add_remote(const char *client)
{
    for (size_t i = 0; i < MODE_KERNEL; i++) {
        if (test_modes[i].locks == FS_PASSTHROUGH_LOCKS_REMOTE) {
            add_case(&test_modes[i], client);
        }
    }
}
