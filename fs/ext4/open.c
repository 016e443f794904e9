/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a file system, and what is common to all of fs/ext4.
 *
 * How it works: libext2fs reads the superblock and the group descriptors and checks the former;
 * what it does not check, and everything else here depends on, is checked after it. Bitmaps are
 * never read.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <gio/gio.h>

#include "fs/block/raw.h"
#include "fs/block/slice.h"
#include "fs/ext4/channel.h"
#include "fs/ext4/journal.h"
#include "fs/ext4/volume.h"
#include "fs/session/read-ahead.h"

#define BUFFER_LIMIT      (64u * 1024 * 1024)
#define INODE_LIMIT       (48u * 1024 * 1024)
#define NAME_LIMIT        (16u * 1024 * 1024)
#define REPORTS_A_SECOND  8
#define SUPER_AT          1024
#define SUPER_MAGIC_AT    (SUPER_AT + 56)
#define FIRST_INODE_LEAST 11

void ext4_attach_session(Ext4Volume *volume, FsSession *session)
{
    volume->session = session;
}

void ext4_read_ahead(const Ext4Volume *volume)
{
    const int fd = block_node_fd(volume->node);
    unsigned source = FS_READ_AHEAD_MAX_KIB;
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        source = fs_read_ahead_get(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev);
    }
    fs_read_ahead_as_source(volume->session, source);
}

static gboolean end_mount(gpointer opaque)
{
    const Ext4Volume *volume = opaque;

    g_critical("'%s' is damaged, which ends the mount, as asked for with errors=panic",
               volume->name);
    fs_session_abort(volume->session);
    return G_SOURCE_REMOVE;
}

int ext4_damaged(Ext4Volume *volume, uint32_t ino, const char *format, ...)
{
    const int64_t second = g_get_monotonic_time() / G_USEC_PER_SEC;
    g_autofree char *text = NULL;
    unsigned count;
    va_list arguments;

    if (atomic_fetch_add(&volume->damaged, 1) == 0 && volume->panic && volume->session != NULL) {
        g_idle_add(end_mount, volume); /* on the main thread */
    }
    if (atomic_exchange(&volume->report_second, second) != second) {
        atomic_store(&volume->report_count, 0);
    }
    count = atomic_fetch_add(&volume->report_count, 1);
    if (count >= REPORTS_A_SECOND) {
        return -EUCLEAN;
    }
    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_warning("'%s': inode %u: %s%s", volume->name, ino, text,
              count == REPORTS_A_SECOND - 1 ? " (there is more)" : "");
    return -EUCLEAN;
}

int ext4_refused(Ext4Volume *volume, const Ext4Inode *inode, Ext4Refusal refusal)
{
    static const struct {
        int error;
        const char *text;
    } refusals[] = {
        [EXT4_REFUSED_ENCRYPTED] = {-ENOKEY, "is encrypted, and a key cannot be given here"},
        [EXT4_REFUSED_CASEFOLD] = {-EOPNOTSUPP,
                                   "is case-insensitive: names in it can be listed, but not "
                                   "looked up"},
    };

    if (!atomic_exchange(&volume->refused[refusal], true)) {
        g_message("'%s': inode %u %s (there may be more)", volume->name, inode->ino,
                  refusals[refusal].text);
    }
    return refusals[refusal].error;
}

void ext4_get_stats(const Ext4Volume *volume, Ext4Stats *stats)
{
    uint64_t buffers, inodes, names;

    ext4_cache_count(volume->buffers, &stats->buffer_hits, &stats->buffer_misses, &buffers);
    ext4_cache_count(volume->inodes_cache, &stats->inode_hits, &stats->inode_misses, &inodes);
    ext4_cache_count(volume->names, &stats->name_hits, &stats->name_misses, &names);
    stats->cache_bytes = buffers + inodes + names;
    stats->reads = atomic_load_explicit(&volume->reads, memory_order_relaxed);
    stats->read_bytes = atomic_load_explicit(&volume->read_bytes, memory_order_relaxed);
    stats->damaged = atomic_load_explicit(&volume->damaged, memory_order_relaxed);
}

/* --- opening --- */

G_GNUC_PRINTF(3, 4)
static bool refuse(const Ext4Volume *volume, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "'%s': %s", volume->name, text);
    return false;
}

/* The command that checks it; of a format that e2fsck cannot read only with words. */
static char *fsck_command(const Ext4Volume *volume, const char *options)
{
    int64_t offset;
    const BlockNode *bottom = block_slice_bottom(volume->node, &offset);

    if (block_raw_fd(bottom) < 0) {
        return g_strdup_printf("'e2fsck %s' on it (serve it with 'sluicefs disk')", options);
    }
    if (offset == 0) {
        return g_strdup_printf("e2fsck %s '%s'", options, bottom->name);
    }
    return g_strdup_printf("e2fsck %s '%s?offset=%" G_GINT64_FORMAT "'", options, bottom->name,
                           offset);
}

