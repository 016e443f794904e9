/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors of inodes that are closed and opened again by name (inode-path.c, inode-name.c), by
 * one thread. Several of them: test-inode-path-threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inode-path-util.h"

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
    const struct rlimit files = limit_descriptors(fixture, 40);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/inode-path/reopen", test_reopen);
    g_test_add_func("/inode-path/held", test_held);
    g_test_add_func("/inode-path/changed-below", test_changed_below);
    g_test_add_func("/inode-path/circle", test_circle);
    g_test_add_func("/inode-path/deep", test_deep);

    return g_test_run();
}
