/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damaged file systems: small images of every kind with wrong bytes in them are opened and
 * walked; whatever is wrong, nothing is read outside of its place and every walk ends. And
 * long walks, during which others get their turn.
 *
 * The sequence of images depends on the seed only. SLUICE_TEST_STRESS=N makes N of each kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gstdio.h>

#include "aio/coroutine.h"
#include "ext4-walk.h"
#include "fs/block/raw.h"
#include "fs/ext4/data.h"
#include "fs/ext4/directory.h"
#include "fs/ext4/volume.h"
#include "util.h"

#define ROUNDS      120
#define BUDGET      4000 /* inodes, entries and pieces of files in one walk */
#define CHANGES_MAX 6

typedef struct Kind {
    const char *name, *options;
    bool index;   /* let e2fsck make indexes of the directories */
    bool journal; /* put changes into the journal */
} Kind;

static const Kind kinds[] = {
    {"ext2", "-t ext2 -b 1024 -I 128", false, false},
    {"extents", "-b 1024 -O ^metadata_csum,^uninit_bg,^has_journal", true, false},
    {"inline", "-b 1024 -O ^metadata_csum,^has_journal,inline_data,ea_inode -I 256", false, false},
    {"checksums", "-b 4096 -O metadata_csum,^has_journal", true, false},
    {"journal", "-b 1024 -O ^metadata_csum -J size=1", false, true},
};

typedef struct Image {
    uint8_t *bytes;
    size_t size;
    GArray *log; /* of gint32: where the blocks of the journal's own are */
} Image;

/* Walk what is in @fd. How many files there were; -1: it was refused. */
static int walk_image(AioContext *ctx, int fd)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BlockNode) node = block_raw_new(dup(fd), "image", true, false, &error);

    g_assert_no_error(error);
    return ext4_walk(ctx, node, BUDGET);
}

/* --- images --- */

