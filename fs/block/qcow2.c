/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qcow2 node.
 *
 * A read whose range is one run of data, by far the most frequent, is passed on to the
 * file with another offset: no lock, no allocation, no copy. Everything else
 * goes through a coroutine (qcow2-read.c).
 */
#include "fs/block/qcow2.h"

#include <errno.h>
#include <sys/mman.h>

#include <gio/gio.h>

#include "fs/block/qcow2-internal.h"

/* Whether the request is one run of data; then it is passed on. */
static bool pass_on(BlockQcow2 *qcow2, BlockRequest *request, bool in_place)
{
    Qcow2Run run;

    if (block_qcow2_map(qcow2, (uint64_t)request->offset, request->length, &run) < 0 ||
        run.kind != QCOW2_KIND_DATA || run.length != request->length ||
        (in_place && (!run.copied || atomic_load(&qcow2->clears_features)))) {
        return false;
    }
    /* Durable is what can be found again: with changed tables that takes a commit. */
    if (request->flags & BLOCK_FUA && block_qcow2_is_dirty(qcow2)) {
        return false;
    }
    request->offset = (int64_t)run.host_offset;
    block_forward(qcow2->file, request);
    return true;
}

static void qcow2_submit(BlockNode *node, BlockRequest *request)
{
    BlockQcow2 *qcow2 = aio_container_of(node, BlockQcow2, node);

    switch (request->op) {
    case BLOCK_READ:
        if (!pass_on(qcow2, request, false)) {
            block_qcow2_read_scattered(qcow2, request);
        }
        return;
    case BLOCK_STATUS:
        block_qcow2_status(qcow2, request);
        return;
    case BLOCK_FLUSH:
        if (block_qcow2_is_dirty(qcow2)) {
            block_qcow2_change(qcow2, request);
        } else {
            block_forward(qcow2->file, request);
        }
        return;
    case BLOCK_WRITE:
    case BLOCK_ZERO:
        if (!pass_on(qcow2, request, true)) {
            block_qcow2_change(qcow2, request);
        }
        return;
    case BLOCK_DISCARD:
    case BLOCK_GROW:
        block_qcow2_change(qcow2, request);
        return;
    }
    g_error("block node '%s': unknown operation %d", node->name, (int)request->op);
}

static void qcow2_close(BlockNode *node)
{
    BlockQcow2 *qcow2 = aio_container_of(node, BlockQcow2, node);

    block_qcow2_writer_close(qcow2->writer);
    block_qcow2_writer_free(qcow2->writer);
    block_qcow2_cache_fini(qcow2);
    if (qcow2->l2 != NULL) {
        munmap((void *)qcow2->l2, qcow2->l1_room * sizeof(*qcow2->l2));
    }
    if (qcow2->l1 != NULL) {
        munmap((void *)qcow2->l1, qcow2->l1_room * sizeof(*qcow2->l1));
    }
    block_qcow2_header_clear(&qcow2->header);
    block_node_unref(qcow2->backing);
    block_node_unref(qcow2->file);
    g_free(qcow2);
}

static int qcow2_fd(const BlockNode *node)
{
    return block_node_fd(aio_container_of(node, BlockQcow2, node)->file);
}

static const BlockDriver qcow2_driver = {
    .name = "qcow2",
    .submit = qcow2_submit,
    .fd = qcow2_fd,
    .close = qcow2_close,
};

static bool fail(GError **error, const char *what, int result)
{
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(-result), "cannot read its %s: %s",
                what,
                result == -EINVAL ? "it lies behind the end of the file" : g_strerror(-result));
    return false;
}

bool block_qcow2_read_header(BlockNode *file, Qcow2Header *header, GError **error)
{
    /* The header, its extensions and the backing name lie in the first cluster. */
    const size_t length = (size_t)MIN(file->size, INT64_C(1) << QCOW2_CLUSTER_BITS_MAX);
    g_autofree uint8_t *bytes = g_malloc(length);
    int result = block_read_now(file, bytes, length, 0);

    if (result < 0) {
        return fail(error, "header", result);
    }
    return block_qcow2_header_parse(bytes, length, header, error);
}

/* Zeros; what is never touched takes no memory. NULL: there is none. */
static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static bool read_l1(BlockQcow2 *qcow2, GError **error)
{
    const size_t entries = qcow2->header.l1_entries;
    g_autofree uint64_t *bytes = g_try_new0(uint64_t, MAX(entries, 1));
    int result;

    /* A disk that may grow does so in place. */
    qcow2->l1_room = qcow2->node.read_only ? MAX(entries, 1) : QCOW2_L1_ENTRIES_MAX;
    qcow2->l1 = reserve(qcow2->l1_room * sizeof(*qcow2->l1));
    qcow2->l2 = reserve(qcow2->l1_room * sizeof(*qcow2->l2));
    if (bytes == NULL || qcow2->l1 == NULL || qcow2->l2 == NULL) {
        return fail(error, "L1 table", -ENOMEM);
    }
    result = block_read_now(qcow2->file, bytes, entries * sizeof(uint64_t),
                            (int64_t)qcow2->header.l1_offset);
    if (result < 0) {
        return fail(error, "L1 table", result);
    }
    for (size_t i = 0; i < entries; i++) {
        atomic_init(&qcow2->l1[i], GUINT64_FROM_BE(bytes[i]) & QCOW2_OFFSET);
    }
    return true;
}

BlockNode *block_qcow2_new(BlockNode *file, BlockNode *backing, const char *name, bool writable,
                           uint64_t cache_bytes, GError **error)
{
    BlockQcow2 *qcow2 = g_new0(BlockQcow2, 1);

    block_node_init(&qcow2->node, &qcow2_driver, name, 0, !writable);
    qcow2->file = block_node_ref(file);
    qcow2->backing = backing == NULL ? NULL : block_node_ref(backing);
    atomic_init(&qcow2->file_end, (uint64_t)file->size);
    if (!block_qcow2_read_header(file, &qcow2->header, error)) {
        block_node_unref(&qcow2->node);
        return NULL;
    }
    qcow2->l2_bits = qcow2->header.cluster_bits - 3;
    block_qcow2_cache_init(qcow2, cache_bytes);
    if (!read_l1(qcow2, error) || (writable && !block_qcow2_writer_new(qcow2, error))) {
        block_node_unref(&qcow2->node);
        return NULL;
    }
    qcow2->node.size = (int64_t)qcow2->header.size;
    return &qcow2->node;
}
