/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** File systems of the source: a short list that only grows. */
#include "fs/passthrough/backing.h"

#include <stdlib.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

void fs_backings_init(FsBackings *backings)
{
    pthread_mutex_init(&backings->lock, NULL);
    atomic_init(&backings->first, NULL);
    backings->count = 0;
}

void fs_backings_fini(FsBackings *backings)
{
    for (FsBacking *backing = atomic_load(&backings->first); backing;) {
        FsBacking *next = backing->next;
        free(backing);
        backing = next;
    }
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
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
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
    default:
        break;
    }
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
        backing->index = backings->count++;
        backing->next = atomic_load_explicit(&backings->first, memory_order_relaxed);
        atomic_store_explicit(&backings->first, backing, memory_order_release);
    }
    pthread_mutex_unlock(&backings->lock);
    return backing;
}

ino_t fs_backing_shown_ino(const FsBacking *backing, ino_t ino)
{
    return ino ^ ((ino_t)(backing->index & 0xffff) << 48);
}
