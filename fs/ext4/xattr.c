/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes: see xattr.h.
 *
 * How it works: there are up to two lists of entries, behind the fields of the inode and in a block
 * of its own. An entry has its value in the same place, or, for large ones, in an inode that
 * nothing else refers to. next_entry() is the only one that looks at unchecked
 * bytes; what it returns lies inside of the list.
 */
#include "fs/ext4/xattr.h"

#include <errno.h>
#include <linux/xattr.h>
#include <string.h>

#include "fs/ext4/data.h"
#include "fs/ext4/volume.h"

#define INDEX_SYSTEM      7
#define INDEX_ACL         2
#define INDEX_ACL_DEFAULT 3
#define INDEX_TRUSTED     4
#define INLINE_BYTES      (EXT2_N_BLOCKS * sizeof(uint32_t))
#define INLINE_NAME       "data"

/* By the number that stands for it; those with a name are the whole name. */
static const struct {
    const char *text;
    bool whole;
} prefixes[] = {
    [1] = {"user.", false},
    [INDEX_ACL] = {"system.posix_acl_access", true},
    [INDEX_ACL_DEFAULT] = {"system.posix_acl_default", true},
    [INDEX_TRUSTED] = {"trusted.", false},
    [6] = {"security.", false},
};

typedef struct ext2_ext_attr_entry DiskEntry;

static_assert(sizeof(DiskEntry) == 16 && sizeof(struct ext2_ext_attr_header) == 32,
              "sizes on the disk");

/* A list of entries, and where their values are counted from. */
typedef struct List {
    const uint8_t *base;
    size_t at, size; /* from base */
} List;

typedef struct Entry {
    unsigned index;
    const char *name;
    size_t name_length;
    const uint8_t *value; /* NULL: in the inode */
    size_t value_length;
    uint32_t value_inode;
} Entry;

/* 1, 0 at the end, or -EUCLEAN. */
static int next_entry(List *list, Entry *entry)
{
    const size_t left = list->size - list->at;
    DiskEntry disk;
    uint32_t head;
    size_t length;

    if (left < sizeof(head)) {
        return list->size == list->at ? 0 : -EUCLEAN;
    }
    memcpy(&head, list->base + list->at, sizeof(head));
    if (head == 0) {
        return 0;
    }
    if (left < sizeof(disk)) {
        return -EUCLEAN;
    }
    memcpy(&disk, list->base + list->at, sizeof(disk));
    length = EXT2_EXT_ATTR_LEN(disk.e_name_len);
    if (left < length) {
        return -EUCLEAN;
    }
    *entry = (Entry){
        .index = disk.e_name_index,
        .name = (const char *)list->base + list->at + sizeof(disk),
        .name_length = disk.e_name_len,
        .value_length = disk.e_value_size,
        .value_inode = disk.e_value_inum,
    };
    if (memchr(entry->name, '\0', entry->name_length) != NULL) {
        return -EUCLEAN;
    }
    if (disk.e_value_inum == 0) {
        if (disk.e_value_offs > list->size || disk.e_value_size > list->size - disk.e_value_offs) {
            return -EUCLEAN;
        }
        entry->value = list->base + disk.e_value_offs;
    }
    list->at += length;
    return 1;
}

/* The list behind the inode's fields; empty if there is none. */
static List list_in_inode(const Ext4Inode *inode)
{
    const struct ext2_inode_large *disk = (const struct ext2_inode_large *)inode->raw;
    List list = {.base = inode->raw};
    uint32_t magic;
    size_t start;

    if (inode->raw_size <= EXT2_GOOD_OLD_INODE_SIZE || disk->i_extra_isize == 0) {
        return list;
    }
    start = EXT2_GOOD_OLD_INODE_SIZE + disk->i_extra_isize;
    if (inode->raw_size - start < sizeof(magic)) {
        return list;
    }
    memcpy(&magic, inode->raw + start, sizeof(magic));
    if (magic == EXT2_EXT_ATTR_MAGIC) {
        list.base = inode->raw + start + sizeof(magic);
        list.size = inode->raw_size - start - sizeof(magic);
    }
    return list;
}

static bool check_block(const Ext4Volume *volume, const Ext4Inode *owner, uint64_t block,
                        const uint8_t *data)
{
    struct ext2_ext_attr_header header;
    uint32_t stored, checksum;

    memcpy(&header, data, sizeof(header));
    if (header.h_magic != EXT2_EXT_ATTR_MAGIC || header.h_blocks != 1) {
        return false;
    }
    if (!volume->checksums) {
        return true;
    }
    stored = header.h_checksum;
    header.h_checksum = 0;
    checksum = ext2fs_crc32c_le(volume->fs->csum_seed, (unsigned char *)&block, sizeof(block));
    checksum = ext2fs_crc32c_le(checksum, (unsigned char *)&header, sizeof(header));
    checksum =
        ext2fs_crc32c_le(checksum, data + sizeof(header), volume->block_size - sizeof(header));
    return checksum == stored;
}

