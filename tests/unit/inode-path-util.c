/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inodes of a directory of its own: see inode-path-util.h. */
#include "inode-path-util.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

FsInode *look_up(Fixture *fixture, FsInode *parent, const char *name)
{
    FsInode *inode = try_look_up(fixture, parent, name);
    g_assert_nonnull(inode);
    return inode;
}

Fixture *fixture_new(void)
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

void fixture_free(Fixture *fixture)
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

void put_and_forget(Fixture *fixture, FsInode *inode)
{
    uint64_t id = fs_inode_id(inode), lookups = fs_inode_lookups(inode);
    g_assert_true(fs_inode_forget(&fixture->table, id, lookups));
    fs_inode_put(inode);
}

void write_number(int dir, const char *name, unsigned number)
{
    int fd = openat(dir, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, &number, sizeof(number)), ==, sizeof(number));
    close(fd);
}

int number_of(Fixture *fixture, FsInode *inode)
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

struct rlimit limit_descriptors(const Fixture *fixture, unsigned more)
{
    struct rlimit files, few;
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &files), ==, 0);
    few = files;
    int at = dup(fixture->dir_fd);
    close(at);
    few.rlim_cur = (rlim_t)at + more;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
    return files;
}
