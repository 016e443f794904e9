/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2 images for writing: write, zero, discard, flush and close, then read what is there. The
 * last byte of the input chooses where.
 */
#include <string.h>

#include <unistd.h>

#include "fs/block/qcow2.h"
#include "fs/block/raw.h"
#include "fuzz.h"

#define LENGTH   5000
#define FILE_MAX (64 * 1024 * 1024) /* an image that has become longer is not tried further */

static const BlockOp ops[] = {BLOCK_WRITE,   BLOCK_WRITE, BLOCK_ZERO,  BLOCK_FLUSH,
                              BLOCK_DISCARD, BLOCK_WRITE, BLOCK_ZERO,  BLOCK_READ,
                              BLOCK_WRITE,   BLOCK_GROW,  BLOCK_WRITE, BLOCK_FLUSH};

static void change(BlockNode *node, int fd, uint8_t *buffer, uint8_t seed)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(ops) && lseek(fd, 0, SEEK_END) <= FILE_MAX; i++) {
        const uint64_t anywhere =
            (seed + UINT64_C(1)) * (i + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 1;
        const int64_t room = i % 2 == 0 ? node->size : MIN(node->size, 100000);
        const int64_t at = (int64_t)(anywhere % (uint64_t)room);
        BlockRequest request;

        memset(buffer, (int)i + 1, LENGTH);
        block_request_init(&request, ops[i], buffer, (uint64_t)MIN(node->size - at, LENGTH), at);
        if (ops[i] == BLOCK_GROW && at < INT64_MAX - node->size) {
            request.offset = (node->size + at) / 512 * 512;
        }
        request.flags = i % 3 == 0 ? BLOCK_FUA | BLOCK_MAY_UNMAP : 0;
        fuzz_run(node, &request);
    }
}

/* Open the file; what is done with it depends on whether it is @writable. */
static void use(BlockNode *file, bool writable, uint8_t seed)
{
    g_autofree uint8_t *buffer = g_malloc(LENGTH);
    g_autoptr(GError) error = NULL;
    BlockNode *node = block_qcow2_new(file, NULL, "input", writable, 0, &error);
    BlockRequest request;

    g_assert_true((node == NULL) == (error != NULL));
    if (node != NULL && node->size > 0) {
        if (writable) {
            change(node, block_raw_fd(file), buffer, seed);
        }
        block_request_init(&request, BLOCK_READ, buffer, (uint64_t)MIN(node->size, LENGTH), 0);
        fuzz_run(node, &request);
    }
    block_node_unref(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t seed = size > 0 ? data[size - 1] : 0;
    BlockNode *file;

    fuzz_context();
    file = fuzz_file_node_new(data, size);
    use(file, true, seed);
    file = fuzz_file_node_reopen(file);
    use(file, false, seed);
    block_node_unref(file);
    return 0;
}
