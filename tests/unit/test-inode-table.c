/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables behind node ids and file handles, names and directory entries (fs/passthrough). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <glib.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/dir.h"
#include "fs/passthrough/handle.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/resolve.h"

/* --- slots --- */

static void test_slot_numbers(void)
{
    FsSlotTable *table = g_new0(FsSlotTable, 1);
    fs_slots_init(table, sizeof(FsSlot) + 8);

    static const uint64_t bogus[] = {0, 1, 2, 1024, UINT32_MAX, 1ull << 32, UINT64_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(bogus); i++) {
        g_assert_null(fs_slots_get(table, bogus[i]));
    }

    FsSlot *slot = fs_slots_alloc(table);
    uint64_t id = fs_slot_id(slot);
    g_assert_cmpuint(id, ==, 1);
    g_assert_null(fs_slots_get(table, id)); /* not published yet */
    fs_slot_publish(slot);
    g_assert_true(fs_slots_get(table, id) == slot);
    g_assert_null(fs_slots_get(table, id | 1ull << 32)); /* another generation */
    for (size_t i = 0; i < G_N_ELEMENTS(bogus); i++) {
        if (bogus[i] != id) {
            g_assert_null(fs_slots_get(table, bogus[i]));
        }
    }
    g_assert_false(fs_slot_unref(slot));
    g_assert_true(fs_slot_unref(slot));
    g_assert_null(fs_slots_get(table, id));
    fs_slots_release(table, slot);

    FsSlot *again = fs_slots_alloc(table);
    g_assert_true(again == slot);
    g_assert_cmpuint(fs_slot_id(again), !=, id);
    g_assert_cmpuint(fs_slot_generation(again), ==, 1);
    fs_slot_publish(again);
    g_assert_null(fs_slots_get(table, id));
    g_assert_true(fs_slot_unref(again));
    fs_slots_release(table, again);
    g_assert_cmpuint(fs_slots_live(table), ==, 0);
    fs_slots_fini(table);
    g_free(table);
}