static int damaged(Ext4Volume *volume, const Ext4Inode *inode)
{
    return ext4_damaged(volume, inode->ino, "its extended attributes are damaged");
}

/* The list in the block; *@buffer holds it. */
static int list_in_block(Ext4Volume *volume, const Ext4Inode *inode, List *list,
                         Ext4Buffer **buffer)
{
    int result;

    *list = (List){0};
    *buffer = NULL;
    if (inode->xattr_block == 0) {
        return 0;
    }
    result = ext4_buffer_get(volume, EXT4_BLOCK_XATTRS, inode, inode->xattr_block, 1, check_block,
                             buffer);
    if (result == 0) {
        *list = (List){
            .base = (*buffer)->data,
            .at = sizeof(struct ext2_ext_attr_header),
            .size = volume->block_size,
        };
    }
    return result == -EUCLEAN ? damaged(volume, inode) : result;
}

/* --- values --- */

/* The number and the rest of a name as in the system call. False: no such names. */
static bool split_name(const char *name, unsigned *index, const char **rest)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (prefixes[i].text != NULL &&
            (prefixes[i].whole ? strcmp(name, prefixes[i].text) == 0
                               : g_str_has_prefix(name, prefixes[i].text))) {
            *index = i;
            *rest = name + strlen(prefixes[i].text);
            return true;
        }
    }
    return false;
}

static int read_value_inode(Ext4Volume *volume, const Ext4Inode *inode, const Entry *entry,
                            uint8_t *value)
{
    g_autoptr(Ext4Inode) holder = NULL;
    int result = ext4_inode_get_special(volume, entry->value_inode, &holder);
    ssize_t got;

    if (result < 0) {
        return result;
    }
    if ((holder->flags & EXT4_EA_INODE_FL) == 0 || !S_ISREG(holder->attr.st_mode) ||
        holder->size != entry->value_length) {
        return damaged(volume, inode);
    }
    got = ext4_read(volume, holder, value, entry->value_length, 0);
    return got < 0 ? (int)got : 0;
}

static int copy_value(Ext4Volume *volume, const Ext4Inode *inode, const Entry *entry,
                      uint8_t **value, size_t *length)
{
    int result = 0;

    if (entry->value_length > XATTR_SIZE_MAX) {
        return damaged(volume, inode);
    }
    *value = g_try_malloc(MAX(entry->value_length, 1));
    *length = entry->value_length;
    if (*value == NULL) {
        return -ENOMEM;
    }
    if (entry->value_inode != 0) {
        result = read_value_inode(volume, inode, entry, *value);
    } else {
        memcpy(*value, entry->value, entry->value_length);
    }
    if (result < 0) {
        g_clear_pointer(value, g_free);
    }
    return result;
}

/*
 * An access control list on the disk has no number in the entries that need none; in the system
 * call it has.
 */
static int convert_acl(Ext4Volume *volume, const Ext4Inode *inode, uint8_t **value, size_t *length)
{
    enum { VERSION_DISK = 1, VERSION_CALL = 2, TAG_USER = 2, TAG_GROUP = 8 };
    const uint8_t *from = *value, *end = *value + *length;
    uint32_t version = 0;
    GByteArray *call;

    if (*length < sizeof(version)) {
        return damaged(volume, inode);
    }
    memcpy(&version, from, sizeof(version));
    if (version != VERSION_DISK) {
        return damaged(volume, inode);
    }
    from += sizeof(version);
    version = VERSION_CALL;
    call = g_byte_array_new();
    g_byte_array_append(call, (const guint8 *)&version, sizeof(version));
    while (end - from >= 4) {
        uint32_t id = UINT32_MAX;
        uint16_t tag;

        memcpy(&tag, from, sizeof(tag));
        g_byte_array_append(call, from, 4);
        from += 4;
        if (tag == TAG_USER || tag == TAG_GROUP) {
            if (end - from < 4) {
                break;
            }
            memcpy(&id, from, sizeof(id));
            from += sizeof(id);
        }
        g_byte_array_append(call, (const guint8 *)&id, sizeof(id));
    }
    const bool whole = from == end && call->len % 8 == 4;
    g_free(*value);
    *length = call->len;
    *value = g_byte_array_free(call, FALSE);
    if (!whole) {
        g_clear_pointer(value, g_free);
        return damaged(volume, inode);
    }
    return 0;
}

