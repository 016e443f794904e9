/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open a file system and look at everything in it: see ext4-walk.h. */
#include "ext4-walk.h"

#include <string.h>
#include <unistd.h>

#include "aio/coroutine.h"
#include "fs/ext4/data.h"
#include "fs/ext4/directory.h"
#include "fs/ext4/volume.h"
#include "fs/ext4/xattr.h"

#define DEPTH_MAX 6
#define PIECE     20000

typedef struct Walk {
    Ext4Volume *volume;
    unsigned budget, files;
    bool done;
} Walk;

static bool spend(Walk *walk)
{
    if (walk->budget == 0) {
        return false;
    }
    walk->budget--;
    return true;
}

static void walk_xattrs(Walk *walk, const Ext4Inode *inode)
{
    g_autoptr(GString) names = g_string_new(NULL);

    ext4_xattr_list(walk->volume, inode, true, names);
    for (size_t at = 0; at < names->len && spend(walk); at += strlen(names->str + at) + 1) {
        g_autofree uint8_t *value = NULL;
        size_t length = 0;

        if (ext4_xattr_get(walk->volume, inode, names->str + at, &value, &length) == 0) {
            g_assert_nonnull(value);
        }
    }
}

static void walk_data(Walk *walk, const Ext4Inode *inode)
{
    g_autofree uint8_t *buffer = g_malloc(PIECE);
    const uint64_t places[] = {0, 12345, inode->size / 2, inode->size - MIN(inode->size, 5000),
                               inode->size - MIN(inode->size, 1)};
    int64_t at = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(places) && spend(walk); i++) {
        ssize_t got = ext4_read(walk->volume, inode, buffer, PIECE, places[i]);

        g_assert_true(got < 0 || places[i] + (uint64_t)got <= MAX(inode->size, places[i]));
    }
    for (unsigned i = 0; i < 20 && at >= 0 && spend(walk); i++) {
        int64_t next = ext4_seek(walk->volume, inode, at, i % 2 == 0 ? SEEK_DATA : SEEK_HOLE);

        g_assert_true(next < 0 || (next >= at && (uint64_t)next <= inode->size));
        at = next;
    }
}

static void walk_directory(Walk *walk, const Ext4Inode *directory, unsigned depth);

static void walk_inode(Walk *walk, uint32_t ino, unsigned depth)
{
    g_autoptr(Ext4Inode) inode = NULL;
    g_autofree char *target = g_malloc(walk->volume->block_size + 1);

    if (ext4_inode_get(walk->volume, ino, &inode) < 0) {
        return;
    }
    walk->files++;
    walk_xattrs(walk, inode);
    if (S_ISREG(inode->attr.st_mode)) {
        walk_data(walk, inode);
    } else if (S_ISLNK(inode->attr.st_mode)) {
        ext4_read_link(walk->volume, inode, target);
    } else if (S_ISDIR(inode->attr.st_mode) && depth < DEPTH_MAX) {
        walk_directory(walk, inode, depth);
    }
}

static void walk_directory(Walk *walk, const Ext4Inode *directory, unsigned depth)
{
    g_auto(Ext4Cursor) cursor = {.position = depth == 2 ? 20 : 0};
    Ext4Entry entry;
    uint32_t ino;

    while (spend(walk) && ext4_directory_next(walk->volume, directory, &cursor, &entry) > 0) {
        ext4_directory_find(walk->volume, directory, entry.name, &ino);
        if (strcmp(entry.name, ".") != 0 && strcmp(entry.name, "..") != 0) {
            walk_inode(walk, entry.ino, depth + 1);
        }
    }
    ext4_directory_find(walk->volume, directory, "there is no such name", &ino);
}

static void walk_root(void *opaque)
{
    Walk *walk = opaque;

    walk_inode(walk, EXT4_ROOT, 0);
    walk->done = true;
}

int ext4_walk(AioContext *ctx, BlockNode *node, unsigned budget)
{
    const Ext4Params params = {.acl = true, .uid = -1, .gid = -1};
    g_autoptr(GError) error = NULL;
    Walk walk = {.budget = budget};

    walk.volume = ext4_open(node, &params, &error);
    g_assert_true((walk.volume == NULL) == (error != NULL));
    if (walk.volume == NULL) {
        return -1;
    }
    aio_co_enter(aio_co_new(walk_root, &walk));
    while (!walk.done) {
        aio_context_poll(ctx, true);
    }
    ext4_close(walk.volume);
    return (int)walk.files;
}