static void test_slot_chunks(void)
{
    enum { COUNT = 3 * FS_SLOTS_PER_CHUNK + 7 };
    FsSlotTable *table = g_new0(FsSlotTable, 1);
    fs_slots_init(table, sizeof(FsSlot) + 24);
    FsSlot **slots = g_new(FsSlot *, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        slots[i] = fs_slots_alloc(table);
        fs_slot_publish(slots[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        g_assert_true(fs_slots_get(table, i + 1) == slots[i]);
        g_assert_false(fs_slot_unref(slots[i]));
    }
    g_assert_null(fs_slots_get(table, COUNT + 1));
    g_assert_cmpuint(fs_slots_live(table), ==, COUNT);
    g_free(slots);
    fs_slots_fini(table);
    g_free(table);
}

/* --- inode numbers to show --- */

static void test_numbers(void)
{
    const ino_t high = (ino_t)1 << 48, low = high - 1;
    FsBackings *backings = g_new0(FsBackings, 1);
    fs_backings_init(backings);
    int fd = open("/", O_PATH | O_CLOEXEC);
    FsBacking *root = fs_backing_get(backings, 10, fd);
    FsBacking *second = fs_backing_get(backings, 11, fd);
    FsBacking *third = fs_backing_get(backings, 12, fd);
    g_assert_true(fs_backing_get(backings, 11, fd) == second);

    /* the root's file system shows its own, as long as they are free */
    g_assert_cmphex(fs_backing_shown_ino(root, 5), ==, 5);
    g_assert_cmphex(fs_backing_shown_ino(root, 9 * high + 5), ==, 9 * high + 5);
    ino_t taken = fs_backing_shown_ino(second, 5);
    g_assert_cmphex(taken & low, ==, 5);
    g_assert_cmphex(fs_backing_shown_ino(root, taken), !=, taken);
    for (unsigned i = 0; i < 2; i++) { /* what was said once stays */
        g_assert_cmphex(fs_backing_shown_ino(second, 5), ==, taken);
        g_assert_cmphex(fs_backing_shown_ino(root, 9 * high + 5), ==, 9 * high + 5);
    }

    /* no number twice, whatever their upper bits are */
    g_autoptr(GHashTable) seen = g_hash_table_new(g_int64_hash, g_int64_equal);
    FsBacking *all[] = {root, second, third};
    static const ino_t uppers[] = {0, 1, 2, 3, 9, 0x8000, 0xffff};
    enum { EACH = G_N_ELEMENTS(uppers) };
    gint64 shown[G_N_ELEMENTS(all) * EACH];
    for (unsigned i = 0; i < G_N_ELEMENTS(shown); i++) {
        shown[i] = (gint64)fs_backing_shown_ino(all[i / EACH], uppers[i % EACH] * high + 5);
        g_assert_true(g_hash_table_add(seen, &shown[i]));
    }

    /* with all upper bits in use, still an answer, and the same one again */
    for (ino_t upper = 0; upper < 1u << 16; upper++) {
        fs_backing_shown_ino(root, upper * high + 7);
    }
    ino_t late = fs_backing_shown_ino(third, 0x1234 * high + 7);
    g_assert_cmphex(late & low, ==, 7);
    g_assert_cmphex(fs_backing_shown_ino(third, 0x1234 * high + 7), ==, late);
    g_assert_cmphex(fs_backing_shown_ino(second, 5), ==, taken);
    close(fd);
    fs_backings_fini(backings);
    g_free(backings);
}

/* --- inodes --- */

static int open_descriptor(void)
{
    int fd = open("/", O_PATH | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static FsInode *look_up(FsInodeTable *table, ino_t ino, uint64_t mount_id)
{
    FsInodeKey key = {.dev = 7, .ino = ino, .mount_id = mount_id};
    FsInode *inode = fs_inode_lookup(table, &key, open_descriptor(), S_IFREG | 0644, NULL);
    g_assert_nonnull(inode);
    return inode;
}

/* Invented handles: as of one file number in two generations. */
static void test_inode_by_handle(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    fs_inodes_init(table, NULL, NULL);
    fs_inode_put(look_up(table, 2, 1));
    const FsHandleName first = {.mount_id = 3, .length = 8, .type = 1, .name = "0000001"};
    const FsHandleName second = {.mount_id = 3, .length = 8, .type = 1, .name = "0000002"};
    FsInodeFound found = {
        .key = {.dev = 7, .ino = 10, .mount_id = 1}, .type = S_IFDIR, .by_handle = true};

    found.fd = open_descriptor();
    found.handle = &first;
    FsInode *old = fs_inode_lookup_found(table, &found);
    g_assert_cmpint(fs_inode_descriptor(old), ==, -1);
    found.fd = open_descriptor();
    found.by_handle = false; /* what is known already stays as it is */
    FsInode *same = fs_inode_lookup_found(table, &found);
    g_assert_true(same == old);
    g_assert_cmpuint(fs_inode_descriptors(table), ==, 1);

    found.fd = open_descriptor();
    found.handle = &second;
    FsInode *new = fs_inode_lookup_found(table, &found);
    g_assert_true(new != old);
    g_assert_cmpint(fs_inode_descriptor(new), >=, 0);
    g_assert_cmpuint(fs_inode_descriptors(table), ==, 2);

    g_assert_true(fs_inode_forget(table, fs_inode_id(new), 1));
    fs_inode_put(new);

    /* only the one that is meant gets the descriptor, and keeps it */
    for (unsigned i = 0; i < 3; i++) {
        found.handle = i == 0 ? &second : &first;
        found.fd = open_descriptor();
        fs_inode_pin(table, &found);
        g_assert_cmpuint(fs_inode_descriptors(table), ==, i == 0 ? 1 : 2);
    }
    g_assert_cmpint(fs_inode_descriptor(old), >=, 0);
    FsPathFd path = fs_inode_path(old);
    g_assert_cmpint(path.fd, ==, fs_inode_descriptor(old));
    fs_path_fd_clear(&path);
    g_assert_cmpuint(fs_inode_lookups(old), ==, 2);

    g_assert_true(fs_inode_forget(table, fs_inode_id(old), 2));
    fs_inode_put(same);
    fs_inode_put(old);
    g_assert_cmpuint(fs_inode_descriptors(table), ==, 1);
    g_assert_cmpuint(table->by_handle, ==, 0);
    g_assert_null(table->mounts.first);
    fs_inodes_fini(table);
    g_free(table);
}

static void test_handle_pack(void)
{
    static const struct {
        FsHandleName name;
        bool packs;
        uint64_t packed;
    } rows[] = {
        {{.type = 1, .length = 8, .name = "\x0c\0\0\0\x01\x02\x03\x04"}, true, 0x040302010000000c},
        {{.type = 1, .length = 12, .name = "\x01\0\0\xf0\x0c\0\0\0"}, true, 0xf00000010000000c},
        {{.type = 0x81, .length = 12, .name = "\x0c\0\0\0\0\0\0\0\x07"}, true, 0x70000000c},
        {{.type = 0x81, .length = 12, .name = "\x0c\0\0\0\x01\0\0\0\x07"}, false, 0},
        {{.type = 1, .length = 8, .name = "\0\0\0\x80\x01"}, false, 0},
        {{.type = 2, .length = 8}, false, 0},
        {{.type = 1, .length = 20}, false, 0},
        {{.type = 0x4d, .length = 20}, false, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t packed = 0;
        g_assert_cmpint(fs_handle_pack(&rows[i].name, &packed), ==, rows[i].packs);
        g_assert_true(!rows[i].packs || packed == rows[i].packed);
    }
}

/* Node ids made of handles; files without one, and on other mounts, have ids of their own. */
static void test_inode_stable_ids(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    fs_inodes_init(table, NULL, NULL);
    const FsInodeKey like = {.dev = 7, .ino = 2, .mount_id = 1};
    fs_inodes_use_stable_ids(table, &like);
    fs_inode_put(look_up(table, 2, 1));
    const FsHandleName handle = {.mount_id = 3, .length = 8, .type = 1, .name = "\x0a\0\0\0\x05"};
    FsInodeFound found = {.key = {.dev = 7, .ino = 10, .mount_id = 1}, .type = S_IFREG};
    found.handle = &handle;
    found.fd = open_descriptor();
    FsInode *stable = fs_inode_lookup_found(table, &found);
    g_assert_cmphex(fs_inode_id(stable), ==, 0x50000000a);
    g_assert_cmpuint(fs_inode_generation(stable), ==, 5);

    found.key.mount_id = 9;
    found.fd = open_descriptor();
    FsInode *elsewhere = fs_inode_lookup_found(table, &found);
    FsInode *without = look_up(table, 11, 1);
    FsInode *inodes[] = {stable, elsewhere, without};
    for (size_t i = 0; i < G_N_ELEMENTS(inodes); i++) {
        uint64_t id = fs_inode_id(inodes[i]);
        g_assert_cmpint((id & 1u << 31) != 0, ==, i > 0);
        FsInode *same = fs_inode_get(table, id);
        g_assert_true(same == inodes[i]);
        fs_inode_put(same);
        fs_inode_put(inodes[i]);
        g_assert_true(fs_inode_forget(table, id, 1));
        g_assert_null(fs_inode_get(table, id));
    }
    static const uint64_t bogus[] = {0, 2, 10, 0x60000000a, 1u << 31, UINT64_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(bogus); i++) {
        g_assert_null(fs_inode_get(table, bogus[i]));
    }
    fs_inodes_fini(table);
    g_free(table);
}

static void test_inode_counts(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    fs_inodes_init(table, NULL, NULL);
    FsInode *root = look_up(table, 2, 1);
    g_assert_cmpuint(fs_inode_id(root), ==, FS_INODE_ROOT_ID);

    FsInode *file = look_up(table, 10, 1);
    uint64_t id = fs_inode_id(file);
    g_assert_cmpuint(file->type, ==, S_IFREG);
    FsInode *same = look_up(table, 10, 1);
    g_assert_true(same == file);
    FsInode *other_mount = look_up(table, 10, 2);
    g_assert_true(other_mount != file);
    fs_inode_put(other_mount);
    g_assert_cmpuint(fs_inode_lookups(file), ==, 2);
    fs_inode_put(same);
    fs_inode_put(file);

    g_assert_true(fs_inode_forget(table, id, 1));
    FsInode *still = fs_inode_get(table, id);
    g_assert_true(still == file);
    /* an operation keeps it alive after the kernel has let go */
    g_assert_true(fs_inode_forget(table, id, 1));
    g_assert_cmpuint(fs_inode_lookups(still), ==, 0);
    g_assert_true(fs_inode_get(table, id) == still);
    fs_inode_put(still);
    /* looked up again meanwhile: the kernel's reference comes back */
    g_assert_true(look_up(table, 10, 1) == still);
    fs_inode_put(still);
    fs_inode_put(still);
    g_assert_cmpuint(fs_inode_lookups(still), ==, 1);
    g_assert_true(fs_inode_forget(table, id, 1));
    g_assert_null(fs_inode_get(table, id));

    FsInode *fresh = look_up(table, 10, 1);
    g_assert_cmpuint(fs_inode_id(fresh), !=, id);
    fs_inode_put(fresh);
    fs_inode_put(root);
    g_assert_cmpuint(fs_slots_live(&table->slots), ==, 3);
    fs_inodes_fini(table);
    g_free(table);
}

static void test_inode_bogus_forget(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    fs_inodes_init(table, NULL, NULL);
    FsInode *root = look_up(table, 2, 1);
    fs_inode_put(root);
    g_assert_true(fs_inode_forget(table, FS_INODE_ROOT_ID, UINT64_MAX));
    root = fs_inode_get(table, FS_INODE_ROOT_ID);
    g_assert_nonnull(root);
    fs_inode_put(root);

    FsInode *file = look_up(table, 10, 1);
    uint64_t id = fs_inode_id(file);
    g_assert_false(fs_inode_forget(table, id, 5));
    g_assert_false(fs_inode_forget(table, id, 1)); /* ours is the last reference */
    fs_inode_put(file);
    g_assert_null(fs_inode_get(table, id));
    g_assert_false(fs_inode_forget(table, id, 1));
    g_assert_false(fs_inode_forget(table, 12345, 1));
    fs_inodes_fini(table);
    g_free(table);
}

static void test_inode_many(void)
{
    enum { COUNT = 3000 };
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    uint64_t *ids = g_new(uint64_t, COUNT);
    fs_inodes_init(table, NULL, NULL);
    fs_inode_put(look_up(table, 1, 1));
    for (unsigned i = 0; i < COUNT; i++) {
        FsInode *inode = look_up(table, 100 + i, 1);
        ids[i] = fs_inode_id(inode);
        fs_inode_put(inode);
    }
    for (unsigned i = 0; i < COUNT; i += 2) {
        g_assert_true(fs_inode_forget(table, ids[i], 1));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        FsInode *inode = look_up(table, 100 + i, 1);
        g_assert_cmpint(fs_inode_id(inode) == ids[i], ==, i % 2);
        g_assert_cmpuint(fs_inode_lookups(inode), ==, 1 + i % 2);
        fs_inode_put(inode);
    }
    g_assert_cmpuint(fs_slots_live(&table->slots), ==, COUNT + 1);
    fs_inodes_fini(table);
    g_free(ids);
    g_free(table);
}

/*
 * Threads look up the same few inodes, use them by number and forget them. Every
 * lookup is forgotten exactly once, so none is left but the root. Run under TSan this
 * proves the ordering that slots.c and inode.c claim.
 */
enum { STRESS_THREADS = 4, STRESS_ROUNDS = 15000, STRESS_INODES = 3 };

static gpointer stress_thread(gpointer opaque)
{
    FsInodeTable *table = opaque;
    GRand *random = g_rand_new_with_seed((guint32)(gsize)g_thread_self());
    for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
        ino_t ino = 100 + (ino_t)g_rand_int_range(random, 0, STRESS_INODES);
        FsInode *inode = look_up(table, ino, 1);
        uint64_t id = fs_inode_id(inode);
        g_assert_cmpuint(inode->key.ino, ==, ino);
        fs_inode_put(inode);

        /* our lookup keeps the number valid */
        FsInode *used = fs_inode_get(table, id);
        g_assert_nonnull(used);
        g_assert_cmpuint(used->key.ino, ==, ino);
        g_assert_cmpint(fcntl(fs_inode_descriptor(used), F_GETFD), ==, FD_CLOEXEC);
        g_assert_true(fs_inode_forget(table, id, 1));
        fs_inode_put(used);

        /* from here on it may be anything but a crash or the wrong inode */
        used = fs_inode_get(table, id);
        if (used) {
            g_assert_cmpuint(used->key.ino, ==, ino);
            fs_inode_put(used);
        }
    }
    g_rand_free(random);
    return NULL;
}

static void test_inode_stress(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    GThread *threads[STRESS_THREADS];
    fs_inodes_init(table, NULL, NULL);
    fs_inode_put(look_up(table, 1, 1));
    for (unsigned i = 0; i < STRESS_THREADS; i++) {
        threads[i] = g_thread_new("stress", stress_thread, table);
    }
    for (unsigned i = 0; i < STRESS_THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpuint(fs_slots_live(&table->slots), ==, 1);
    fs_inodes_fini(table);
    g_free(table);
}

static void test_pages_valid(void)
{
    FsInodeTable *table = g_new0(FsInodeTable, 1);
    fs_inodes_init(table, NULL, NULL);
    FsInode *inode = look_up(table, 2, 1);
    struct stat st = {.st_size = 0, .st_mtim = {5, 6}};
    g_assert_false(fs_inode_pages_valid(inode, &st));
    g_assert_true(fs_inode_pages_valid(inode, &st));
    st.st_mtim.tv_nsec++;
    g_assert_false(fs_inode_pages_valid(inode, &st));
    st.st_size++;
    g_assert_false(fs_inode_pages_valid(inode, &st));
    g_assert_true(fs_inode_pages_valid(inode, &st));
    fs_inode_put(inode);
    fs_inodes_fini(table);
    g_free(table);
}

/* --- handles --- */

static void test_handles(void)
{
    FsInodeTable *inodes = g_new0(FsInodeTable, 1);
    FsHandleTable *handles = g_new0(FsHandleTable, 1);
    fs_inodes_init(inodes, NULL, NULL);
    fs_handles_init(handles);
    fs_inode_put(look_up(inodes, 1, 1));
    FsInode *inode = look_up(inodes, 2, 1);
    uint64_t node = fs_inode_id(inode);

    FsHandle *handle = fs_handle_new(handles, inode, open_descriptor(), O_RDONLY, NULL);
    uint64_t id = fs_handle_id(handle);
    fs_inode_put(inode);
    g_assert_true(fs_inode_forget(inodes, node, 1));
    inode = fs_inode_get(inodes, node); /* the open file keeps it */
    g_assert_nonnull(inode);
    fs_inode_put(inode);

    FsHandle *running = fs_handle_get(handles, id);
    g_assert_true(running == handle);
    g_assert_true(fs_handle_release(handles, id));
    g_assert_false(fs_handle_release(handles, id));
    g_assert_null(fs_handle_get(handles, id));
    g_assert_cmpint(fcntl(running->fd, F_GETFD), ==, FD_CLOEXEC); /* still open for it */
    fs_handle_put(running);
    g_assert_null(fs_inode_get(inodes, node));
    g_assert_false(fs_handle_release(handles, 77));

    fs_handles_fini(handles);
    fs_inodes_fini(inodes);
    g_free(handles);
    g_free(inodes);
}

/* --- names and directory entries --- */

static void test_names(void)
{
    g_autofree char *longest = g_strnfill(255, 'x');
    g_autofree char *too_long = g_strnfill(256, 'x');
    g_autofree char *slash_far = g_strconcat(too_long, "/x", NULL);
    g_assert_cmpint(fs_resolve_check_name("a"), ==, 0);
    g_assert_cmpint(fs_resolve_check_name("..."), ==, 0);
    g_assert_cmpint(fs_resolve_check_name(".a"), ==, 0);
    g_assert_cmpint(fs_resolve_check_name("\xff\n"), ==, 0);
    g_assert_cmpint(fs_resolve_check_name(longest), ==, 0);
    g_assert_cmpint(fs_resolve_check_name(too_long), ==, -ENAMETOOLONG);
    g_assert_cmpint(fs_resolve_check_name(slash_far), ==, -ENAMETOOLONG);
    g_assert_cmpint(fs_resolve_check_name(""), ==, -EINVAL);
    g_assert_cmpint(fs_resolve_check_name("."), ==, -EINVAL);
    g_assert_cmpint(fs_resolve_check_name(".."), ==, -EINVAL);
    g_assert_cmpint(fs_resolve_check_name("a/b"), ==, -EINVAL);
    g_assert_cmpint(fs_resolve_check_name("/"), ==, -EINVAL);
}

/* A getdents64 record: 19 bytes of header, the name, padding to 8. */
static size_t put_dirent(char *buffer, uint64_t ino, int64_t next, uint8_t type, const char *name)
{
    size_t length = (19 + strlen(name) + 1 + 7) & ~(size_t)7;
    uint16_t record_length = (uint16_t)length;
    memset(buffer, 0, length);
    memcpy(buffer, &ino, 8);
    memcpy(buffer + 8, &next, 8);
    memcpy(buffer + 16, &record_length, 2);
    buffer[18] = (char)type;
    strcpy(buffer + 19, name);
    return length;
}

static void test_dirents(void)
{
    char buffer[256];
    size_t first = put_dirent(buffer, 11, 100, 4, "a");
    size_t length = first + put_dirent(buffer + first, 12, -5, 8, "some longer name");
    size_t offset = 0;
    FsDirent entry;

    g_assert_cmpint(fs_dirent_next(buffer, length, &offset, &entry), ==, 1);
    g_assert_cmpuint(offset, ==, first);
    g_assert_cmpuint(entry.ino, ==, 11);
    g_assert_cmpint(entry.next, ==, 100);
    g_assert_cmpint(entry.type, ==, 4);
    g_assert_cmpstr(entry.name, ==, "a");
    g_assert_cmpint(fs_dirent_next(buffer, length, &offset, &entry), ==, 1);
    g_assert_cmpstr(entry.name, ==, "some longer name");
    g_assert_cmpint(entry.next, ==, -5);
    g_assert_cmpint(fs_dirent_next(buffer, length, &offset, &entry), ==, 0);

    /* cut anywhere within the second record */
    for (size_t cut = first + 1; cut < length; cut++) {
        offset = first;
        g_assert_cmpint(fs_dirent_next(buffer, cut, &offset, &entry), ==, -EIO);
    }
    /* record lengths that lie */
    static const uint16_t lies[] = {0, 1, 18, 19, 25, UINT16_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        memcpy(buffer + first + 16, &lies[i], 2);
        offset = first;
        g_assert_cmpint(fs_dirent_next(buffer, length, &offset, &entry), ==, -EIO);
    }
    offset = length + 1;
    g_assert_cmpint(fs_dirent_next(buffer, length, &offset, &entry), ==, -EIO);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/slots/numbers", test_slot_numbers);
    g_test_add_func("/slots/chunks", test_slot_chunks);
    g_test_add_func("/numbers/never-twice", test_numbers);
    g_test_add_func("/inode/counts", test_inode_counts);
    g_test_add_func("/inode/by-handle", test_inode_by_handle);
    g_test_add_func("/inode/handle-pack", test_handle_pack);
    g_test_add_func("/inode/stable-ids", test_inode_stable_ids);
    g_test_add_func("/inode/bogus-forget", test_inode_bogus_forget);
    g_test_add_func("/inode/many", test_inode_many);
    g_test_add_func("/inode/lookup-against-forget", test_inode_stress);
    g_test_add_func("/inode/pages-valid", test_pages_valid);
    g_test_add_func("/handle/life", test_handles);
    g_test_add_func("/resolve/names", test_names);
    g_test_add_func("/dir/entries", test_dirents);
    return g_test_run();
}
