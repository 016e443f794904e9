/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * File handles of the source.
 *
 * How it works: the kernel opens a handle on the mount of any descriptor that
 * is given with it, as long as that is not O_PATH. So one directory of each mount
 * is held open, by those handles that lie there: a mount below the source is
 * let go of when its last file has been forgotten. The open directory keeps the
 * mount, so its id is not given to another one meanwhile.
 */
#include "fs/passthrough/file-handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>

#include "fs/passthrough/resolve.h"

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif

struct FsMount {
    FsMount *next;
    int id;
    int fd; /* of a directory on it */
    unsigned references;
};

struct FsFileHandle {
    FsMount *mount; /* referenced */
    unsigned length;
    int type;
    unsigned char name[]; /* length bytes */
};

/* struct file_handle with its room */
typedef union HandleRoom {
    struct file_handle handle;
    char room[sizeof(struct file_handle) + sizeof(((FsHandleName *)NULL)->name)];
} HandleRoom;

void fs_mounts_init(FsMounts *mounts)
{
    pthread_mutex_init(&mounts->lock, NULL);
    mounts->first = NULL;
}

void fs_mounts_fini(FsMounts *mounts)
{
    g_assert(mounts->first == NULL);
    pthread_mutex_destroy(&mounts->lock);
}

static int read_handle(int fd, int how, FsHandleName *name)
{
    HandleRoom room = {.handle.handle_bytes = sizeof(name->name)};
    if (name_to_handle_at(fd, "", &room.handle, &name->mount_id, AT_EMPTY_PATH | how) < 0) {
        return errno == EOVERFLOW ? -EOPNOTSUPP : -errno;
    }
    name->length = room.handle.handle_bytes;
    name->type = room.handle.handle_type;
    memcpy(name->name, room.handle.f_handle, name->length);
    return 0;
}

int fs_file_handle_read(int fd, FsHandleName *name)
{
    return read_handle(fd, 0, name);
}

int fs_file_handle_read_to_compare(int fd, FsHandleName *name)
{
    int error = read_handle(fd, AT_HANDLE_FID, name);
    return error == -EINVAL ? -EOPNOTSUPP : error; /* before Linux 6.5 */
}

static int open_handle(int mount, const void *bytes, unsigned length, int type)
{
    HandleRoom room = {.handle = {.handle_bytes = length, .handle_type = type}};
    memcpy(room.handle.f_handle, bytes, length);
    int fd = open_by_handle_at(mount, &room.handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? fs_client_error(errno) : fd;
}

int fs_file_handle_probe(int dir, FsHandleName *name)
{
    int error = fs_file_handle_read(dir, name);
    if (error) {
        return error;
    }
    int mount = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mount < 0) {
        return -errno;
    }
    int fd = open_handle(mount, name->name, name->length, name->type);
    close(mount);
    if (fd < 0) {
        return fd;
    }
    close(fd);
    return 0;
}

static FsMount *mount_get_locked(FsMounts *mounts, int id, int fd, mode_t type)
{
    for (FsMount *mount = mounts->first; mount; mount = mount->next) {
        if (mount->id == id) {
            mount->references++;
            return mount;
        }
    }
    int dir = S_ISDIR(type) ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    FsMount *mount = dir < 0 ? NULL : malloc(sizeof(*mount));
    if (mount) {
        *mount = (FsMount){.next = mounts->first, .id = id, .fd = dir, .references = 1};
        mounts->first = mount;
    } else if (dir >= 0) {
        close(dir);
    }
    return mount;
}

static void mount_put_locked(FsMounts *mounts, FsMount *mount)
{
    if (--mount->references > 0) {
        return;
    }
    FsMount **link = &mounts->first;
    while (*link != mount) {
        link = &(*link)->next;
    }
    *link = mount->next;
    close(mount->fd);
    free(mount);
}

FsFileHandle *fs_file_handle_new(FsMounts *mounts, const FsHandleName *name, int fd, mode_t type)
{
    FsFileHandle *handle = malloc(sizeof(*handle) + name->length);
    if (!handle) {
        return NULL;
    }
    pthread_mutex_lock(&mounts->lock);
    handle->mount = mount_get_locked(mounts, name->mount_id, fd, type);
    pthread_mutex_unlock(&mounts->lock);
    if (!handle->mount) {
        free(handle);
        return NULL;
    }
    handle->length = name->length;
    handle->type = name->type;
    memcpy(handle->name, name->name, name->length);
    return handle;
}

void fs_file_handle_free(FsMounts *mounts, FsFileHandle *handle)
{
    if (!handle) {
        return;
    }
    pthread_mutex_lock(&mounts->lock);
    mount_put_locked(mounts, handle->mount);
    pthread_mutex_unlock(&mounts->lock);
    free(handle);
}

bool fs_file_handle_is(const FsFileHandle *handle, const FsHandleName *name)
{
    return handle->type == name->type && handle->length == name->length &&
           memcmp(handle->name, name->name, name->length) == 0;
}

int fs_file_handle_open(const FsFileHandle *handle)
{
    return open_handle(handle->mount->fd, handle->name, handle->length, handle->type);
}

int fs_handle_open_name(const FsFileHandle *like, const FsHandleName *name)
{
    return open_handle(like->mount->fd, name->name, name->length, name->type);
}

/* Where in a handle, in words of 32 bits, number and generation are; the rest is zero. */
typedef struct HandleLayout {
    int type;
    unsigned length, number, generation;
} HandleLayout;

static const HandleLayout layouts[] = {
    {1, 8, 0, 1},     /* number, generation: ext4 and what else has no form of its own */
    {1, 12, 1, 0},    /* tmpfs: generation, number of 64 bits */
    {0x81, 12, 0, 2}, /* xfs: number of 64 bits, generation */
};

static const HandleLayout *find_layout(int type, unsigned length)
{
    for (size_t i = 0; i < G_N_ELEMENTS(layouts); i++) {
        if (layouts[i].type == type && layouts[i].length == length) {
            return &layouts[i];
        }
    }
    return NULL;
}

/* The bytes of @packed in a handle of @layout. */
static void unpack(const HandleLayout *layout, uint64_t packed, uint32_t words[3])
{
    memset(words, 0, 3 * sizeof(words[0]));
    words[layout->number] = (uint32_t)packed;
    words[layout->generation] = (uint32_t)(packed >> 32);
}

bool fs_handle_number(const FsHandleName *name, uint64_t *number)
{
    const HandleLayout *layout = find_layout(name->type, name->length);
    uint32_t words[3] = {0};
    if (!layout) {
        return false;
    }
    memcpy(words, name->name, name->length);
    *number = words[layout->number];
    if (name->length == sizeof(words)) { /* with the upper half behind the lower one */
        *number |= (uint64_t)words[layout->number + 1] << 32;
    }
    return true;
}

bool fs_handle_pack(const FsHandleName *name, uint64_t *packed)
{
    const HandleLayout *layout = find_layout(name->type, name->length);
    uint32_t words[3] = {0}, again[3];
    if (!layout) {
        return false;
    }
    memcpy(words, name->name, name->length);
    *packed = (uint64_t)words[layout->generation] << 32 | words[layout->number];
    unpack(layout, *packed, again);
    return memcmp(words, again, sizeof(words)) == 0 && words[layout->number] < 1u << 31;
}

int fs_handle_open_packed(const FsFileHandle *like, uint64_t packed)
{
    const HandleLayout *layout = find_layout(like->type, like->length);
    uint32_t words[3];
    if (!layout) {
        return -ESTALE;
    }
    unpack(layout, packed, words);
    return open_handle(like->mount->fd, words, like->length, like->type);
}
