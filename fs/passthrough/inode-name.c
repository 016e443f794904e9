/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Names of inodes that have no file handle.
 *
 * How it works: an inode has at most one name, (parent, text), the last one under which it was
 * found; an index leads from a name to its inode. A name references its parent, so a directory
 * stays in the table as long as a name leads through it. Following parents always ends at an
 * inode without name, mostly the root: a directory is not given a name below itself, which stale
 * names would otherwise make possible once others move directories around.
 *
 * Names are believed when an inode is opened again only as far as the file that is found proves
 * to be the right one (inode-path.c). So a name may be out of date; what may not happen is that
 * the mount itself takes a name away from an inode that is closed, or while it is being closed.
 * fs_name_hold() sees to that: from before the change until after it the inode has a descriptor
 * and a user.
 *
 * The lock is never held across a system call, or while a reference is dropped.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/passthrough/inode.h"

#define FIRST_BUCKETS 32u

static uint64_t name_hash(const FsInode *parent, const char *text)
{
    uint64_t hash = (uint64_t)(uintptr_t)parent;
    for (const char *at = text; *at; at++) {
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    }
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    return hash ^ (hash >> 31);
}

static FsNameShard *shard_of(FsInodeTable *table, uint64_t hash)
{
    return &table->open.names[hash % FS_NAME_SHARDS];
}

static FsInodeName **bucket_of(const FsNameShard *shard, uint64_t hash)
{
    return &shard->buckets[(hash / FS_NAME_SHARDS) & (shard->bucket_count - 1)];
}

/* False: there are no buckets at all. */
static bool grow_locked(FsNameShard *shard)
{
    unsigned new_count = shard->bucket_count ? shard->bucket_count * 2 : FIRST_BUCKETS;
    FsInodeName **old = shard->buckets;
    FsInodeName **buckets = g_try_new0(FsInodeName *, new_count);
    if (!buckets) {
        return old != NULL;
    }
    unsigned old_count = shard->bucket_count;
    shard->buckets = buckets;
    shard->bucket_count = new_count;
    for (unsigned i = 0; i < old_count; i++) {
        for (FsInodeName *name = old[i], *next; name; name = next) {
            next = name->next;
            FsInodeName **bucket = bucket_of(shard, name_hash(name->parent, name->text));
            name->next = *bucket;
            *bucket = name;
        }
    }
    g_free(old);
    return true;
}

static FsInodeName *name_of(const FsInode *inode)
{
    return atomic_load_explicit(&inode->name, memory_order_relaxed);
}

static bool name_is(const FsInodeName *name, const FsInode *parent, const char *text)
{
    return name && name->parent == parent && strcmp(name->text, text) == 0;
}

static FsInodeName *find_locked(FsInodeTable *table, const FsInode *parent, const char *text)
{
    uint64_t hash = name_hash(parent, text);
    FsNameShard *shard = shard_of(table, hash);
    FsInodeName *name = shard->bucket_count ? *bucket_of(shard, hash) : NULL;
    while (name && !name_is(name, parent, text)) {
        name = name->next;
    }
    return name;
}

void fs_inode_drop_name_locked(FsInode *inode, FsInodeName **dropped)
{
    FsInodeName *name = name_of(inode);
    if (!name) {
        return;
    }
    uint64_t hash = name_hash(name->parent, name->text);
    FsNameShard *shard = shard_of(inode->table, hash);
    FsInodeName **link = bucket_of(shard, hash);
    while (*link != name) {
        link = &(*link)->next;
    }
    *link = name->next;
    shard->count--;
    atomic_store_explicit(&inode->name, NULL, memory_order_relaxed);
    name->parent->open_children -= fs_inode_descriptor(inode) >= 0;
    inode->changes++;
    name->next = *dropped;
    *dropped = name;
}

void fs_inode_names_free(FsInodeName *dropped)
{
    while (dropped) {
        FsInodeName *name = dropped;
        dropped = name->next;
        fs_inode_put(name->parent);
        free(name);
    }
}

/* NULL: no memory. */
static FsInodeName *make_name(FsInode *inode, FsInode *parent, const char *text)
{
    size_t size = strlen(text) + 1;
    FsInodeName *name = malloc(sizeof(*name) + size);
    if (name) {
        name->inode = inode;
        name->parent = fs_inode_ref(parent);
        memcpy(name->text, text, size);
    }
    return name;
}

/* Whether @inode is @directory or above it. */
static bool is_above(const FsInode *inode, const FsInode *directory)
{
    while (directory && directory != inode) {
        const FsInodeName *name = name_of(directory);
        directory = name ? name->parent : NULL;
    }
    return directory != NULL;
}

