/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * File systems of the source: a short list that only grows.
 *
 * How it works: an inode number is shown with its lower 48 bits as they are. Its upper 16, together
 * with the file system, stand for other 16 bits that nothing else has; for the root's file system
 * these are usually the same ones, so that the mount shows the source's numbers. Nearly all
 * numbers have none set: that case, and that of the last other ones, take no lock.
 */
#include "fs/passthrough/backing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#ifndef EXFAT_SUPER_MAGIC
#define EXFAT_SUPER_MAGIC 0x2011BAB0
#endif

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

#define NUMBER_BITS 48 /* of a number that are never changed */
#define PREFIXES    (1u << (64 - NUMBER_BITS))
#define LEARNED     (UINT64_C(1) << 32)

void fs_backings_init(FsBackings *backings)
{
    pthread_mutex_init(&backings->lock, NULL);
    atomic_init(&backings->first, NULL);
    backings->count = 0;
    backings->prefixes = g_hash_table_new(NULL, NULL);
    memset(backings->used, 0, sizeof(backings->used));
    backings->next_prefix = 0;
}

void fs_backings_fini(FsBackings *backings)
{
    for (FsBacking *backing = atomic_load(&backings->first); backing;) {
        FsBacking *next = backing->next;
        free(backing);
        backing = next;
    }
    g_hash_table_destroy(backings->prefixes);
    pthread_mutex_destroy(&backings->lock);
}

static FsBacking *find(FsBackings *backings, dev_t dev)
{
    FsBacking *backing = atomic_load_explicit(&backings->first, memory_order_acquire);
    while (backing && backing->dev != dev) {
        backing = backing->next;
    }
    return backing;
}

/* What is known of file systems by their type. */
static void classify(FsBacking *backing, int fd)
{
    struct statfs sfs;
    if (fstatfs(fd, &sfs) < 0) {
        return;
    }
    switch ((unsigned long)sfs.f_type) {
    case EXT4_SUPER_MAGIC: /* also ext2, ext3 */
    case XFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
        backing->stable_positions = true;
        G_GNUC_FALLTHROUGH;
    case BTRFS_SUPER_MAGIC: /* where a listing ends is settled when it is opened */
        backing->local = true;
        backing->kernel_io = true;
        break;
    case TMPFS_MAGIC:
        backing->local = true;
        backing->in_memory = true;
        backing->kernel_io = true;
        break;
    case RAMFS_MAGIC:
        backing->local = true;
        backing->in_memory = true;
        break;
    case OVERLAYFS_SUPER_MAGIC:
        backing->fid_marks = true;
        break;
    case EXFAT_SUPER_MAGIC:
    case MSDOS_SUPER_MAGIC: /* a file has another number each time that the kernel reads it */
        backing->fleeting_handles = true;
        backing->no_marks = true;
        break;
    case FUSE_SUPER_MAGIC:
        backing->fleeting_handles = true;
        break;
    default:
        break;
    }
}

static bool take_prefix_locked(FsBackings *backings, unsigned prefix)
{
    unsigned char bit = (unsigned char)(1u << prefix % 8);
    bool is_free = !(backings->used[prefix / 8] & bit);
    backings->used[prefix / 8] |= bit;
    return is_free;
}

/* What to show in place of the upper bits @high of numbers of @backing, from now on. */
static uint16_t prefix_locked(FsBackings *backings, const FsBacking *backing, unsigned high)
{
    gpointer key = GSIZE_TO_POINTER((gsize)backing->index << 16 | high), found;
    if (g_hash_table_lookup_extended(backings->prefixes, key, NULL, &found)) {
        return (uint16_t)GPOINTER_TO_UINT(found);
    }
    unsigned prefix = high;
    if (backing->index != 0 || !take_prefix_locked(backings, high)) {
        for (prefix = backings->next_prefix; prefix < PREFIXES; prefix++) {
            if (take_prefix_locked(backings, prefix)) {
                break;
            }
        }
        if (prefix == PREFIXES) {
            if (backings->next_prefix < PREFIXES) {
                g_message("the file systems of the source have so large inode numbers that some "
                          "may be shown twice");
            }
            backings->next_prefix = PREFIXES;
            return (uint16_t)(high ^ backing->index);
        }
        backings->next_prefix = prefix + 1;
    }
    g_hash_table_insert(backings->prefixes, key, GUINT_TO_POINTER(prefix));
    return (uint16_t)prefix;
}

FsBacking *fs_backing_get(FsBackings *backings, dev_t dev, int fd)
{
    FsBacking *backing = find(backings, dev);
    if (backing) {
        return backing;
    }
    FsBacking found = {.dev = dev};
    classify(&found, fd);
    pthread_mutex_lock(&backings->lock);
    backing = find(backings, dev);
    if (!backing && (backing = calloc(1, sizeof(*backing)))) {
        *backing = found;
        backing->all = backings;
        backing->index = backings->count++;
        backing->prefix = prefix_locked(backings, backing, 0);
        backing->next = atomic_load_explicit(&backings->first, memory_order_relaxed);
        atomic_store_explicit(&backings->first, backing, memory_order_release);
    }
    pthread_mutex_unlock(&backings->lock);
    return backing;
}

ino_t fs_backing_shown_ino(FsBacking *backing, ino_t ino)
{
    const unsigned high = (unsigned)(ino >> NUMBER_BITS);
    uint16_t prefix = backing->prefix;
    if (high != 0) {
        uint64_t learned = atomic_load_explicit(&backing->learned, memory_order_relaxed);
        if (learned >> 16 == (LEARNED >> 16 | high)) {
            prefix = (uint16_t)learned;
        } else {
            pthread_mutex_lock(&backing->all->lock);
            prefix = prefix_locked(backing->all, backing, high);
            pthread_mutex_unlock(&backing->all->lock);
            atomic_store_explicit(&backing->learned, LEARNED | high << 16 | prefix,
                                  memory_order_relaxed);
        }
    }
    return (ino & ((UINT64_C(1) << NUMBER_BITS) - 1)) | (ino_t)prefix << NUMBER_BITS;
}
