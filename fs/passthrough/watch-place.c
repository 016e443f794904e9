/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Marks on the file systems of the source.
 *
 * How it works: an event names a file by its handle. Where handles tell the number of the file,
 * that and the place make the key of its inode; elsewhere the handle is opened, like one that is
 * kept for it. A mount point may show another mount than before under the same numbers: it is
 * marked each time that it is looked up.
 */
#include "fs/passthrough/watch-place.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <glib.h>
#include <linux/magic.h>

#include "fs/passthrough/operations.h"

struct FsWatchPlace {
    FsWatchPlace *next;
    FsInodeKey key; /* of any file on it */
    _Atomic uint64_t fsid;
    _Atomic int error;    /* 0, or why it cannot be watched */
    _Atomic bool numbers; /* handles tell the number of the file */
    FsFileHandle *like;   /* to open others where they do not; under the lock */
};

void fs_watch_places_init(FsWatchPlaces *places, int events_fd, uint64_t mask, int proc_fd,
                          FsMounts *mounts)
{
    *places =
        (FsWatchPlaces){.events_fd = events_fd, .mask = mask, .proc_fd = proc_fd, .mounts = mounts};
    pthread_mutex_init(&places->lock, NULL);
}

void fs_watch_places_destroy(FsWatchPlaces *places)
{
    for (FsWatchPlace *place = atomic_load(&places->first); place;) {
        FsWatchPlace *next = place->next;
        fs_file_handle_free(places->mounts, place->like);
        g_free(place);
        place = next;
    }
    pthread_mutex_destroy(&places->lock);
}

static FsWatchPlace *find_place(const FsWatchPlaces *places, const FsInodeKey *key)
{
    FsWatchPlace *place = atomic_load_explicit(&places->first, memory_order_acquire);
    while (place && (place->key.dev != key->dev || place->key.mount_id != key->mount_id)) {
        place = place->next;
    }
    return place;
}

/* Mark the file system of @fd, once more if it is marked. 0 or negative errno. */
static int mark(const FsWatchPlaces *places, int fd, struct statfs *sfs)
{
    if (fstatfs(fd, sfs) < 0) {
        return -errno;
    }
    FsProcName name = fs_resolve_proc_name(fd);
    int result = fanotify_mark(places->events_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, places->mask,
                               places->proc_fd, name.text);
    return result < 0 ? -errno : 0;
}

/*
 * Whether handles like @handle, of the file with number @ino, tell the number. Others have handles
 * of the same type and length with something else in it, which may look like it by chance.
 */
static bool tells_number(const struct statfs *sfs, const FsHandleName *handle, uint64_t ino)
{
    uint64_t number;
    switch ((unsigned long)sfs->f_type) {
    case EXT4_SUPER_MAGIC: /* also ext2, ext3 */
    case F2FS_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return fs_handle_number(handle, &number) && number == ino;
    default:
        return false;
    }
}

/* Have what is needed to find the files of @place by their handles. 0 or negative errno. */
static int settle_place_locked(FsWatchPlaces *places, FsWatchPlace *place, int fd,
                               const struct statx *stx, const struct statfs *sfs)
{
    FsHandleName handle;
    int error = fs_file_handle_read(fd, &handle);
    if (error) {
        return error;
    }
    const bool numbers = tells_number(sfs, &handle, stx->stx_ino);
    FsFileHandle *like = NULL;
    if (!numbers) {
        like = fs_file_handle_new(places->mounts, &handle, fd, stx->stx_mode);
        int opened = like ? fs_file_handle_open(like) : -EOPNOTSUPP;
        if (opened < 0) {
            fs_file_handle_free(places->mounts, like);
            return opened;
        }
        close(opened);
    }
    fs_file_handle_free(places->mounts, place->like);
    place->like = like;
    atomic_store(&place->numbers, numbers);
    return 0;
}

/* Mark @place and note how to find its files. 0 or negative errno; then it is as it was. */
static int watch_place_locked(FsWatchPlaces *places, FsWatchPlace *place, int fd,
                              const struct statx *stx)
{
    struct statfs sfs;
    uint64_t fsid;
    static_assert(sizeof(sfs.f_fsid) == sizeof(fsid), "64 bits");
    int error = mark(places, fd, &sfs);
    if (!error) {
        error = settle_place_locked(places, place, fd, stx, &sfs);
    }
    if (!error) {
        memcpy(&fsid, &sfs.f_fsid, sizeof(fsid));
        atomic_store(&place->fsid, fsid);
    }
    return error;
}

int fs_watch_places_add(FsWatchPlaces *places, int fd, const struct statx *stx, bool *news)
{
    const FsInodeKey key = fs_inode_key_of(stx);
    FsWatchPlace *place = find_place(places, &key);
    /* both numbers may have been those of another mount before, whose mark has gone with it */
    const bool again = stx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    if (place && !again) {
        *news = false;
        return atomic_load(&place->error);
    }
    pthread_mutex_lock(&places->lock);
    place = find_place(places, &key);
    const bool known = place;
    if (!known) {
        place = g_new0(FsWatchPlace, 1);
        place->key = key;
    }
    int error = watch_place_locked(places, place, fd, stx);
    *news = error != atomic_load(&place->error);
    atomic_store(&place->error, error);
    if (!known) {
        place->next = atomic_load_explicit(&places->first, memory_order_relaxed);
        atomic_store_explicit(&places->first, place, memory_order_release);
    }
    pthread_mutex_unlock(&places->lock);
    return error;
}

FsWatchPlace *fs_watch_places_next(const FsWatchPlaces *places, const FsWatchPlace *place,
                                   uint64_t fsid)
{
    FsWatchPlace *next =
        place ? place->next : atomic_load_explicit(&places->first, memory_order_acquire);
    while (next && atomic_load(&next->fsid) != fsid) {
        next = next->next;
    }
    return next;
}

bool fs_watch_places_two(const FsWatchPlaces *places, uint64_t fsid)
{
    const FsWatchPlace *one = fs_watch_places_next(places, NULL, fsid);

    return one && fs_watch_places_next(places, one, fsid);
}

int fs_watch_place_key(FsWatchPlaces *places, const FsWatchPlace *place, const FsHandleName *handle,
                       FsInodeKey *key)
{
    *key = place->key;
    if (atomic_load(&place->numbers)) {
        uint64_t number;
        const bool found = fs_handle_number(handle, &number);
        key->ino = found ? number : 0;
        return found ? 0 : -EIO;
    }
    struct statx stx;
    pthread_mutex_lock(&places->lock);
    int fd = place->like ? fs_handle_open_name(place->like, handle) : -ESTALE;
    pthread_mutex_unlock(&places->lock);
    int error = fd < 0 ? fd : statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) < 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    if (!error) {
        key->ino = stx.stx_ino;
    }
    return error == -ENOENT ? -ESTALE : error;
}
