/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors of inodes that are closed and opened again by name (inode-path.c, inode-name.c): on a
 * directory of its own, where each file holds a number of its own, so a wrong file shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/resolve.h"

enum { BUDGET = 8 };

typedef struct Fixture {
    FsInodeTable table;
    FsBackings backings;
    FsResolver resolver;
    FsInode *root;
    char *dir;
    int dir_fd;
} Fixture;

/* Look @name up as a LOOKUP does, also that of the root (NULL). A reference and a lookup more. */
static FsInode *try_look_up(Fixture *fixture, FsInode *parent, const char *name)
{
    struct statx stx;
    g_auto(FsPathFd) path = {.fd = -1};
    int fd;
    if (parent) {
        path = fs_inode_path(parent);
        FsRoom room = {0};
        do {
            fd = path.fd < 0 ? path.fd : fs_resolve_child(&fixture->resolver, path.fd, name, &stx);
        } while (fs_inodes_room_made(&fixture->table, fd, &room));
    } else {
        fd = open(fixture->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(fs_resolve_statx(fd, &stx), ==, 0);
    }
    if (fd < 0) {
        return NULL;
    }
    FsInodeFound found = {.key = fs_inode_key_of(&stx), .fd = fd, .type = stx.stx_mode};
    found.parent = parent;
    found.name = name;
    found.backing = fs_backing_get(&fixture->backings, found.key.dev, fd);
    FsInode *inode = fs_inode_lookup_found(&fixture->table, &found);
    fs_inodes_trim(&fixture->table);
    return inode;
}

static FsInode *look_up(Fixture *fixture, FsInode *parent, const char *name)
{
    FsInode *inode = try_look_up(fixture, parent, name);
    g_assert_nonnull(inode);
    return inode;
}

static Fixture *fixture_new(void)
{
    Fixture *fixture = g_new0(Fixture, 1);
    fixture->dir = g_dir_make_tmp("sluice-inode-path-XXXXXX", NULL);
    g_assert_nonnull(fixture->dir);
    fixture->dir_fd = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_true(fs_resolver_init(&fixture->resolver, NULL));
    fs_backings_init(&fixture->backings);
    fs_inodes_init(&fixture->table, NULL, NULL);
    fs_inodes_limit_descriptors(&fixture->table, &fixture->resolver, BUDGET);
    fixture->root = look_up(fixture, NULL, NULL);
    return fixture;
}

static void fixture_free(Fixture *fixture)
{
    fs_inode_put(fixture->root);
    g_assert_cmpuint(fs_slots_live(&fixture->table.slots), ==, 1);
    g_assert_cmpuint(fs_inode_descriptors(&fixture->table), ==, 1);
    fs_inodes_fini(&fixture->table);
    fs_backings_fini(&fixture->backings);
    fs_resolver_fini(&fixture->resolver);
    close(fixture->dir_fd);
    g_autofree char *command = g_strdup_printf("rm -r '%s'", fixture->dir);
    g_assert_cmpint(system(command), ==, 0);
    g_free(fixture->dir);
    g_free(fixture);
}

static void put_and_forget(Fixture *fixture, FsInode *inode)
{
    uint64_t id = fs_inode_id(inode), lookups = fs_inode_lookups(inode);
    g_assert_true(fs_inode_forget(&fixture->table, id, lookups));
    fs_inode_put(inode);
}

static void write_number(int dir, const char *name, unsigned number)
{
    int fd = openat(dir, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, &number, sizeof(number)), ==, sizeof(number));
    close(fd);
}

/* The number in the file of @inode, or negative errno. */
static int number_of(Fixture *fixture, FsInode *inode)
{
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        return path.fd;
    }
    int fd = fs_resolve_reopen(&fixture->resolver, path.fd, O_RDONLY), number = -1;
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(read(fd, &number, sizeof(number)), ==, sizeof(number));
    close(fd);
    return number;
}

/* Have everything closed that can be. */
static void close_all(Fixture *fixture)
{
    while (fs_inodes_make_room(&fixture->table)) {
        g_assert_cmpint(fs_inode_descriptor(fixture->root), >=, 0);
    }
}

