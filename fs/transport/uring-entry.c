/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entries of FUSE over io_uring: buffers that go to the kernel and come back.
 *
 * How it works
 *
 * An entry is registered for a queue once, then goes back and forth: a
 * completion brings a request, COMMIT_AND_FETCH takes its answer and waits for
 * the next. It is the worker's, except for its buffer, which belongs to
 *
 *   the kernel                         FS_URING_IN_KERNEL
 *   the request, so whoever answers    FS_URING_WITH_REQUEST
 *   nobody any more                    FS_URING_DEAD
 */
#include <string.h>
#include <sys/mman.h>

#include "fs/transport/uring-internal.h"

/** No kernel has this queue: registering for it turns the mode off. */
#define NO_QUEUE UINT16_MAX

static void prepare_command(struct io_uring_sqe *sqe, const FsUringEntry *entry, uint32_t operation)
{
    struct fs_fuse_uring_command *command = (void *)sqe->cmd;

    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = entry->uring->device_fd;
    if (entry->uring->device_slot >= 0) {
        sqe->fd = entry->uring->device_slot;
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    sqe->cmd_op = operation;
    *command = (struct fs_fuse_uring_command){
        .commit_id = entry->commit_id,
        .qid = entry->queue != NULL ? (uint16_t)entry->queue->number : NO_QUEUE,
    };
}

static void prepare_register(struct io_uring_sqe *sqe, void *opaque)
{
    FsUringEntry *entry = opaque;

    prepare_command(sqe, entry, FS_FUSE_URING_REGISTER);
    sqe->addr = (uintptr_t)entry->iov;
    sqe->len = G_N_ELEMENTS(entry->iov);
}

static void prepare_commit(struct io_uring_sqe *sqe, void *opaque)
{
    prepare_command(sqe, opaque, FS_FUSE_URING_COMMIT_AND_FETCH);
}

static void give_to_kernel(FsUringEntry *entry, AioPrepareFn *prepare)
{
    entry->state = FS_URING_IN_KERNEL;
    entry->fetch.res = FS_URING_NOT_BACK;
    aio_ring_add(entry->uring->ring, prepare, entry, &entry->fetch);
    if (entry->header != NULL) {
        fs_uring_lend(entry);
    }
}

void fs_uring_commit(FsUringEntry *entry)
{
    if (fs_uring_is_stopped(entry->uring)) {
        entry->state = FS_URING_DEAD; /* nobody waits any more */
        return;
    }
    entry->queue->offloaded -= entry->offloaded;
    entry->offloaded = false;
    entry->commit_number = fs_stall_committed(&entry->queue->stall);
    give_to_kernel(entry, prepare_commit);
}

bool fs_uring_add_entry(FsUring *uring, FsUringQueue *queue)
{
    FsUringEntry *entry = g_try_new0(FsUringEntry, 1);
    if (entry == NULL) {
        return false;
    }
    char *memory = mmap(NULL, uring->page + uring->payload_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        g_free(entry);
        return false;
    }
    /* entries lie side by side: a huge page would hold several that are never used */
    (void)madvise(memory, uring->page + uring->payload_size, MADV_NOHUGEPAGE);
    entry->fetch.callback = uring->entry_done;
    entry->fetch.endless = true;
    entry->uring = uring;
    entry->queue = queue;
    entry->header = (void *)memory;
    entry->payload = memory + uring->page;
    entry->iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(*entry->header)};
    entry->iov[1] = (struct iovec){.iov_base = entry->payload, .iov_len = uring->payload_size};
    entry->lent.data = entry;
    entry->next = uring->entries;
    uring->entries = entry;
    queue->entries++;
    fs_stall_registered(&queue->stall);
    give_to_kernel(entry, prepare_register);
    return true;
}

void fs_uring_turn_off(FsUring *uring)
{
    static const struct iovec nothing[2];
    FsUringEntry *entry = g_new0(FsUringEntry, 1);

    entry->fetch.callback = uring->entry_done;
    entry->fetch.endless = true;
    entry->uring = uring;
    memcpy(entry->iov, nothing, sizeof(nothing));
    entry->next = uring->entries;
    uring->entries = entry;
    give_to_kernel(entry, prepare_register);
}

void fs_uring_free_entries(FsUring *uring)
{
    while (uring->entries != NULL) {
        FsUringEntry *next = uring->entries->next;
        if (uring->entries->header != NULL) {
            munmap(uring->entries->header, uring->page + uring->payload_size);
        }
        g_free(uring->entries);
        uring->entries = next;
    }
}
