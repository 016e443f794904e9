/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A window on a disk: see window.h.
 *
 * It is a file in memory, as long as the disk and sparse. Partition tables lie in the first
 * and last sectors; the table of a logical partition of an MBR lies before it,
 * anywhere, and is found from the one before (docs of the PC's partition table). File systems are
 * told by their first 256 KiB, RAID members by their end.
 */
#include "fs/disk/window.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gio/gio.h>

#define SECTOR        512
#define EDGE          (1024 * 1024)
#define PART_HEAD     (256 * 1024)
#define PART_TAIL     (64 * 1024)
#define PIECE         (64 * 1024)
#define LOGICAL_MAX   128
#define TABLE_AT      446
#define TABLE_ENTRY   16
#define TABLE_ENTRIES 4

/* Copy a range, as far as it lies inside of the disk. 0 or negative errno. */
static int copy(int fd, BlockNode *disk, int64_t offset, int64_t length)
{
    g_autofree char *buffer = g_malloc(PIECE);

    if (offset < 0 || offset >= disk->size) {
        return 0;
    }
    length = MIN(length, disk->size - offset);
    while (length > 0) {
        const size_t bytes = (size_t)MIN(length, PIECE);
        int result = block_read_now(disk, buffer, bytes, offset);

        if (result == 0 && pwrite(fd, buffer, bytes, offset) != (ssize_t)bytes) {
            result = -errno;
        }
        if (result < 0) {
            return result;
        }
        offset += (int64_t)bytes;
        length -= (int64_t)bytes;
    }
    return 0;
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* The first extended partition in the table of @sector: its first sector, or 0. */
static uint32_t extended_start(const uint8_t *sector)
{
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        const uint8_t *entry = sector + TABLE_AT + i * TABLE_ENTRY;
        uint32_t start;

        memcpy(&start, entry + 8, sizeof(start));
        if (is_extended(entry[4])) {
            return GUINT32_FROM_LE(start);
        }
    }
    return 0;
}

/* The tables of the logical partitions: each names the next, relative to the first. */
static void copy_logical(int fd, BlockNode *disk)
{
    uint8_t sector[SECTOR];
    int64_t first, at;

    if (disk->size < SECTOR || block_read_now(disk, sector, SECTOR, 0) < 0) {
        return;
    }
    first = at = (int64_t)extended_start(sector) * SECTOR;
    for (unsigned i = 0; i < LOGICAL_MAX && at > 0 && at <= disk->size - SECTOR; i++) {
        int64_t next;

        if (copy(fd, disk, at, SECTOR) < 0 || block_read_now(disk, sector, SECTOR, at) < 0) {
            return;
        }
        next = extended_start(sector);
        at = next == 0 ? 0 : first + next * SECTOR;
    }
}

int disk_window_new(BlockNode *disk, GError **error)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);
    int result = 0;

    if (fd < 0 || ftruncate(fd, disk->size) < 0) {
        result = -errno;
    }
    if (result == 0) {
        result = copy(fd, disk, 0, EDGE);
    }
    if (result == 0) {
        result = copy(fd, disk, MAX(disk->size - EDGE, 0), EDGE);
    }
    if (result < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(-result),
                    "cannot look for partitions in '%s': %s", disk->name, g_strerror(-result));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    copy_logical(fd, disk);
    return fd;
}

void disk_window_add(int fd, BlockNode *disk, int64_t offset, int64_t length)
{
    const int64_t tail = MIN(length, PART_TAIL);

    if (copy(fd, disk, offset, MIN(length, PART_HEAD)) < 0 ||
        copy(fd, disk, offset + length - tail, tail) < 0) {
        g_warning("'%s': what is at %" G_GINT64_FORMAT " cannot be read", disk->name, offset);
    }
}