static void test_reopen(void)
{
    enum { DIRECTORIES = 6, FILES = 12 };
    Fixture *fixture = fixture_new();
    FsInode *directories[DIRECTORIES], *files[DIRECTORIES * FILES];
    for (int i = 0; i < DIRECTORIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", i);
        g_assert_cmpint(mkdirat(fixture->dir_fd, name, 0700), ==, 0);
        for (int j = 0; j < FILES; j++) {
            snprintf(name, sizeof(name), "%d/%d", i, j);
            write_number(fixture->dir_fd, name, (unsigned)(i * FILES + j));
        }
    }
    g_usleep(50000); /* where birth times are the marks */
    for (int i = 0; i < DIRECTORIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", i);
        directories[i] = look_up(fixture, fixture->root, name);
        for (int j = 0; j < FILES; j++) {
            snprintf(name, sizeof(name), "%d", j);
            files[i * FILES + j] = look_up(fixture, directories[i], name);
            g_assert_cmpuint(fs_inode_descriptors(&fixture->table), <=, 2 * BUDGET);
        }
    }
    for (unsigned round = 0; round < 3; round++) {
        for (int i = 0; i < DIRECTORIES * FILES; i++) {
            int at = i * 31 % (DIRECTORIES * FILES);
            g_assert_cmpint(number_of(fixture, files[at]), ==, at);
            g_assert_cmpuint(fs_inode_descriptors(&fixture->table), <=, 2 * BUDGET);
        }
    }
    close_all(fixture);
    g_assert_cmpuint(fs_inode_descriptors(&fixture->table), ==, 1);
    g_assert_cmpint(number_of(fixture, files[FILES]), ==, FILES);
    g_assert_cmpuint(fs_inode_descriptors(&fixture->table), ==, 3); /* and its directory */

    /* the same inodes again when they are looked up */
    close_all(fixture);
    for (int j = 0; j < FILES; j++) {
        char name[32];
        snprintf(name, sizeof(name), "%d", j);
        FsInode *same = look_up(fixture, directories[0], name);
        g_assert_true(same == files[j]);
        fs_inode_put(same);
    }
    /* children keep their directories until they go */
    for (int i = 0; i < DIRECTORIES; i++) {
        put_and_forget(fixture, directories[i]);
    }
    for (int i = 0; i < DIRECTORIES * FILES; i++) {
        close_all(fixture);
        g_assert_cmpint(number_of(fixture, files[i]), ==, i);
        put_and_forget(fixture, files[i]);
    }
    g_assert_cmpuint(atomic_load(&fixture->table.open.stale), ==, 0);
    fixture_free(fixture);
}

/* What is in use stays open; what the mount removes as well. */
static void test_held(void)
{
    Fixture *fixture = fixture_new();
    write_number(fixture->dir_fd, "used", 1);
    write_number(fixture->dir_fd, "removed", 2);
    write_number(fixture->dir_fd, "moved", 3);
    g_usleep(50000);
    FsInode *used = look_up(fixture, fixture->root, "used");
    FsInode *removed = look_up(fixture, fixture->root, "removed");
    FsInode *moved = look_up(fixture, fixture->root, "moved");
    FsPathFd path = fs_inode_path(used);
    close_all(fixture);
    g_assert_cmpint(fs_inode_descriptor(used), ==, path.fd);
    g_assert_cmpint(fs_inode_descriptor(removed), ==, -1);
    fs_path_fd_clear(&path);

    FsNameHold hold;
    g_assert_cmpint(fs_name_hold(&fixture->table, fixture->root, "removed", &hold), ==, 0);
    g_assert_true(hold.inode == removed);
    close_all(fixture);
    g_assert_cmpint(fs_inode_descriptor(removed), >=, 0);
    g_assert_cmpint(unlinkat(fixture->dir_fd, "removed", 0), ==, 0);
    fs_name_removed(&hold, fixture->root, "removed");
    fs_name_hold_clear(&hold);
    write_number(fixture->dir_fd, "removed", 4);
    close_all(fixture);
    g_assert_cmpint(number_of(fixture, removed), ==, 2);

    g_assert_cmpint(fs_name_hold(&fixture->table, fixture->root, "moved", &hold), ==, 0);
    g_assert_cmpint(renameat(fixture->dir_fd, "moved", fixture->dir_fd, "there"), ==, 0);
    fs_name_removed(&hold, fixture->root, "moved");
    fs_inode_remember_name(hold.inode, fixture->root, "there");
    fs_name_hold_clear(&hold);
    close_all(fixture);
    g_assert_cmpint(fs_inode_descriptor(moved), ==, -1);
    g_assert_cmpint(number_of(fixture, moved), ==, 3);
    g_assert_cmpint(fs_name_hold(&fixture->table, fixture->root, "nothing", &hold), ==, 0);
    g_assert_null(hold.inode);
    put_and_forget(fixture, used);
    put_and_forget(fixture, removed);
    put_and_forget(fixture, moved);
    fixture_free(fixture);
}

