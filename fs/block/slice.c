/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A part of another node.
 *
 * block_submit() has checked the request against our size, and we lie inside
 * of the node below: neither the sum nor the range can overflow there.
 */
#include "fs/block/slice.h"

#include <gio/gio.h>

typedef struct BlockSlice {
    BlockNode node;
    BlockNode *below; /* referenced */
    int64_t offset;
} BlockSlice;

static void slice_submit(BlockNode *node, BlockRequest *request)
{
    BlockSlice *slice = aio_container_of(node, BlockSlice, node);

    if (request->op == BLOCK_GROW) {
        block_complete(request, request->offset == node->size ? 0 : -EOPNOTSUPP);
        return;
    }
    request->offset += slice->offset;
    block_forward(slice->below, request);
}

static int slice_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    BlockSlice *slice = aio_container_of(node, BlockSlice, node);

    return block_read_now(slice->below, buffer, length, slice->offset + offset);
}

static void slice_close(BlockNode *node)
{
    BlockSlice *slice = aio_container_of(node, BlockSlice, node);

    block_node_unref(slice->below);
    g_free(slice);
}

static int slice_fd(const BlockNode *node)
{
    return block_node_fd(aio_container_of(node, BlockSlice, node)->below);
}

static const BlockDriver slice_driver = {
    .name = "slice",
    .submit = slice_submit,
    .read_now = slice_read_now,
    .fd = slice_fd,
    .close = slice_close,
};

BlockNode *block_slice_new(BlockNode *below, const char *name, int64_t offset, int64_t length,
                           GError **error)
{
    BlockSlice *slice;

    if (offset < 0 || length < 0 || offset > below->size || length > below->size - offset) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%" G_GINT64_FORMAT " bytes at %" G_GINT64_FORMAT
                    " do not lie inside of '%s', which has %" G_GINT64_FORMAT " bytes",
                    length, offset, below->name, below->size);
        return NULL;
    }
    slice = g_new0(BlockSlice, 1);
    block_node_init(&slice->node, &slice_driver, name, length, below->read_only);
    slice->below = block_node_ref(below);
    slice->offset = offset;
    return &slice->node;
}

BlockNode *block_slice_bottom(BlockNode *node, int64_t *offset)
{
    *offset = 0;
    while (node->driver == &slice_driver) {
        BlockSlice *slice = aio_container_of(node, BlockSlice, node);

        *offset += slice->offset;
        node = slice->below;
    }
    return node;
}