/* The same, and how to find out more. */
G_GNUC_PRINTF(3, 4)
static bool refuse_damaged(const Ext4Volume *volume, GError **error, const char *format, ...)
{
    g_autofree char *command = fsck_command(volume, "-fn");
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return refuse(volume, error, "%s; look with: %s", text, command);
}

/* What is not done here, and all that has a bit but no name. */
static char *unknown_features(uint32_t bits)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
        {EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression"},
        {EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata"},
    };
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (bits & names[i].bit) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "", names[i].name);
            bits &= ~names[i].bit;
        }
    }
    if (bits != 0) {
        g_string_append_printf(text, "%s0x%x", text->len > 0 ? ", " : "", bits);
    }
    return g_string_free(text, FALSE);
}

/* What has to be understood to read it is in this field of its superblock. */
static bool check_features(const Ext4Volume *volume, GError **error)
{
    const uint32_t known = EXT2_LIB_FEATURE_INCOMPAT_SUPP;
    g_autofree char *names = NULL;
    uint32_t bits = 0;
    int result = ext4_overlay_read_now(
        volume->node, volume->overlay, &bits, sizeof(bits),
        SUPER_AT + (int64_t)offsetof(struct ext2_super_block, s_feature_incompat));

    if (result < 0) {
        return refuse(volume, error, "%s", g_strerror(-result));
    }
    if (bits & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV) {
        return refuse(volume, error, "it is the journal of a file system on another device");
    }
    if ((bits & ~known) == 0) {
        return true;
    }
    names = unknown_features(bits & ~known);
    return refuse(volume, error,
                  "it cannot be read without features that are not known here: %s; the kernel or "
                  "newer tools may know them",
                  names);
}

static bool open_library(Ext4Volume *volume, GError **error)
{
    const Ext4Source source = {.node = volume->node, .overlay = volume->overlay};
    uint16_t magic = 0;
    errcode_t code;
    int result;

    if (volume->node->size < SUPER_MAGIC_AT + (int64_t)sizeof(magic)) {
        return refuse(volume, error, "it is too short for a file system");
    }
    result =
        ext4_overlay_read_now(volume->node, volume->overlay, &magic, sizeof(magic), SUPER_MAGIC_AT);
    if (result < 0) {
        return refuse(volume, error, "%s", g_strerror(-result));
    }
    if (magic != EXT2_SUPER_MAGIC) {
        return refuse(volume, error, "there is no ext2, ext3 or ext4 file system in it");
    }
    if (!check_features(volume, error)) {
        return false;
    }
    code = ext4_channel_open(&source, &volume->fs);
    if (code != 0) {
        return refuse_damaged(volume, error, "its superblock cannot be used: %s",
                              error_message(code));
    }
    return true;
}

/* Numbers that places are computed from. */
static bool check_geometry(Ext4Volume *volume, GError **error)
{
    ext2_filsys fs = volume->fs;
    struct ext2_super_block *super = fs->super;
    const uint64_t blocks = ext2fs_blocks_count(super);
    const unsigned inode_size = EXT2_INODE_SIZE(super);

    volume->block_size = fs->blocksize;
    volume->block_bits = EXT2_BLOCK_SIZE_BITS(super);
    if (blocks > (uint64_t)volume->node->size >> volume->block_bits) {
        return refuse(volume, error,
                      "the file system has %" G_GUINT64_FORMAT " blocks of %u bytes, and the image "
                      "only %" G_GINT64_FORMAT " bytes: is it cut off?",
                      blocks, volume->block_size, volume->node->size);
    }
    volume->first_block = super->s_first_data_block;
    volume->blocks = blocks;
    volume->inodes = super->s_inodes_count;
    volume->first_inode = EXT2_FIRST_INO(super);
    volume->checksums = ext2fs_has_feature_metadata_csum(super);
    if (inode_size < EXT2_GOOD_OLD_INODE_SIZE || inode_size > volume->block_size ||
        (inode_size & (inode_size - 1)) != 0 || super->s_inodes_per_group == 0 ||
        super->s_inodes_per_group >
            (uint64_t)fs->inode_blocks_per_group * volume->block_size / inode_size ||
        volume->inodes > (uint64_t)fs->group_desc_count * super->s_inodes_per_group ||
        volume->first_inode < FIRST_INODE_LEAST || volume->first_inode > volume->inodes) {
        return refuse_damaged(volume, error, "its superblock is damaged");
    }
    return true;
}

/* Blocks that the kernel sets aside for its own use in file systems with extents. */
static uint64_t kernel_reserve(const Ext4Volume *volume)
{
    const unsigned bits = volume->fs->cluster_ratio_bits;

    return ext2fs_has_feature_extents(volume->fs->super)
               ? MIN((volume->blocks >> bits) / 50, 4096) << bits
               : 0;
}

