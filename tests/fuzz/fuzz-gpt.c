/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks with a GPT. Its checksums are put right before it is read, or everything behind them would
 * never be tried; with an odd number of bytes behind the last sector they stay as they are.
 */
#include <string.h>

#include <zlib.h>

#include "fuzz.h"

/* Fields of the header (UEFI specification, 5.3.2). */
#define AT_HEADER_SIZE    12
#define AT_HEADER_CRC     16
#define AT_ENTRIES        72
#define AT_ENTRY_COUNT    80
#define AT_ENTRY_SIZE     84
#define AT_ENTRIES_CRC    88
#define HEADER_SIZE_MIN   92
#define ENTRIES_BYTES_MAX (128 * 1024)

static uint64_t get(const uint8_t *bytes, unsigned width)
{
    uint64_t value = 0;

    for (unsigned i = width; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(bytes, &value, sizeof(value));
}

static void seal(FuzzDisk *disk, uint64_t sector)
{
    uint8_t *header = fuzz_disk_sector(disk, sector);
    uint64_t length, at, end;
    g_autofree uint8_t *entries = NULL;

    if (header == NULL) {
        return;
    }
    length = get(header + AT_ENTRY_COUNT, 4) * get(header + AT_ENTRY_SIZE, 4);
    at = get(header + AT_ENTRIES, 8);
    if (length <= ENTRIES_BYTES_MAX && at < UINT32_MAX &&
        !__builtin_add_overflow(at * FUZZ_SECTOR, length, &end) &&
        end <= (uint64_t)disk->node.size) {
        entries = g_malloc0(length + 1);
        g_assert_cmpint(block_read_now(&disk->node, entries, length, (int64_t)at * FUZZ_SECTOR), ==,
                        0);
        put32(header + AT_ENTRIES_CRC, (uint32_t)crc32(0, entries, (uInt)length));
    }
    length = get(header + AT_HEADER_SIZE, 4);
    put32(header + AT_HEADER_CRC, 0);
    if (length >= HEADER_SIZE_MIN && length <= FUZZ_SECTOR) {
        put32(header + AT_HEADER_CRC, (uint32_t)crc32(0, header, (uInt)length));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzDisk *disk = fuzz_disk_new(data, size);
    BlockNode *file;

    fuzz_context();
    if (disk == NULL) {
        return 0;
    }
    if (size % 2 == 0 && disk->node.size > 2 * FUZZ_SECTOR) {
        seal(disk, 1);
        seal(disk, (uint64_t)disk->node.size / FUZZ_SECTOR - 1);
    }
    fuzz_check_table(&disk->node);
    file = fuzz_disk_to_file(disk);
    fuzz_check_table(file);
    block_node_unref(file);
    block_node_unref(&disk->node);
    return 0;
}
