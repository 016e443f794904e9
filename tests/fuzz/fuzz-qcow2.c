/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qcow2 images for reading: open, ask for the status of the whole, read. */
#include "fs/block/qcow2.h"
#include "fuzz.h"

#define PIECE        (64 * 1024)
#define PIECES       16
#define STATUS_STEPS 2000
#define BACKING      (48 * 1024)

/* Status goes forward and stays inside. */
static void ask_status(BlockNode *node)
{
    int64_t at = 0;

    for (unsigned i = 0; i < STATUS_STEPS && at < node->size; i++) {
        const uint64_t rest = (uint64_t)(node->size - at);
        BlockRequest request;

        block_request_init(&request, BLOCK_STATUS, NULL, rest, at);
        if (fuzz_run(node, &request) < 0) {
            at += (int64_t)MIN(rest, PIECE);
            continue;
        }
        g_assert_cmpuint(request.run, >, 0);
        g_assert_cmpuint(request.run, <=, rest);
        at += (int64_t)request.run;
    }
}

static void read_at(BlockNode *node, uint8_t *buffer, int64_t at)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_READ, buffer, (uint64_t)MIN(node->size - at, PIECE), at);
    fuzz_run(node, &request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t below[BACKING] = {1, 2, 3};
    g_autofree uint8_t *buffer = g_malloc(PIECE);
    BlockNode *file = fuzz_memory_node_new(data, size);
    BlockNode *backing = size % 2 != 0 ? fuzz_memory_node_new(below, sizeof(below)) : NULL;
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    fuzz_context();
    node = block_qcow2_new(file, backing, "input", false, 0, &error);
    g_assert_true((node == NULL) == (error != NULL));
    if (node != NULL && node->size > 0) {
        ask_status(node);
        for (int64_t i = 0; i < PIECES && i * PIECE < node->size; i++) {
            read_at(node, buffer, i * PIECE);
        }
        read_at(node, buffer, MAX(node->size - PIECE, 0));
        read_at(node, buffer, node->size / 2);
    }
    block_node_unref(node);
    block_node_unref(backing);
    block_node_unref(file);
    return 0;
}
