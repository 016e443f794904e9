/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inodes in memory: see inode.h.
 *
 * How it works: a cache (cache.h) by number. A miss reads the block of the inode table (and those
 * behind it: neighbours are wanted next), checks the checksum and decodes. The kernel's ext4 is
 * what the decoding is compared with.
 */
#include "fs/ext4/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/ext4/volume.h"

#define BUCKETS 16384
#define AHEAD   16
#define SECTOR  512

static Ext4Inode *inode_of(const Ext4CacheEntry *entry)
{
    return aio_container_of((Ext4CacheEntry *)(uintptr_t)entry, Ext4Inode, entry);
}

static bool has_key(const Ext4CacheEntry *entry, const void *key)
{
    return inode_of(entry)->ino == *(const uint32_t *)key;
}

static void put_entry(Ext4CacheEntry *entry)
{
    ext4_inode_put(inode_of(entry));
}

Ext4Cache *ext4_inodes_new(size_t limit)
{
    static const Ext4CacheKind kind = {.has_key = has_key, .put = put_entry};

    return ext4_cache_new(&kind, limit, BUCKETS);
}

void ext4_inode_put(Ext4Inode *inode)
{
    if (inode != NULL && ext4_cache_entry_unref(&inode->entry)) {
        ext4_runs_free(inode->runs);
        free(inode);
    }
}

static size_t bytes_of(unsigned raw_size)
{
    return sizeof(Ext4Inode) + MAX(raw_size, sizeof(struct ext2_inode_large));
}

void ext4_inode_grown(Ext4Volume *volume, const Ext4Inode *inode, size_t bytes)
{
    ext4_cache_resize(volume->inodes_cache, &((Ext4Inode *)(uintptr_t)inode)->entry,
                      bytes_of(inode->raw_size) + bytes);
}

const uint8_t *ext4_inode_block(const Ext4Inode *inode)
{
    return inode->raw + offsetof(struct ext2_inode_large, i_block);
}

/* --- decoding --- */

/* Seconds with two more bits above, and nanoseconds: the field's form since ext4. */
static struct timespec time_of(uint32_t seconds, uint32_t extra, bool has_extra)
{
    struct timespec time = {.tv_sec = (int32_t)seconds};

    if (has_extra) {
        time.tv_sec += (int64_t)(extra & EXT4_EPOCH_MASK) << 32;
        time.tv_nsec = extra >> EXT4_EPOCH_BITS;
        if (time.tv_nsec >= 1000000000) {
            time.tv_nsec = 0;
        }
    }
    return time;
}

static uint64_t sectors_of(const Ext4Volume *volume, const struct ext2_inode_large *disk)
{
    uint64_t blocks = disk->i_blocks;

    if (ext2fs_has_feature_huge_file(volume->fs->super)) {
        blocks |= (uint64_t)disk->osd2.linux2.l_i_blocks_hi << 32;
        if (disk->i_flags & EXT4_HUGE_FILE_FL) {
            blocks <<= volume->block_bits - 9;
        }
    }
    if (S_ISREG(disk->i_mode) && disk->i_flags & EXT4_INLINE_DATA_FL) {
        blocks += (disk->i_size + SECTOR - 1) / SECTOR; /* no file with data is shown without */
    }
    return blocks;
}

static dev_t device_of(const struct ext2_inode_large *disk)
{
    const uint32_t old = disk->i_block[0], new = disk->i_block[1];

    if (old != 0) {
        return makedev(old >> 8 & 0xff, old & 0xff);
    }
    return makedev((new & 0xfff00) >> 8, (new & 0xff) | (new >> 12 & 0xfff00));
}

static void decode(const Ext4Volume *volume, Ext4Inode *inode)
{
    struct ext2_inode_large disk = {0};
    struct stat *attr = &inode->attr;
    unsigned known = EXT2_GOOD_OLD_INODE_SIZE;

    memcpy(&disk, inode->raw, MIN(sizeof(disk), inode->raw_size));
    if (inode->raw_size > EXT2_GOOD_OLD_INODE_SIZE) {
        known += disk.i_extra_isize;
    }
    inode->generation = disk.i_generation;
    inode->flags = disk.i_flags;
    inode->size = disk.i_size;
    if (S_ISREG(disk.i_mode) || ext2fs_has_feature_largedir(volume->fs->super)) {
        inode->size |= (uint64_t)disk.i_size_high << 32;
    }
    inode->xattr_block = disk.i_file_acl;
    if (ext2fs_has_feature_64bit(volume->fs->super)) {
        inode->xattr_block |= (uint64_t)disk.osd2.linux2.l_i_file_acl_high << 32;
    }
    *attr = (struct stat){
        .st_ino = inode->ino,
        .st_mode = disk.i_mode,
        .st_nlink = disk.i_links_count,
        .st_uid = disk.i_uid | (uint32_t)disk.osd2.linux2.l_i_uid_high << 16,
        .st_gid = disk.i_gid | (uint32_t)disk.osd2.linux2.l_i_gid_high << 16,
        .st_size = (off_t)inode->size,
        .st_blocks = (blkcnt_t)sectors_of(volume, &disk),
        .st_blksize = volume->block_size,
        .st_atim = time_of(disk.i_atime, disk.i_atime_extra, inode_includes(known, i_atime_extra)),
        .st_mtim = time_of(disk.i_mtime, disk.i_mtime_extra, inode_includes(known, i_mtime_extra)),
        .st_ctim = time_of(disk.i_ctime, disk.i_ctime_extra, inode_includes(known, i_ctime_extra)),
    };
    if (volume->uid >= 0) {
        attr->st_uid = (uid_t)volume->uid;
    }
    if (volume->gid >= 0) {
        attr->st_gid = (gid_t)volume->gid;
    }
    if (S_ISCHR(disk.i_mode) || S_ISBLK(disk.i_mode)) {
        attr->st_rdev = device_of(&disk);
    }
    if (inode_includes(known, i_crtime)) {
        inode->birth =
            time_of(disk.i_crtime, disk.i_crtime_extra, inode_includes(known, i_crtime_extra));
    }
}

