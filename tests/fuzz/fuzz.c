/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fuzz harnesses share: see fuzz.h. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/block/raw.h"

#define RECORD      (sizeof(uint32_t) + FUZZ_SECTOR)
#define RECORDS_MAX 256u

static void ignore_message(const gchar *domain, GLogLevelFlags level, const gchar *message,
                           gpointer opaque)
{
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0) {
        g_log_default_handler(domain, level, message, opaque);
    }
}

AioContext *fuzz_context(void)
{
    AioContext *ctx = aio_context_current();

    if (ctx == NULL) {
        g_autoptr(GError) error = NULL;
        AioContextParams params;

        g_log_set_default_handler(ignore_message, NULL);
        g_log_set_fatal_mask(G_LOG_DOMAIN, G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        aio_context_params_init(&params);
        ctx = aio_context_new(&params, &error);
        g_assert_no_error(error);
    }
    return ctx;
}

static void set_done(BlockRequest *request)
{
    *(bool *)request->opaque = true;
}

int fuzz_run(BlockNode *node, BlockRequest *request)
{
    AioContext *ctx = fuzz_context();
    bool done = false;

    request->opaque = &done;
    block_submit(node, request, set_done);
    while (!done) {
        aio_context_poll(ctx, true);
    }
    g_assert_cmpint(request->result, <=, 0);
    return request->result;
}

/* --- bytes in memory --- */

typedef struct Memory {
    BlockNode node;
    const uint8_t *bytes;
} Memory;

/* Read by the driver's own read_now into the request's vector. */
static void submit_read(BlockNode *node, BlockRequest *request)
{
    int64_t offset = request->offset;

    if (request->op != BLOCK_READ) {
        block_complete(request, request->op == BLOCK_FLUSH ? 0 : -EOPNOTSUPP);
        return;
    }
    for (unsigned i = 0; i < request->iov_count; i++) {
        node->driver->read_now(node, request->iov[i].iov_base, request->iov[i].iov_len, offset);
        offset += (int64_t)request->iov[i].iov_len;
    }
    block_complete(request, 0);
}

static int memory_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    if (length > 0) { /* the buffer of an empty read may be NULL */
        memcpy(buffer, aio_container_of(node, Memory, node)->bytes + offset, length);
    }
    return 0;
}

static void memory_close(BlockNode *node)
{
    g_free(aio_container_of(node, Memory, node));
}

BlockNode *fuzz_memory_node_new(const uint8_t *bytes, size_t size)
{
    static const BlockDriver driver = {
        .name = "memory",
        .submit = submit_read,
        .read_now = memory_read_now,
        .close = memory_close,
    };
    Memory *memory = g_new0(Memory, 1);

    block_node_init(&memory->node, &driver, "input", (int64_t)size, true);
    memory->bytes = bytes;
    return &memory->node;
}

static BlockNode *file_node(int fd, bool read_only)
{
    g_autoptr(GError) error = NULL;
    BlockNode *node = block_raw_new(fd, "input", read_only, false, &error);

    g_assert_no_error(error);
    return node;
}

BlockNode *fuzz_file_node_new(const uint8_t *bytes, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, bytes, size), ==, (ssize_t)size);
    return file_node(fd, false);
}

BlockNode *fuzz_file_node_reopen(BlockNode *file)
{
    int fd = dup(block_raw_fd(file));

    g_assert_cmpint(fd, >=, 0);
    block_node_unref(file);
    return file_node(fd, true);
}

/* --- packed disks --- */

static uint32_t get32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return GUINT32_FROM_LE(value);
}

static FuzzDisk *disk_of(BlockNode *node)
{
    return aio_container_of(node, FuzzDisk, node);
}

static uint8_t *record_at(const FuzzDisk *disk, size_t index)
{
    return disk->input + sizeof(uint32_t) + index * RECORD;
}

uint8_t *fuzz_disk_sector(FuzzDisk *disk, uint64_t number)
{
    for (size_t i = 0; i < disk->records; i++) {
        if (get32(record_at(disk, i)) == number) {
            return record_at(disk, i) + sizeof(uint32_t);
        }
    }
    return NULL;
}

static int disk_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    FuzzDisk *disk = disk_of(node);
    const int64_t end = offset + (int64_t)length;

    if (length == 0) {
        return 0;
    }
    memset(buffer, 0, length);
    /* Backwards: of two records with the same number the first counts. */
    for (size_t i = disk->records; i > 0; i--) {
        const uint8_t *record = record_at(disk, i - 1);
        const int64_t at = (int64_t)get32(record) * FUZZ_SECTOR;
        const int64_t low = MAX(at, offset), high = MIN(at + FUZZ_SECTOR, end);

        if (low < high) {
            memcpy((char *)buffer + (low - offset), record + sizeof(uint32_t) + (low - at),
                   (size_t)(high - low));
        }
    }
    return 0;
}

static void disk_close(BlockNode *node)
{
    FuzzDisk *disk = disk_of(node);

    g_free(disk->input);
    g_free(disk);
}

FuzzDisk *fuzz_disk_new(const uint8_t *data, size_t size)
{
    static const BlockDriver driver = {
        .name = "packed",
        .submit = submit_read,
        .read_now = disk_read_now,
        .close = disk_close,
    };
    FuzzDisk *disk;

    if (size < sizeof(uint32_t) || size > sizeof(uint32_t) + RECORDS_MAX * RECORD) {
        return NULL;
    }
    disk = g_new0(FuzzDisk, 1);
    disk->input = g_memdup2(data, size);
    disk->records = (size - sizeof(uint32_t)) / RECORD;
    block_node_init(&disk->node, &driver, "input", (int64_t)get32(data) * FUZZ_SECTOR, true);
    return disk;
}

BlockNode *fuzz_disk_to_file(FuzzDisk *disk)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, disk->node.size), ==, 0);
    for (size_t i = disk->records; i > 0; i--) {
        const uint8_t *record = record_at(disk, i - 1);
        const int64_t at = (int64_t)get32(record) * FUZZ_SECTOR;

        if (at < disk->node.size) {
            g_assert_cmpint(pwrite(fd, record + sizeof(uint32_t), FUZZ_SECTOR, at), ==,
                            FUZZ_SECTOR);
        }
    }
    return file_node(fd, true);
}
