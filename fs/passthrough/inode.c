/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inode table.
 *
 * How it works: slots give the node ids; a hash, cut into shards by key, finds
 * the inode of a descriptor that a lookup has just opened. The descriptor of
 * an inode in the table pins it, so (dev, ino) is not reused by the file
 * system while the key is in the table. Without a descriptor the file may be
 * removed by others and its number used again, so the handle, which knows the generation, is
 * compared as well, or the mark that was taken when the descriptor was closed (inode-path.c). An
 * inode with a handle gets a descriptor at most once (fs_inode_pin()) and keeps it.
 *
 * Stable ids: the lower half of a node id is the file's number, so its chain is known from
 * the id alone; a file that has none (another mount, another kind of handle) gets its
 * slot's number with the bit SLOT_ID set, which no file's number has.
 *
 * An inode leaves in this order: last reference dropped (from now on nobody
 * can take one), taken out of its chain under the shard's lock, descriptor
 * closed, slot released. A lookup that meets it between the first two steps
 * passes it over and inserts another inode with the same key.
 */
#include "fs/passthrough/inode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FIRST_BUCKETS 64u
#define SLOT_ID       (UINT64_C(1) << 31)

FsInodeKey fs_inode_key_of(const struct statx *stx)
{
    return (FsInodeKey){
        .dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
        .ino = stx->stx_ino,
        .mount_id = (stx->stx_mask & STATX_MNT_ID) ? stx->stx_mnt_id : 0,
    };
}