/* 1: found, its value is in *@value; 0: not in this list. */
static int find_in(Ext4Volume *volume, const Ext4Inode *inode, List list, unsigned index,
                   const char *name, uint8_t **value, size_t *length)
{
    Entry entry;
    int more;

    while ((more = next_entry(&list, &entry)) > 0) {
        if (entry.index == index && entry.name_length == strlen(name) &&
            memcmp(entry.name, name, entry.name_length) == 0) {
            int result = copy_value(volume, inode, &entry, value, length);

            return result < 0 ? result : 1;
        }
    }
    return more < 0 ? damaged(volume, inode) : 0;
}

int ext4_xattr_get(Ext4Volume *volume, const Ext4Inode *inode, const char *name, uint8_t **value,
                   size_t *length)
{
    g_autoptr(Ext4Buffer) buffer = NULL;
    const char *rest;
    unsigned index;
    List list;
    int result;

    *value = NULL;
    if (!split_name(name, &index, &rest)) {
        return -ENODATA;
    }
    result = find_in(volume, inode, list_in_inode(inode), index, rest, value, length);
    if (result == 0) {
        result = list_in_block(volume, inode, &list, &buffer);
        if (result == 0) {
            result = find_in(volume, inode, list, index, rest, value, length);
        }
    }
    if (result > 0 && (index == INDEX_ACL || index == INDEX_ACL_DEFAULT)) {
        return convert_acl(volume, inode, value, length);
    }
    return result > 0 ? 0 : result < 0 ? result : -ENODATA;
}

static int list_names(Ext4Volume *volume, const Ext4Inode *inode, List list, bool trusted,
                      GString *names)
{
    Entry entry;
    int more;

    while ((more = next_entry(&list, &entry)) > 0) {
        if (entry.index >= G_N_ELEMENTS(prefixes) || prefixes[entry.index].text == NULL ||
            (entry.index == INDEX_TRUSTED && !trusted)) {
            continue;
        }
        g_string_append(names, prefixes[entry.index].text);
        if (!prefixes[entry.index].whole) {
            g_string_append_len(names, entry.name, (gssize)entry.name_length);
        }
        g_string_append_c(names, '\0');
    }
    return more < 0 ? damaged(volume, inode) : 0;
}

int ext4_xattr_list(Ext4Volume *volume, const Ext4Inode *inode, bool trusted, GString *names)
{
    g_autoptr(Ext4Buffer) buffer = NULL;
    List list;
    int result = list_names(volume, inode, list_in_inode(inode), trusted, names);

    if (result == 0) {
        result = list_in_block(volume, inode, &list, &buffer);
    }
    return result < 0 ? result : list_names(volume, inode, list, trusted, names);
}

/* --- inline data --- */

int ext4_inline_parts(Ext4Volume *volume, const Ext4Inode *inode, const uint8_t **first,
                      size_t *first_length, const uint8_t **more, size_t *more_length)
{
    List list = list_in_inode(inode);
    Entry entry;

    *first = ext4_inode_block(inode);
    *first_length = INLINE_BYTES;
    *more = NULL;
    *more_length = 0;
    while (next_entry(&list, &entry) > 0) {
        if (entry.index == INDEX_SYSTEM && entry.name_length == strlen(INLINE_NAME) &&
            memcmp(entry.name, INLINE_NAME, entry.name_length) == 0 && entry.value != NULL) {
            *more = entry.value;
            *more_length = entry.value_length;
            return 0;
        }
    }
    return ext4_damaged(volume, inode->ino, "the data inside of it is damaged");
}

ssize_t ext4_inline_read(Ext4Volume *volume, const Ext4Inode *inode, uint8_t *buffer, size_t size,
                         uint64_t offset)
{
    const uint8_t *first, *more;
    size_t first_length, more_length, copied = 0;
    int result = ext4_inline_parts(volume, inode, &first, &first_length, &more, &more_length);

    if (result < 0) {
        return result;
    }
    if (inode->size > first_length + more_length) {
        return ext4_damaged(volume, inode->ino, "it is longer than the data inside of it");
    }
    if (offset < first_length) {
        copied = MIN(size, first_length - (size_t)offset);
        memcpy(buffer, first + offset, copied);
    }
    if (copied < size) {
        memcpy(buffer + copied, more + (offset + copied - first_length), size - copied);
    }
    return (ssize_t)size;
}