/* What is wrong with the inode, or NULL. */
static const char *fault_of(const Ext4Volume *volume, Ext4Inode *inode)
{
    const struct ext2_inode_large *disk = (const struct ext2_inode_large *)inode->raw;
    const uint32_t type = disk->i_mode & S_IFMT;

    if (disk->i_links_count == 0 && disk->i_mode == 0) {
        return "it is not in use";
    }
    if (inode->raw_size > EXT2_GOOD_OLD_INODE_SIZE &&
        (disk->i_extra_isize % 4 != 0 ||
         disk->i_extra_isize > inode->raw_size - EXT2_GOOD_OLD_INODE_SIZE)) {
        return "its extra size is wrong";
    }
    if (volume->checksums) {
        /* The function writes to the checksum's field meanwhile. */
        if (!ext2fs_inode_csum_verify(volume->fs, inode->ino,
                                      (struct ext2_inode_large *)inode->raw)) {
            return "its checksum is wrong";
        }
    }
    if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK && type != S_IFCHR &&
        type != S_IFBLK && type != S_IFIFO && type != S_IFSOCK) {
        return "its type is unknown";
    }
    return NULL;
}

static int load(Ext4Volume *volume, uint32_t ino, Ext4Inode **loaded)
{
    ext2_filsys fs = volume->fs;
    const unsigned size = EXT2_INODE_SIZE(fs->super);
    const uint32_t group = (ino - 1) / fs->super->s_inodes_per_group;
    const uint64_t offset = (uint64_t)((ino - 1) % fs->super->s_inodes_per_group) * size;
    const uint64_t block = ext2fs_inode_table_loc(fs, group) + (offset >> volume->block_bits);
    const uint64_t behind = fs->inode_blocks_per_group - (offset >> volume->block_bits);
    g_autoptr(Ext4Buffer) buffer = NULL;
    const char *fault;
    Ext4Inode *inode;
    int result = ext4_buffer_get(volume, EXT4_BLOCK_INODES, NULL, block,
                                 (unsigned)MIN(behind, AHEAD), NULL, &buffer);

    if (result < 0) {
        return result == -EUCLEAN ? ext4_damaged(volume, ino, "its table has no place") : result;
    }
    inode = calloc(1, bytes_of(size));
    if (inode == NULL) {
        return -ENOMEM;
    }
    inode->ino = ino;
    inode->entry =
        (Ext4CacheEntry){.hash = ext4_cache_hash(ino), .bytes = bytes_of(size), .references = 1};
    inode->raw_size = size;
    memcpy(inode->raw, buffer->data + (offset & (volume->block_size - 1)), size);
    fault = fault_of(volume, inode);
    if (fault != NULL) {
        ext4_inode_put(inode);
        return ext4_damaged(volume, ino, "%s", fault);
    }
    decode(volume, inode);
    if (inode->size > INT64_MAX) {
        ext4_inode_put(inode);
        return ext4_damaged(volume, ino, "it is too long");
    }
    inode->checksum_seed =
        ext2fs_crc32c_le(fs->csum_seed, (unsigned char *)&inode->ino, sizeof(inode->ino));
    inode->checksum_seed = ext2fs_crc32c_le(
        inode->checksum_seed, (unsigned char *)&inode->generation, sizeof(inode->generation));
    inode->runs = ext4_runs_new();
    *loaded = inode;
    return 0;
}

int ext4_inode_get_special(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode)
{
    Ext4CacheEntry *entry;
    int result;

    *inode = NULL;
    if (ino == 0 || ino > volume->inodes) {
        return ext4_damaged(volume, ino, "there is no such inode");
    }
    entry = ext4_cache_find(volume->inodes_cache, ext4_cache_hash(ino), &ino);
    if (entry != NULL) {
        *inode = inode_of(entry);
        return 0;
    }
    result = load(volume, ino, inode);
    if (result == 0) {
        *inode = inode_of(ext4_cache_insert(volume->inodes_cache, &(*inode)->entry, &ino));
    }
    return result;
}

int ext4_inode_get(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode)
{
    if (ino != EXT4_ROOT && ino < volume->first_inode) {
        *inode = NULL;
        return ext4_damaged(volume, ino, "no name may lead to it");
    }
    return ext4_inode_get_special(volume, ino, inode);
}
