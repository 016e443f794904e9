/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors that threads close and open again at once (inode-path.c, inode-name.c): in a burst of
 * new files, and while others move what the names lead to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inode-path-util.h"

/*
 * New files in a burst, on a file system where the time of birth is the mark: none can be closed
 * until it is older than a tick. Nevertheless there is a descriptor for each.
 */
enum { BURST_THREADS = 8, BURST_FILES = 30 };

typedef struct Burst {
    Fixture *fixture;
    unsigned number, most;
    FsInode *files[BURST_FILES];
} Burst;

static void create_in_burst(Fixture *fixture, const char *name)
{
    int fd;
    FsRoom room = {0};
    do {
        fd = openat(fixture->dir_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        fd = fd < 0 ? (errno == EMFILE ? -ENFILE : -errno) : fd;
    } while (fs_inodes_room_made(&fixture->table, fd, &room));
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

static gpointer burst_thread(gpointer opaque)
{
    Burst *burst = opaque;
    for (unsigned i = 0; i < BURST_FILES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%u-%u", burst->number, i);
        create_in_burst(burst->fixture, name);
        burst->files[i] = look_up(burst->fixture, burst->fixture->root, name);
        g_assert_cmpuint(fs_inode_descriptors(&burst->fixture->table), <=, burst->most);
    }
    return NULL;
}

/* With so many @descriptors besides those that are open, inodes take at most @most. */
static void check_burst(unsigned budget, unsigned descriptors, unsigned most)
{
    Fixture *fixture = fixture_new();
    fixture->table.open.budget = budget;
    fixture->root->backing->fleeting_handles = true;
    fixture->root->backing->fid_marks = false;
    Burst bursts[BURST_THREADS];
    GThread *threads[BURST_THREADS];
    bool young;
    if (fs_inode_mark_of(fixture->root->backing, fixture->dir_fd, &young) == FS_NO_MARK) {
        fixture_free(fixture);
        g_test_skip("no times of birth here");
        return;
    }
    for (unsigned i = 0; i < BURST_THREADS; i++) {
        bursts[i] = (Burst){.fixture = fixture, .number = i, .most = most};
    }
    const struct rlimit files = limit_descriptors(fixture, descriptors);
    for (unsigned i = 0; i < BURST_THREADS; i++) {
        threads[i] = g_thread_new("burst", burst_thread, &bursts[i]);
    }
    for (unsigned i = 0; i < BURST_THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &files), ==, 0);
    for (unsigned i = 0; i < BURST_THREADS; i++) {
        for (unsigned j = 0; j < BURST_FILES; j++) {
            put_and_forget(fixture, bursts[i].files[j]);
        }
    }
    g_assert_cmpuint(atomic_load(&fixture->table.open.stale), ==, 0);
    fixture_free(fixture);
}

/* Who looks a file up waits, so that the limit is not reached. */
static void test_burst_waits(void)
{
    check_burst(BUDGET, 8 * BUDGET, 4 * BUDGET);
}

/* All meet EMFILE, and take from each other what they close. */
static void test_burst_competes(void)
{
    check_burst(BURST_THREADS * BURST_FILES, 10, G_MAXUINT);
}

/*
 * Threads, each with files of its own in two directories that all share, which one more renames
 * all the time. A thread knows what its files hold and whether they have a name.
 */
enum { THREADS = 4, FILES_EACH = 10, ROUNDS = 3000 };

typedef struct Shared {
    Fixture *fixture;
    FsInode *directories[2];
    _Atomic bool done;
} Shared;

typedef struct Client {
    Shared *shared;
    unsigned number;
} Client;

static void file_name(char name[32], const Client *client, int file)
{
    snprintf(name, 32, "%u-%d", client->number, file);
}

static FsInode *make_file(const Client *client, FsInode *directory, const char *name,
                          unsigned number)
{
    Fixture *fixture = client->shared->fixture;
    FsPathFd path = fs_inode_path(directory);
    g_assert_cmpint(path.fd, >=, 0);
    write_number(path.fd, name, number);
    fs_path_fd_clear(&path);
    return look_up(fixture, directory, name);
}

static void remove_file(const Client *client, FsInode *directory, const char *name)
{
    g_auto(FsNameHold) hold = {NULL};
    FsPathFd path = fs_inode_path(directory);
    g_assert_cmpint(fs_name_hold(&client->shared->fixture->table, directory, name, &hold), ==, 0);
    g_assert_cmpint(unlinkat(path.fd, name, 0), ==, 0);
    fs_name_removed(&hold, directory, name);
    fs_path_fd_clear(&path);
}

static void move_file(const Client *client, FsInode *from, FsInode *to, const char *name)
{
    g_auto(FsNameHold) hold = {NULL};
    FsPathFd path = fs_inode_path(from), to_path = fs_inode_path(to);
    g_assert_cmpint(fs_name_hold(&client->shared->fixture->table, from, name, &hold), ==, 0);
    g_assert_cmpint(renameat(path.fd, name, to_path.fd, name), ==, 0);
    fs_name_removed(&hold, from, name);
    if (hold.inode) {
        fs_inode_remember_name(hold.inode, to, name);
    }
    fs_path_fd_clear(&path);
    fs_path_fd_clear(&to_path);
}

static gpointer client_thread(gpointer opaque)
{
    const Client *client = opaque;
    Shared *shared = client->shared;
    g_autoptr(GRand) random = g_rand_new_with_seed(client->number + 1);
    FsInode *files[FILES_EACH];
    unsigned numbers[FILES_EACH];
    int places[FILES_EACH];
    char name[32];
    for (int i = 0; i < FILES_EACH; i++) {
        file_name(name, client, i);
        numbers[i] = client->number << 20 | (unsigned)i << 16;
        places[i] = i % 2;
        files[i] = make_file(client, shared->directories[places[i]], name, numbers[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int i = g_rand_int_range(random, 0, FILES_EACH);
        FsInode *directory = shared->directories[places[i]];
        file_name(name, client, i);
        g_assert_cmpint(number_of(shared->fixture, files[i]), ==, (int)numbers[i]);
        switch (g_rand_int_range(random, 0, 8)) {
        case 0:
            remove_file(client, directory, name);
            g_assert_cmpint(number_of(shared->fixture, files[i]), ==, (int)numbers[i]);
            put_and_forget(shared->fixture, files[i]);
            files[i] = make_file(client, directory, name, ++numbers[i]);
            break;
        case 1:
            move_file(client, directory, shared->directories[!places[i]], name);
            places[i] = !places[i];
            break;
        case 2:
            put_and_forget(shared->fixture, files[i]);
            files[i] = look_up(shared->fixture, directory, name);
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < FILES_EACH; i++) {
        g_assert_cmpint(number_of(shared->fixture, files[i]), ==, (int)numbers[i]);
        put_and_forget(shared->fixture, files[i]);
    }
    return NULL;
}

/* Renames the directories back and forth. */
static gpointer rename_thread(gpointer opaque)
{
    Shared *shared = opaque;
    Fixture *fixture = shared->fixture;
    static const char *const names[] = {"a", "b", "a2", "b2"};
    for (unsigned round = 0; !atomic_load(&shared->done) || round % 4 != 0; round++) {
        const char *from = names[round % 4], *to = names[(round + 2) % 4];
        g_auto(FsNameHold) hold = {NULL};
        g_assert_cmpint(fs_name_hold(&fixture->table, fixture->root, from, &hold), ==, 0);
        g_assert_nonnull(hold.inode);
        g_assert_cmpint(renameat(fixture->dir_fd, from, fixture->dir_fd, to), ==, 0);
        fs_name_removed(&hold, fixture->root, from);
        fs_inode_remember_name(hold.inode, fixture->root, to);
    }
    return NULL;
}

static void test_threads(void)
{
    Shared shared = {.fixture = fixture_new()};
    Fixture *fixture = shared.fixture;
    GThread *threads[THREADS];
    Client clients[THREADS];
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "a" : "b";
        g_assert_cmpint(mkdirat(fixture->dir_fd, name, 0700), ==, 0);
        shared.directories[i] = look_up(fixture, fixture->root, name);
    }
    GThread *renamer = g_thread_new("rename", rename_thread, &shared);
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (Client){.shared = &shared, .number = i};
        threads[i] = g_thread_new("client", client_thread, &clients[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    atomic_store(&shared.done, true);
    g_thread_join(renamer);
    g_test_message("closed %u, reopened %u", (unsigned)atomic_load(&fixture->table.open.closed),
                   (unsigned)atomic_load(&fixture->table.open.reopened));
    g_assert_cmpuint(atomic_load(&fixture->table.open.closed), >, 0);
    g_assert_cmpuint(atomic_load(&fixture->table.open.stale), ==, 0);
    put_and_forget(fixture, shared.directories[0]);
    put_and_forget(fixture, shared.directories[1]);
    fixture_free(fixture);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/inode-path/burst-waits", test_burst_waits);
    g_test_add_func("/inode-path/burst-competes", test_burst_competes);
    g_test_add_func("/inode-path/threads", test_threads);

    return g_test_run();
}