static bool check_groups(Ext4Volume *volume, GError **error)
{
    ext2_filsys fs = volume->fs;
    struct statvfs *usage = &volume->usage;
    uint64_t free_clusters = 0, free_inodes = 0;

    for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
        const uint64_t table = ext2fs_inode_table_loc(fs, group);

        if (!ext2fs_group_desc_csum_verify(fs, group) ||
            !ext4_has_blocks(volume, table, fs->inode_blocks_per_group)) {
            return refuse_damaged(volume, error, "the descriptor of block group %u is damaged",
                                  group);
        }
        free_clusters += ext2fs_bg_free_blocks_count(fs, group);
        free_inodes += ext2fs_bg_free_inodes_count(fs, group);
    }
    const uint64_t overhead = (uint64_t)fs->super->s_overhead_clusters << fs->cluster_ratio_bits;
    const uint64_t free_blocks = free_clusters << fs->cluster_ratio_bits;
    const uint64_t reserved = ext2fs_r_blocks_count(fs->super) + kernel_reserve(volume);

    *usage = (struct statvfs){
        .f_bsize = volume->block_size,
        .f_frsize = volume->block_size,
        .f_blocks = volume->blocks - MIN(overhead, volume->blocks),
        .f_bfree = free_blocks,
        .f_bavail = free_blocks - MIN(reserved, free_blocks),
        .f_files = volume->inodes,
        .f_ffree = free_inodes,
        .f_favail = free_inodes,
        .f_namemax = EXT2_NAME_LEN,
    };
    return true;
}

/* --- work that needs a coroutine, while nothing else runs --- */

typedef struct Task {
    Ext4Volume *volume;
    const char *why; /* may stay NULL */
    int result;
} Task;

static int run_now(void (*work)(void *task), Task *task)
{
    const int result = block_co_now(work, task);

    return result < 0 ? (task->result = result) : task->result;
}

static void load_journal(void *opaque)
{
    Task *task = opaque;

    task->result = ext4_journal_load(task->volume, &task->volume->overlay, &task->why);
}

static void make_caches(Ext4Volume *volume)
{
    volume->buffers = ext4_buffers_new(BUFFER_LIMIT);
    volume->inodes_cache = ext4_inodes_new(INODE_LIMIT);
    volume->names = ext4_names_new(NAME_LIMIT);
}

static void free_caches(Ext4Volume *volume)
{
    ext4_cache_free(volume->names);
    ext4_cache_free(volume->inodes_cache);
    ext4_cache_free(volume->buffers);
}

/* What was read from the file system as it was without its journal's content. */
static void forget_all(Ext4Volume *volume)
{
    free_caches(volume);
    make_caches(volume);
    ext2fs_free(g_steal_pointer(&volume->fs));
}

static bool recover(Ext4Volume *volume, const Ext4Params *params, GError **error)
{
    Task task = {.volume = volume};

    if (!ext2fs_has_feature_journal_needs_recovery(volume->fs->super)) {
        return true;
    }
    if (params->no_recovery) {
        g_message("'%s' was not unmounted cleanly; what its journal holds is not shown",
                  volume->name);
        return true;
    }
    if (run_now(load_journal, &task) < 0) {
        g_autofree char *command = fsck_command(volume, "-E journal_only");

        return refuse(volume, error,
                      "it was not unmounted cleanly, and %s; run %s, or look at it without its "
                      "journal with norecovery",
                      task.why != NULL ? task.why : g_strerror(-task.result), command);
    }
    if (volume->overlay == NULL) {
        return true;
    }
    g_message("'%s' was not unmounted cleanly: %zu blocks are shown as its journal holds them",
              volume->name, volume->overlay->count);
    forget_all(volume);
    return open_library(volume, error) && check_geometry(volume, error);
}

static void check_root_here(void *opaque)
{
    g_autoptr(Ext4Inode) root = NULL;
    Task *task = opaque;

    task->result = ext4_inode_get(task->volume, EXT4_ROOT, &root);
    if (task->result == 0 && !S_ISDIR(root->attr.st_mode)) {
        task->result = -ENOTDIR;
    }
}

static bool check_root(Ext4Volume *volume, GError **error)
{
    Task task = {.volume = volume};

    return run_now(check_root_here, &task) == 0 ||
           refuse_damaged(volume, error, "its root directory cannot be read: %s",
                          g_strerror(-task.result));
}

Ext4Volume *ext4_open(BlockNode *node, const Ext4Params *params, GError **error)
{
    Ext4Volume *volume = g_new0(Ext4Volume, 1);

    initialize_ext2_error_table();
    volume->node = block_node_ref(node);
    volume->name = g_strdup(node->name);
    volume->acl = params->acl;
    volume->panic = params->panic;
    volume->uid = params->uid;
    volume->gid = params->gid;
    make_caches(volume);
    if (!open_library(volume, error) || !check_geometry(volume, error) ||
        !recover(volume, params, error) || !check_groups(volume, error) ||
        !check_root(volume, error)) {
        ext4_close(volume);
        return NULL;
    }
    return volume;
}

void ext4_close(Ext4Volume *volume)
{
    g_idle_remove_by_data(volume);
    free_caches(volume);
    if (volume->fs != NULL) {
        ext2fs_free(volume->fs);
    }
    ext4_overlay_free(volume->overlay);
    block_node_unref(volume->node);
    g_free(volume->name);
    g_free(volume);
}
