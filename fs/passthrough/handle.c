/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The handle table. Slots give the numbers; see slots.c for how they are checked. */
#include "fs/passthrough/handle.h"

#include <unistd.h>

#include "fs/passthrough/dir.h"

void fs_handles_init(FsHandleTable *table)
{
    fs_slots_init(&table->slots, sizeof(FsHandle));
}

static void close_descriptors(FsHandle *handle)
{
    close(handle->fd);
    int direct_fd = atomic_load_explicit(&handle->direct_fd, memory_order_acquire);
    if (direct_fd >= 0) {
        close(direct_fd);
    }
    fs_dir_stream_free(handle->dir);
}

static void close_leftover(FsSlot *slot, void *opaque)
{
    FsHandle *handle = (FsHandle *)slot;
    close_descriptors(handle);
    fs_inode_put(handle->inode);
}

void fs_handles_fini(FsHandleTable *table)
{
    fs_slots_foreach(&table->slots, close_leftover, NULL);
    fs_slots_fini(&table->slots);
}

FsHandle *fs_handle_new(FsHandleTable *table, FsInode *inode, int fd, int flags, FsDirStream *dir)
{
    FsHandle *handle = (FsHandle *)fs_slots_alloc(&table->slots);
    if (!handle) {
        close(fd);
        fs_dir_stream_free(dir);
        return NULL;
    }
    handle->table = table;
    handle->inode = fs_inode_ref(inode);
    fs_inode_hold(inode); /* others may remove its name: an open file stays */
    handle->fd = fd;
    handle->flags = flags;
    atomic_store_explicit(&handle->direct_alignment, 0, memory_order_relaxed);
    handle->dir = dir;
    handle->io_mode = FS_IO_UNCOUNTED;
    atomic_store_explicit(&handle->cached, false, memory_order_relaxed);
    atomic_store_explicit(&handle->released, false, memory_order_relaxed);
    atomic_store_explicit(&handle->locks, false, memory_order_relaxed);
    atomic_store_explicit(&handle->direct_fd, FS_HANDLE_DIRECT_UNUSED, memory_order_relaxed);
    atomic_store_explicit(&handle->read_skip, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->read_miss, 0, memory_order_relaxed);
    fs_slot_publish(&handle->slot);
    return handle;
}

void fs_handle_set_cached(FsHandle *handle)
{
    atomic_store_explicit(&handle->cached, true, memory_order_relaxed);
    atomic_fetch_add(&handle->inode->cached_handles, 1);
    atomic_store(&handle->inode->may_have_pages, true);
}

FsHandle *fs_handle_get(FsHandleTable *table, uint64_t id)
{
    FsHandle *handle = (FsHandle *)fs_slots_get(&table->slots, id);
    if (handle && atomic_load_explicit(&handle->released, memory_order_relaxed)) {
        fs_handle_put(handle);
        return NULL;
    }
    return handle;
}

void fs_handle_put(FsHandle *handle)
{
    if (!handle || !fs_slot_unref(&handle->slot)) {
        return;
    }
    close_descriptors(handle);
    if (atomic_load_explicit(&handle->cached, memory_order_relaxed)) {
        atomic_fetch_sub(&handle->inode->cached_handles, 1);
    }
    fs_inode_unhold(handle->inode);
    fs_inode_put(handle->inode);
    handle->inode = NULL;
    handle->dir = NULL;
    fs_slots_release(&handle->table->slots, &handle->slot);
}

bool fs_handle_release(FsHandleTable *table, uint64_t id)
{
    FsHandle *handle = (FsHandle *)fs_slots_get(&table->slots, id);
    if (!handle) {
        return false;
    }
    bool was_open = !atomic_exchange_explicit(&handle->released, true, memory_order_relaxed);
    if (was_open) {
        fs_handle_put(handle); /* the client's */
    }
    fs_handle_put(handle);
    return was_open;
}