static bool run(const char *directory, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool run(const char *directory, const char *format, ...)
{
    const char *argv[] = {"/bin/sh", "-c", NULL, NULL};
    g_autofree char *command = NULL, *with_path = NULL;
    int status = -1;
    va_list arguments;

    va_start(arguments, format);
    command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    with_path = g_strdup_printf("PATH=$PATH:/usr/sbin:/sbin; (%s) >>log 2>&1", command);
    argv[2] = with_path;
    return g_spawn_sync(directory, (char **)(uintptr_t)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                        NULL, NULL, &status, NULL) &&
           status == 0;
}

/* What the images are made of. */
static void make_tree(const char *directory)
{
    g_assert_true(
        run(directory,
            "mkdir -p tree/many tree/a/b/c/d && cd tree && "
            "for i in $(seq 150); do echo $i >many/a-longer-name-for-number-$i; done && "
            "head -c 30000 /dev/urandom >file && head -c 100 file >small && "
            "for i in $(seq 200); do dd if=file of=holes bs=1024 count=1 seek=$((i * 2)) "
            "conv=notrunc; done && truncate -s 20M sparse && dd if=file of=sparse bs=1k seek=19000 "
            "count=3 conv=notrunc && ln -s target link && ln -s $(seq -s x 100) long && "
            "ln file a/hard && mkfifo a/b/fifo && cp file a/b/c/d/deep"));
    /* Where the file system has them. */
    run(directory, "cd tree && setfattr -n user.short -v value file && "
                   "setfattr -n user.long -v $(seq -s x 200) file && "
                   "setfattr -n user.more -v $(seq -s x 100) small");
}

static bool make_image(const char *directory, const Kind *kind, Image *image)
{
    g_autofree char *path = g_build_filename(directory, "image", NULL);

    if (!run(directory,
             "rm -f image && truncate -s 6M image && mkfs.ext4 -q -F -N 300 %s -d tree image",
             kind->options)) {
        return false;
    }
    if (kind->index) {
        run(directory, "e2fsck -fyD image");
    }
    if (kind->journal &&
        !run(directory,
             "block=$(debugfs -R 'bmap many 0' image) && head -c 1024 tree/file >content "
             "&& printf \"jo\\njw -b $block content\\njw -r 700\\njw -b 701 content\\njc"
             "\\n\" | debugfs -w -f - image")) {
        return false;
    }
    if (!g_file_get_contents(path, (char **)&image->bytes, &image->size, NULL)) {
        return false;
    }
    for (gint32 at = 0; kind->journal && at < (gint32)image->size; at += 1024) {
        if (memcmp(image->bytes + at, "\300\073\071\230", 4) == 0) {
            g_array_append_val(image->log, at);
        }
    }
    return true;
}

/* Change some bytes: most of the time such that are not zero, which are used. */
static void damage(GRand *random, const Image *image, int fd, GArray *changed)
{
    static const uint32_t values[] = {0, 1, 2, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff};
    const int count = g_rand_int_range(random, 1, CHANGES_MAX + 1);

    for (int i = 0; i < count; i++) {
        const gint32 last = (gint32)image->size - 4;
        gint32 at = g_rand_int_range(random, 1024, last);
        uint32_t value = g_rand_int(random);
        int width = 1 << g_rand_int_range(random, 0, 3);

        for (int tries = 0; tries < 60 && image->bytes[at] == 0; tries++) {
            at = g_rand_int_range(random, 1024, g_rand_boolean(random) ? last : 100000);
        }
        if (image->log->len > 0 && g_rand_boolean(random)) {
            const guint32 which = g_rand_int_range(random, 0, (gint32)image->log->len);

            at = g_array_index(image->log, gint32, which) + g_rand_int_range(random, 0, 80);
        }
        if (g_rand_boolean(random)) {
            value = values[g_rand_int_range(random, 0, G_N_ELEMENTS(values))];
        } else if (g_rand_boolean(random)) {
            memcpy(&value, image->bytes + g_rand_int_range(random, 1024, last), sizeof(value));
        }
        g_assert_cmpint(pwrite(fd, &value, (size_t)width, at), ==, width);
        g_array_append_val(changed, at);
    }
}

static void repair(const Image *image, int fd, GArray *changed)
{
    for (guint i = 0; i < changed->len; i++) {
        const gint32 at = g_array_index(changed, gint32, i);

        g_assert_cmpint(pwrite(fd, image->bytes + at, 4, at), ==, 4);
    }
    g_array_set_size(changed, 0);
}

static void say_nothing(const char *domain, GLogLevelFlags level, const char *text, gpointer opaque)
{
}

static void test_damaged(gconstpointer opaque)
{
    const Kind *kind = opaque;
    const char *stress = g_getenv("SLUICE_TEST_STRESS");
    const int rounds = stress != NULL ? atoi(stress) : ROUNDS;
    g_autofree char *directory = g_dir_make_tmp("sluicefs-ext4-XXXXXX", NULL);
    g_autoptr(GArray) changed = g_array_new(FALSE, FALSE, sizeof(gint32));
    g_autoptr(GRand) random = g_rand_new_with_seed(20261121);
    int fd = memfd_create("image", MFD_CLOEXEC), whole, opened = 0;
    AioContext *ctx = test_context_new();
    Image image = {.log = g_array_new(FALSE, FALSE, sizeof(gint32))};
    bool made;

    g_assert_nonnull(directory);
    make_tree(directory);
    made = make_image(directory, kind, &image);
    run(directory, "rm -rf ./*");
    g_rmdir(directory);
    if (!made) {
        g_test_skip("mkfs.ext4 cannot make it");
    } else {
        g_assert_cmpint(write(fd, image.bytes, image.size), ==, (ssize_t)image.size);
        whole = walk_image(ctx, fd);
        g_assert_cmpint(whole, >, kind->journal ? 10 : 160);
        for (int round = 0; round < rounds; round++) {
            damage(random, &image, fd, changed);
            opened += walk_image(ctx, fd) >= 0;
            repair(&image, fd, changed);
        }
        g_test_message("%s: %d files; %d of %d damaged images could be opened", kind->name, whole,
                       opened, rounds);
        g_assert_cmpint(walk_image(ctx, fd), ==, whole);
    }
    g_free(image.bytes);
    g_array_unref(image.log);
    close(fd);
    aio_context_free(ctx);
}

/* --- turns --- */

#define PIECES 4000 /* of a file, none of which has data */

typedef enum WalkKind { WALK_SEEK, WALK_LIST, WALK_FIND } WalkKind;

typedef struct Turns {
    Ext4Volume *volume;
    WalkKind kind;
    bool done;
} Turns;

static void walk_long(void *opaque)
{
    g_auto(Ext4Cursor) cursor = {0};
    g_autoptr(Ext4Inode) root = NULL;
    g_autoptr(Ext4Inode) inode = NULL;
    Turns *turns = opaque;
    Ext4Entry entry;
    uint32_t ino;

    g_assert_cmpint(ext4_inode_get(turns->volume, EXT4_ROOT, &root), ==, 0);
    g_assert_cmpint(ext4_directory_find(turns->volume, root,
                                        turns->kind == WALK_SEEK ? "file" : "folder", &ino),
                    ==, 0);
    g_assert_cmpint(ext4_inode_get(turns->volume, ino, &inode), ==, 0);
    switch (turns->kind) {
    case WALK_SEEK:
        g_assert_cmpint(ext4_seek(turns->volume, inode, 0, SEEK_DATA), ==, -ENXIO);
        break;
    case WALK_LIST:
        g_assert_cmpint(ext4_directory_next(turns->volume, inode, &cursor, &entry), ==, 0);
        break;
    case WALK_FIND:
        g_assert_cmpint(ext4_directory_find(turns->volume, inode, "name", &ino), ==, -ENOENT);
        break;
    }
    turns->done = true;
}

/* A file, and one that is called a directory, in which holes and unwritten blocks take turns. */
static bool make_pieces(const char *directory, int *fd)
{
    g_autofree char *commands = g_build_filename(directory, "commands", NULL);
    g_autofree char *image = g_build_filename(directory, "image", NULL);
    g_autoptr(GString) text = g_string_new("write empty file\nwrite empty folder\n");

    for (unsigned i = 0; i < PIECES; i++) {
        g_string_append_printf(text, "fallocate %s %u %u\n", i % 2 == 0 ? "file" : "folder", i, i);
    }
    g_string_append_printf(text, "sif file size %u\nsif folder size %u\nsif folder mode 040755\n",
                           PIECES * 1024, PIECES * 1024);
    g_assert_true(g_file_set_contents(commands, text->str, -1, NULL));
    if (!run(directory, "truncate -s 16M image && touch empty && mkfs.ext4 -q -F -b 1024 -N 300 "
                        "-O ^metadata_csum,^has_journal,^dir_index image && "
                        "debugfs -w -f commands image")) {
        return false;
    }
    *fd = open(image, O_RDONLY | O_CLOEXEC);
    return *fd >= 0;
}

/* All that is asked for is in memory the second time, and the walk does not go on to its end. */
static void test_turns(void)
{
    g_autofree char *directory = g_dir_make_tmp("sluicefs-ext4-XXXXXX", NULL);
    const Ext4Params params = {.uid = -1, .gid = -1};
    AioContext *ctx = test_context_new();
    g_autoptr(BlockNode) node = NULL;
    int fd = -1;

    const bool made = make_pieces(directory, &fd);
    run(directory, "rm -rf ./*");
    g_rmdir(directory);
    if (!made) {
        g_test_skip("debugfs cannot make it");
        aio_context_free(ctx);
        return;
    }
    node = block_raw_new(fd, "image", true, false, NULL);
    Ext4Volume *volume = ext4_open(node, &params, NULL);
    g_assert_nonnull(volume);
    for (WalkKind kind = WALK_SEEK; kind <= WALK_FIND; kind++) {
        for (unsigned time = 0; time < 2; time++) {
            Turns turns = {.volume = volume, .kind = kind};

            aio_co_enter(aio_co_new(walk_long, &turns));
            g_assert_true(!turns.done || (kind == WALK_FIND && time == 1)); /* a known name */
            while (!turns.done) {
                aio_context_poll(ctx, true);
            }
        }
    }
    ext4_close(volume);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_log_set_handler("sluicefs", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_MESSAGE, say_nothing, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *path = g_strdup_printf("/ext4/damaged/%s", kinds[i].name);

        g_test_add_data_func(path, &kinds[i], test_damaged);
    }
    g_test_add_func("/ext4/turns", test_turns);
    return g_test_run();
}
