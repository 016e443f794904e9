/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * File handles of the source (name_to_handle_at(2)): to know a file without
 * holding a descriptor of it.
 */
#ifndef SLUICE_FS_PASSTHROUGH_FILE_HANDLE_H
#define SLUICE_FS_PASSTHROUGH_FILE_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct FsMount FsMount;

/** Mounts on which files are known by handle; each has one open directory. */
typedef struct FsMounts {
    pthread_mutex_t lock;
    FsMount *first;
} FsMounts;

/** A handle as the system call gives it. */
typedef struct FsHandleName {
    int mount_id;
    unsigned length; /**< bytes of name */
    int type;
    unsigned char name[128];
} FsHandleName;

/** A handle that is kept, with a reference on its mount. */
typedef struct FsFileHandle FsFileHandle;

void fs_mounts_init(FsMounts *mounts);

/** All handles must have been freed. */
void fs_mounts_fini(FsMounts *mounts);

/**
 * Whether files of the file system behind @dir (a directory, O_PATH) can be
 * opened by handle: 0 with that of @dir in *@name, -EOPNOTSUPP (it has none), -EPERM
 * (no CAP_DAC_READ_SEARCH).
 */
int fs_file_handle_probe(int dir, FsHandleName *name);

/** The handle of the file behind @fd (O_PATH). 0 or negative errno. Any thread. */
int fs_file_handle_read(int fd, FsHandleName *name);

/** The same for a handle that need not be one that can be opened (Linux 6.5). */
int fs_file_handle_read_to_compare(int fd, FsHandleName *name);

/**
 * Keep @name, of the file behind @fd (O_PATH). A mount becomes known by the first
 * directory on it. NULL: its mount is not known and this is no directory, or
 * something is short; the descriptor has to be kept. Any thread.
 */
FsFileHandle *fs_file_handle_new(FsMounts *mounts, const FsHandleName *name, int fd, mode_t type);

/** NULL is allowed. Any thread. */
void fs_file_handle_free(FsMounts *mounts, FsFileHandle *handle);

/** Whether both name the same file, of the same generation. */
bool fs_file_handle_is(const FsFileHandle *handle, const FsHandleName *name);

/** An O_PATH descriptor, or negative errno (-ESTALE: the file is gone). Any thread. */
int fs_file_handle_open(const FsFileHandle *handle);

/** Open @name, a handle of the same file system as @like, as fs_file_handle_open(). */
int fs_handle_open_name(const FsFileHandle *like, const FsHandleName *name);

/** The number of the file, if the handle tells it (see fs_handle_pack()). */
bool fs_handle_number(const FsHandleName *name, uint64_t *number);

/**
 * A handle in 64 bits: generation << 32 | inode number below 2^31. False: it is not of
 * a kind where that is all there is (those of ext2 to ext4, f2fs, xfs, tmpfs are).
 */
bool fs_handle_pack(const FsHandleName *name, uint64_t *packed);

/** Open a packed handle of the same file system and kind as @like, as fs_file_handle_open(). */
int fs_handle_open_packed(const FsFileHandle *like, uint64_t packed);

#endif /* SLUICE_FS_PASSTHROUGH_FILE_HANDLE_H */