/* Give @name to its inode, in place of the one it has and of whoever else has this name. */
static void set_name_locked(FsInodeName *name, FsInodeName **dropped)
{
    FsInode *inode = name->inode;
    FsInodeTable *table = inode->table;
    uint64_t hash = name_hash(name->parent, name->text);
    FsNameShard *shard = shard_of(table, hash);
    FsInodeName *other = find_locked(table, name->parent, name->text);
    if (other) {
        fs_inode_drop_name_locked(other->inode, dropped);
    }
    fs_inode_drop_name_locked(inode, dropped);
    if ((S_ISDIR(inode->type) && is_above(inode, name->parent)) ||
        (shard->count >= shard->bucket_count && !grow_locked(shard))) {
        name->next = *dropped;
        *dropped = name;
        return;
    }
    FsInodeName **bucket = bucket_of(shard, hash);
    name->next = *bucket;
    *bucket = name;
    shard->count++;
    inode->changes++;
    name->parent->open_children += fs_inode_descriptor(inode) >= 0;
    atomic_store_explicit(&inode->name, name, memory_order_relaxed);
}

/*
 * The first file of a mount keeps its descriptor, and with it the mount: what is below, then, is
 * never opened in another file system that others have mounted in its place.
 */
static bool is_other_mount(const FsInodeKey *key, const FsInodeKey *parent)
{
    return key->mount_id != parent->mount_id || (key->mount_id == 0 && key->dev != parent->dev);
}

static void forget_name(FsInode *inode)
{
    FsDescriptors *open = &inode->table->open;
    FsInodeName *dropped = NULL;
    pthread_mutex_lock(&open->lock);
    fs_inode_drop_name_locked(inode, &dropped);
    pthread_mutex_unlock(&open->lock);
    fs_inode_names_free(dropped);
}

void fs_inode_remember_name(FsInode *inode, const FsInode *parent, const char *text)
{
    FsDescriptors *open = &inode->table->open;
    if (!open->resolver || inode->handle || fs_inode_id(inode) == FS_INODE_ROOT_ID) {
        return;
    }
    if (is_other_mount(&inode->key, &parent->key)) {
        forget_name(inode);
        return;
    }
    pthread_mutex_lock(&open->lock);
    bool known = name_is(name_of(inode), parent, text);
    pthread_mutex_unlock(&open->lock);
    FsInodeName *name = known ? NULL : make_name(inode, (FsInode *)parent, text);
    if (name) {
        FsInodeName *dropped = NULL;
        pthread_mutex_lock(&open->lock);
        set_name_locked(name, &dropped);
        pthread_mutex_unlock(&open->lock);
        fs_inode_names_free(dropped);
    }
}

bool fs_inode_keeps_pinned(FsInode *inode)
{
    FsDescriptors *open = &inode->table->open;
    FsInode *child = inode;
    if (inode->handle || fs_inode_descriptor(inode) >= 0) {
        return false;
    }
    pthread_mutex_lock(&open->lock);
    FsInodeName *name;
    while (fs_inode_descriptor(child) < 0 && (name = name_of(child))) {
        child = name->parent;
    }
    bool pinned = child != inode && fs_inode_descriptor(child) >= 0 && !name_of(child) &&
                  fs_inode_id(child) != FS_INODE_ROOT_ID;
    pthread_mutex_unlock(&open->lock);
    return pinned;
}

int fs_name_hold(FsInodeTable *table, const FsInode *parent, const char *text, FsNameHold *hold)
{
    FsDescriptors *open = &table->open;
    hold->inode = NULL;
    pthread_mutex_lock(&open->lock);
    FsInodeName *name = find_locked(table, parent, text);
    if (name && fs_slot_try_ref(&name->inode->slot)) {
        hold->inode = name->inode;
        fs_inode_hold(hold->inode);
    }
    pthread_mutex_unlock(&open->lock);
    if (!hold->inode) {
        return 0;
    }
    g_auto(FsPathFd) path = fs_inode_path(hold->inode);
    /* ESTALE: another file has that name, ours is lost already */
    return path.fd < 0 && path.fd != -ESTALE ? path.fd : 0;
}

void fs_name_hold_clear(FsNameHold *hold)
{
    fs_inode_give_back(hold->inode);
}

void fs_name_removed(const FsNameHold *hold, const FsInode *parent, const char *text)
{
    if (!hold->inode) {
        return;
    }
    FsDescriptors *open = &hold->inode->table->open;
    FsInodeName *dropped = NULL;
    pthread_mutex_lock(&open->lock);
    if (name_is(name_of(hold->inode), parent, text)) {
        fs_inode_drop_name_locked(hold->inode, &dropped);
    }
    pthread_mutex_unlock(&open->lock);
    fs_inode_names_free(dropped);
}
