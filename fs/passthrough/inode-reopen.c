/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Opening the descriptor of an inode again, by the name under which it was last found.
 *
 * How it works: up to the nearest directory that is open, then the component below it is opened,
 * until the inode itself is open; so depth costs a loop and no stack. What is found under the name
 * must have the number and the mark of what was closed.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "fs/passthrough/inode.h"
#include "fs/passthrough/resolve.h"

#define CHANGED_TRIES 64u

/* A component on the way to an inode: what to open, and where. */
typedef struct Step {
    FsInode *child;  /* referenced and held */
    FsInode *parent; /* the same */
    uint64_t mark;   /* of the child */
    uint32_t changes;
    char name[NAME_MAX + 1];
} Step;

static void step_clear(Step *step)
{
    fs_inode_give_back(step->child);
    fs_inode_give_back(step->parent);
    step->child = step->parent = NULL;
}

/* The uppermost component on the way to @inode that is not open. -ESTALE: there is no way. */
static int find_step(FsInode *inode, Step *step)
{
    FsDescriptors *open = &inode->table->open;
    FsInode *child = inode, *parent = NULL;
    pthread_mutex_lock(&open->lock);
    FsInodeName *name;
    while ((name = atomic_load_explicit(&child->name, memory_order_relaxed))) {
        parent = name->parent;
        if (fs_inode_descriptor(parent) >= 0 || parent->handle) {
            break;
        }
        child = parent;
    }
    if (name) {
        step->child = fs_inode_take_locked(child);
        step->parent = fs_inode_take_locked(parent);
        step->mark = child->mark;
        step->changes = child->changes;
        g_strlcpy(step->name, name->text, sizeof(step->name));
    }
    pthread_mutex_unlock(&open->lock);
    return name ? 0 : -ESTALE;
}

/* Whether something has happened to the component since find_step(). */
static bool has_changed(const Step *step)
{
    FsDescriptors *open = &step->child->table->open;
    pthread_mutex_lock(&open->lock);
    bool changed = step->child->changes != step->changes || fs_inode_descriptor(step->child) >= 0;
    pthread_mutex_unlock(&open->lock);
    return changed;
}

/* Open the component. 0, or negative errno. */
static int open_step(const Step *step)
{
    FsInode *child = step->child;
    struct statx stx;
    int own = fs_inode_descriptor(step->parent);
    int by_handle = own >= 0 ? -1 : fs_file_handle_open(step->parent->handle);
    int at = own >= 0 ? own : by_handle;
    int fd = at < 0 ? at : fs_resolve_child(child->table->open.resolver, at, step->name, &stx);
    if (by_handle >= 0) {
        close(by_handle);
    }
    if (fd < 0) {
        bool elsewhere = fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV;
        return elsewhere ? -ESTALE : fd;
    }
    FsInodeKey key = fs_inode_key_of(&stx);
    bool young;
    bool same = fs_inode_key_equal(&key, &child->key) && step->mark != FS_NO_MARK &&
                fs_inode_mark_of(child->backing, fd, &young) == step->mark;
    if (!same || !fs_inode_reopened(child, fd)) {
        close(fd);
    }
    return same ? 0 : -ESTALE;
}

int fs_inode_reopen(FsInode *inode)
{
    FsDescriptors *open = &inode->table->open;
    FsInode *above = NULL; /* what was opened last is held until what is below it is open */
    int error = 0;
    FsRoom room = {0};
    for (unsigned changed = 0; !error && fs_inode_descriptor(inode) < 0;) {
        Step step = {0};
        error = find_step(inode, &step);
        if (error) {
            error = fs_inode_descriptor(inode) >= 0 ? 0 : error;
            break;
        }
        error = open_step(&step);
        if (!error) {
            fs_inode_give_back(above);
            above = g_steal_pointer(&step.child);
            room = (FsRoom){0};
        } else if (fs_inodes_room_made(inode->table, error, &room) ||
                   (error != -ENFILE && has_changed(&step) && changed++ < CHANGED_TRIES)) {
            error = 0; /* once more */
        }
        step_clear(&step);
        fs_inodes_trim(inode->table);
    }
    fs_inode_give_back(above);
    if (error == -ESTALE) {
        atomic_fetch_add_explicit(&open->stale, 1, memory_order_relaxed);
    }
    return error ? error : fs_inode_descriptor(inode);
}