static uint64_t key_hash(const FsInodeKey *key)
{
    /* splitmix64's finaliser over the three parts */
    uint64_t hash = key->ino + key->dev * 0x9e3779b97f4a7c15u + (key->mount_id << 40);
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

bool fs_inode_key_equal(const FsInodeKey *a, const FsInodeKey *b)
{
    return a->ino == b->ino && a->dev == b->dev && a->mount_id == b->mount_id;
}

static FsInodeShard *shard_of(FsInodeTable *table, uint64_t hash)
{
    return &table->shards[hash % FS_INODE_SHARDS];
}

static FsInode **bucket_of(const FsInodeShard *shard, uint64_t hash)
{
    return &shard->buckets[(hash / FS_INODE_SHARDS) & (shard->bucket_count - 1)];
}

void fs_inodes_init(FsInodeTable *table, FsInodeCloseFn *close, void *opaque)
{
    fs_slots_init(&table->slots, sizeof(FsInode));
    table->close = close;
    table->opaque = opaque;
    fs_mounts_init(&table->mounts);
    fs_descriptors_init(&table->open);
    table->stable_like = (FsInodeKey){0};
    atomic_init(&table->descriptors, 0);
    atomic_init(&table->by_handle, 0);
    for (unsigned i = 0; i < FS_INODE_SHARDS; i++) {
        FsInodeShard *shard = &table->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        shard->bucket_count = FIRST_BUCKETS;
        shard->buckets = g_new0(FsInode *, FIRST_BUCKETS);
        shard->count = 0;
    }
}

void fs_inodes_use_stable_ids(FsInodeTable *table, const FsInodeKey *like)
{
    table->stable_like = *like;
}

/* The node id of a new inode. */
static uint64_t choose_id(const FsInodeTable *table, const FsSlot *slot, const FsInodeFound *found)
{
    const FsInodeKey *like = &table->stable_like;
    uint64_t id = fs_slot_id(slot), packed;
    if (like->dev == 0 || id == FS_INODE_ROOT_ID) {
        return id;
    }
    bool stable = found->key.dev == like->dev && found->key.mount_id == like->mount_id &&
                  found->handle && fs_handle_pack(found->handle, &packed) &&
                  (uint32_t)packed == found->key.ino && packed != FS_INODE_ROOT_ID;
    return stable ? packed : id | SLOT_ID;
}

static void close_descriptor(FsInodeTable *table, int fd, mode_t type)
{
    if (table->close) {
        table->close(fd, type, table->opaque);
    } else {
        close(fd);
    }
}

static void close_leftover(FsSlot *slot, void *opaque)
{
    FsInode *inode = (FsInode *)slot;
    int fd = fs_inode_descriptor(inode);
    if (fd >= 0) {
        close(fd);
    }
    fs_file_handle_free(&inode->table->mounts, inode->handle);
    free(atomic_load(&inode->name)); /* with the reference on its parent, which goes as well */
}

void fs_inodes_fini(FsInodeTable *table)
{
    fs_slots_foreach(&table->slots, close_leftover, NULL);
    for (unsigned i = 0; i < FS_INODE_SHARDS; i++) {
        pthread_mutex_destroy(&table->shards[i].lock);
        g_free(table->shards[i].buckets);
    }
    fs_descriptors_fini(&table->open);
    fs_slots_fini(&table->slots);
    fs_mounts_fini(&table->mounts);
}

/* Twice the buckets when chains grow; without memory the chains stay long. */
static void grow_locked(FsInodeShard *shard)
{
    unsigned new_count = shard->bucket_count * 2;
    FsInode **buckets = g_try_new0(FsInode *, new_count);
    if (!buckets) {
        return;
    }
    FsInode **old = shard->buckets;
    unsigned old_count = shard->bucket_count;
    shard->buckets = buckets;
    shard->bucket_count = new_count;
    for (unsigned i = 0; i < old_count; i++) {
        for (FsInode *inode = old[i]; inode;) {
            FsInode *next = inode->next;
            FsInode **bucket = bucket_of(shard, key_hash(&inode->key));
            inode->next = *bucket;
            *bucket = inode;
            inode = next;
        }
    }
    g_free(old);
}

/* Whether the file that was found is @inode; @mark: of the file, if looked at. */
static bool is_found(FsInode *inode, const FsInodeFound *found, uint64_t mark, bool *by_mark)
{
    if (!fs_inode_key_equal(&inode->key, &found->key)) {
        return false;
    }
    /* two descriptors that are open at once with one number are of one file */
    if (fs_inode_descriptor(inode) >= 0) {
        return true;
    }
    if (inode->handle) {
        return found->handle && fs_file_handle_is(inode->handle, found->handle);
    }
    *by_mark = true;
    return fs_inode_is_marked(inode, mark);
}

/*
 * The living inode of @found with a reference for the caller, or NULL. *@by_mark: there was one
 * without a descriptor, which only its mark can tell from others.
 */
static FsInode *find_locked(FsInodeShard *shard, uint64_t hash, const FsInodeFound *found,
                            uint64_t mark, bool *by_mark)
{
    *by_mark = false;
    for (FsInode *inode = *bucket_of(shard, hash); inode; inode = inode->next) {
        if (is_found(inode, found, mark, by_mark) && fs_slot_try_ref(&inode->slot)) {
            return inode;
        }
    }
    return NULL;
}

/* Takes the descriptor of @found, or leaves it if the handle is kept. */
static FsInode *insert_locked(FsInodeTable *table, FsInodeShard *shard, uint64_t hash,
                              const FsInodeFound *found)
{
    FsInode *inode = (FsInode *)fs_slots_alloc(&table->slots);
    if (!inode) {
        return NULL;
    }
    inode->table = table;
    inode->id = choose_id(table, &inode->slot, found);
    inode->handle = found->by_handle && found->handle
                        ? fs_file_handle_new(&table->mounts, found->handle, found->fd, found->type)
                        : NULL;
    atomic_fetch_add(inode->handle ? &table->by_handle : &table->descriptors, 1);
    inode->type = found->type & S_IFMT;
    inode->key = found->key;
    inode->backing = found->backing;
    inode->lookups = 0;
    atomic_store_explicit(&inode->cached_handles, 0, memory_order_relaxed);
    atomic_store_explicit(&inode->may_have_pages, false, memory_order_relaxed);
    atomic_store_explicit(&inode->late_drop, false, memory_order_relaxed);
    inode->kernel_handles = inode->daemon_handles = 0;
    inode->backing_id = 0;
    inode->cached_size = -1;

    if (shard->count >= shard->bucket_count * 2) {
        grow_locked(shard);
    }
    FsInode **bucket = bucket_of(shard, hash);
    inode->next = *bucket;
    *bucket = inode;
    shard->count++;
    fs_inode_path_init(inode, inode->handle ? -1 : found->fd);
    fs_slot_publish(&inode->slot);
    return inode;
}

FsInode *fs_inode_lookup_found(FsInodeTable *table, const FsInodeFound *found)
{
    uint64_t hash = key_hash(&found->key), mark = FS_NO_MARK;
    FsInodeShard *shard = shard_of(table, hash);
    bool taken = false, by_mark;

    pthread_mutex_lock(&shard->lock);
    FsInode *inode = find_locked(shard, hash, found, FS_NO_MARK, &by_mark);
    if (!inode && by_mark) {
        pthread_mutex_unlock(&shard->lock);
        bool young;
        mark = fs_inode_mark_of(found->backing, found->fd, &young);
        pthread_mutex_lock(&shard->lock);
        inode = find_locked(shard, hash, found, mark, &by_mark);
    }
    if (!inode) {
        inode = insert_locked(table, shard, hash, found);
        taken = inode && !inode->handle;
    } else if (by_mark && !inode->handle) {
        taken = fs_inode_reopened(inode, found->fd);
    }
    if (inode && inode->lookups++ == 0) {
        fs_inode_ref(inode); /* the kernel's */
    }
    pthread_mutex_unlock(&shard->lock);

    if (!taken) {
        close(found->fd);
    }
    if (inode && found->parent) {
        fs_inode_remember_name(inode, found->parent, found->name);
    }
    return inode;
}

FsInode *fs_inode_lookup(FsInodeTable *table, const FsInodeKey *key, int fd, mode_t type,
                         FsBacking *backing)
{
    const FsInodeFound found = {.key = *key, .fd = fd, .type = type, .backing = backing};
    return fs_inode_lookup_found(table, &found);
}

FsInode *fs_inode_find(FsInodeTable *table, const FsInodeFound *found)
{
    uint64_t hash = key_hash(&found->key);
    uint64_t mark = found->handle ? fs_inode_mark_by_handle(found->handle) : FS_NO_MARK;
    FsInodeShard *shard = shard_of(table, hash);
    bool by_mark;
    pthread_mutex_lock(&shard->lock);
    FsInode *inode = find_locked(shard, hash, found, mark, &by_mark);
    pthread_mutex_unlock(&shard->lock);
    return inode;
}

void fs_inode_pin(FsInodeTable *table, const FsInodeFound *found)
{
    FsInode *inode = fs_inode_find(table, found);
    int fd = found->fd;
    if (inode && inode->handle && fs_inode_reopened(inode, fd)) {
        fd = -1;
    }
    fs_inode_put(inode);
    if (fd >= 0) {
        close(fd);
    }
}

FsInode *fs_inode_get(FsInodeTable *table, uint64_t id)
{
    if (table->stable_like.dev == 0 || id == FS_INODE_ROOT_ID) {
        return (FsInode *)fs_slots_get(&table->slots, id);
    }
    if (id & SLOT_ID) {
        return (FsInode *)fs_slots_get(&table->slots, id & ~SLOT_ID);
    }
    FsInodeKey key = table->stable_like;
    key.ino = (uint32_t)id;
    uint64_t hash = key_hash(&key);
    FsInodeShard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    FsInode *inode = *bucket_of(shard, hash);
    while (inode && !(inode->id == id && fs_slot_try_ref(&inode->slot))) {
        inode = inode->next;
    }
    pthread_mutex_unlock(&shard->lock);
    return inode;
}

FsInode *fs_inode_ref(FsInode *inode)
{
    bool alive = fs_slot_try_ref(&inode->slot);
    assert(alive);
    (void)alive;
    return inode;
}

static void unhash(FsInodeTable *table, FsInode *inode)
{
    uint64_t hash = key_hash(&inode->key);
    FsInodeShard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    FsInode **link = bucket_of(shard, hash);
    while (*link != inode) {
        link = &(*link)->next;
    }
    *link = inode->next;
    shard->count--;
    pthread_mutex_unlock(&shard->lock);
}

void fs_inode_put(FsInode *inode)
{
    /* the last reference on an inode is the last one that its name had on the parent, and so on */
    for (FsInode *parent; inode && fs_slot_unref(&inode->slot); inode = parent) {
        FsInodeTable *table = inode->table;
        unhash(table, inode);
        int fd = fs_inode_path_fini(inode, &parent);
        if (fd >= 0) {
            close_descriptor(table, fd, inode->type);
            atomic_fetch_sub(&table->descriptors, 1);
        }
        if (inode->handle) {
            fs_file_handle_free(&table->mounts, g_steal_pointer(&inode->handle));
            atomic_fetch_sub(&table->by_handle, 1);
        }
        fs_slots_release(&table->slots, &inode->slot);
    }
}

bool fs_inode_forget(FsInodeTable *table, uint64_t id, uint64_t count)
{
    if (id == FS_INODE_ROOT_ID) {
        return true;
    }
    g_autoptr(FsInode) inode = fs_inode_get(table, id);
    if (!inode) {
        return false;
    }
    FsInodeShard *shard = shard_of(table, key_hash(&inode->key));
    pthread_mutex_lock(&shard->lock);
    bool exact = count <= inode->lookups;
    bool had_any = inode->lookups > 0;
    inode->lookups -= exact ? count : inode->lookups;
    bool last = had_any && inode->lookups == 0;
    pthread_mutex_unlock(&shard->lock);
    if (last) {
        fs_inode_put(inode); /* the kernel's; ours still holds it */
    }
    return exact;
}

bool fs_inode_pages_valid(FsInode *inode, const struct stat *st)
{
    FsInodeShard *shard = shard_of(inode->table, key_hash(&inode->key));
    pthread_mutex_lock(&shard->lock);
    bool same = inode->cached_size == st->st_size &&
                inode->cached_time.tv_sec == st->st_mtim.tv_sec &&
                inode->cached_time.tv_nsec == st->st_mtim.tv_nsec;
    inode->cached_size = st->st_size;
    inode->cached_time = st->st_mtim;
    pthread_mutex_unlock(&shard->lock);
    return same;
}

uint64_t fs_inode_lookups(FsInode *inode)
{
    FsInodeShard *shard = shard_of(inode->table, key_hash(&inode->key));
    pthread_mutex_lock(&shard->lock);
    uint64_t lookups = inode->lookups;
    pthread_mutex_unlock(&shard->lock);
    return lookups;
}