/* Others change names: an error, or the right file. */
static void test_changed_below(void)
{
    Fixture *fixture = fixture_new();
    static const char *const names[] = {"renamed", "replaced", "remade", "open"};
    FsInode *inodes[G_N_ELEMENTS(names)];
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        write_number(fixture->dir_fd, names[i], i);
    }
    g_usleep(50000);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        inodes[i] = look_up(fixture, fixture->root, names[i]);
    }
    fs_inode_hold(inodes[3]);
    close_all(fixture);
    int dir = fixture->dir_fd;
    write_number(dir, "new", 7);
    g_assert_cmpint(renameat(dir, "renamed", dir, "there"), ==, 0);
    g_assert_cmpint(renameat(dir, "new", dir, "replaced"), ==, 0);
    g_assert_cmpint(unlinkat(dir, "remade", 0), ==, 0);
    write_number(dir, "remade", 8); /* on some file systems with the same number */
    write_number(dir, "new", 9);
    g_assert_cmpint(renameat(dir, "new", dir, "open"), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(number_of(fixture, inodes[i]), ==, -ESTALE);
    }
    g_assert_cmpuint(atomic_load(&fixture->table.open.stale), ==, 3);
    fs_inode_unhold(inodes[3]);
    close_all(fixture); /* its name leads to another file by now */
    g_assert_cmpint(number_of(fixture, inodes[3]), ==, 3);

    FsInode *again = look_up(fixture, fixture->root, "there");
    g_assert_true(again == inodes[0]);
    fs_inode_put(again);
    close_all(fixture);
    g_assert_cmpint(number_of(fixture, again), ==, 0);
    again = look_up(fixture, fixture->root, "remade");
    g_assert_true(again != inodes[2]);
    g_assert_cmpint(number_of(fixture, again), ==, 8);
    g_assert_cmpint(number_of(fixture, inodes[2]), ==, -ESTALE);
    put_and_forget(fixture, again);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        put_and_forget(fixture, inodes[i]);
    }
    fixture_free(fixture);
}

/* Others turn a tree upside down: names must not lead in a circle. */
static void test_circle(void)
{
    Fixture *fixture = fixture_new();
    int dir = fixture->dir_fd;
    g_assert_cmpint(mkdirat(dir, "a", 0700), ==, 0);
    g_assert_cmpint(mkdirat(dir, "a/b", 0700), ==, 0);
    write_number(dir, "a/file", 1);
    g_usleep(50000);
    FsInode *a = look_up(fixture, fixture->root, "a");
    FsInode *b = look_up(fixture, a, "b");
    FsInode *file = look_up(fixture, a, "file");
    fs_inode_hold(b);
    g_assert_cmpint(renameat(dir, "a/b", dir, "b"), ==, 0);
    g_assert_cmpint(renameat(dir, "a", dir, "b/a"), ==, 0);
    FsInode *same = look_up(fixture, b, "a");
    g_assert_true(same == a);
    fs_inode_put(same);
    fs_inode_unhold(b);
    close_all(fixture);
    g_assert_cmpint(number_of(fixture, file), ==, 1);
    put_and_forget(fixture, a);
    put_and_forget(fixture, b);
    put_and_forget(fixture, file);
    fixture_free(fixture);
}

static void test_deep(void)
{
    enum { DEPTH = 200 };
    Fixture *fixture = fixture_new();
    FsInode *chain[DEPTH + 1] = {fixture->root};
    int at = dup(fixture->dir_fd);
    for (int i = 0; i < DEPTH; i++) {
        g_assert_cmpint(mkdirat(at, "d", 0700), ==, 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
        chain[i + 1] = look_up(fixture, chain[i], "d");
    }
    close(at);
    g_usleep(50000);
    close_all(fixture);
    struct rlimit files, few;
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &files), ==, 0);
    few = files;
    at = dup(fixture->dir_fd);
    close(at);
    few.rlim_cur = (rlim_t)at + 40;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
    for (int i = 0; i < DEPTH; i += DEPTH / 5) {
        FsPathFd path = fs_inode_path(chain[DEPTH - i]);
        g_assert_cmpint(path.fd, >=, 0);
        g_assert_cmpuint(fs_inode_descriptors(&fixture->table), <=, 41);
        fs_path_fd_clear(&path);
    }
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &files), ==, 0);
    close_all(fixture);
    g_assert_cmpuint(fs_inode_descriptors(&fixture->table), ==, 1);
    for (int i = 1; i <= DEPTH; i++) {
        put_and_forget(fixture, chain[i]);
    }
    fixture_free(fixture);
}

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
    struct rlimit files, few;
    bool young;
    if (fs_inode_mark_of(fixture->root->backing, fixture->dir_fd, &young) == FS_NO_MARK) {
        fixture_free(fixture);
        g_test_skip("no times of birth here");
        return;
    }
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &files), ==, 0);
    few = files;
    int at = dup(fixture->dir_fd);
    close(at);
    few.rlim_cur = (rlim_t)at + descriptors;
    for (unsigned i = 0; i < BURST_THREADS; i++) {
        bursts[i] = (Burst){.fixture = fixture, .number = i, .most = most};
    }
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
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
    g_test_add_func("/inode-path/reopen", test_reopen);
    g_test_add_func("/inode-path/held", test_held);
    g_test_add_func("/inode-path/changed-below", test_changed_below);
    g_test_add_func("/inode-path/circle", test_circle);
    g_test_add_func("/inode-path/deep", test_deep);
    g_test_add_func("/inode-path/burst-waits", test_burst_waits);
    g_test_add_func("/inode-path/burst-competes", test_burst_competes);
    g_test_add_func("/inode-path/threads", test_threads);
    return g_test_run();
}
