/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events of fanotify, decoded (fs/passthrough/watch-event.c). */
#include <errno.h>
#include <string.h>
#include <sys/fanotify.h>

#include <glib.h>

#include "fs/passthrough/watch-event.h"

/* Append a record: fsid 7, a handle of @bytes times @fill, @name if there is one. */
static void add_record(GByteArray *out, unsigned type, unsigned bytes, int fill, const char *name)
{
    const uint64_t fsid = 7;
    const int32_t handle_type = 0x81;
    guint8 handle[256];
    memset(handle, fill, sizeof(handle));
    size_t length = sizeof(struct fanotify_event_info_header) + sizeof(fsid) + sizeof(bytes) +
                    sizeof(handle_type) + bytes + (name ? strlen(name) + 1 : 0);
    const size_t padded = (length + 3) & ~(size_t)3;
    const struct fanotify_event_info_header info = {.info_type = (guint8)type,
                                                    .len = (guint16)padded};
    g_byte_array_append(out, (const guint8 *)&info, sizeof(info));
    g_byte_array_append(out, (const guint8 *)&fsid, sizeof(fsid));
    g_byte_array_append(out, (const guint8 *)&bytes, sizeof(bytes));
    g_byte_array_append(out, (const guint8 *)&handle_type, sizeof(handle_type));
    g_byte_array_append(out, handle, bytes);
    if (name) {
        g_byte_array_append(out, (const guint8 *)name, (guint)strlen(name) + 1);
    }
    static const guint8 zero[4];
    g_byte_array_append(out, zero, (guint)(padded - length));
}

/* Append an event with @records, which it frees. */
static void add_event(GByteArray *out, uint64_t mask, GByteArray *records)
{
    const struct fanotify_event_metadata head = {
        .event_len = (guint32)sizeof(head) + records->len,
        .vers = FANOTIFY_METADATA_VERSION,
        .metadata_len = sizeof(head),
        .mask = mask,
        .fd = FAN_NOFD,
        .pid = 42,
    };
    g_byte_array_append(out, (const guint8 *)&head, sizeof(head));
    g_byte_array_append(out, records->data, records->len);
    g_byte_array_free(records, TRUE);
}

static GByteArray *two_events(void)
{
    GByteArray *all = g_byte_array_new(), *records = g_byte_array_new();
    add_record(records, FAN_EVENT_INFO_TYPE_DFID_NAME, 8, 'd', "name");
    add_record(records, FAN_EVENT_INFO_TYPE_PIDFD, 0, 0, NULL); /* of no interest */
    add_record(records, FAN_EVENT_INFO_TYPE_FID, 12, 'f', NULL);
    add_event(all, FAN_MODIFY, records);
    records = g_byte_array_new();
    add_record(records, FAN_EVENT_INFO_TYPE_DFID, 128, 'x', NULL);
    add_event(all, FAN_ATTRIB | FAN_ONDIR, records);
    return all;
}

static void test_events(void)
{
    g_autoptr(GByteArray) bytes = two_events();
    const char *buffer = (const char *)bytes->data;
    FsWatchEvent event;
    size_t offset = 0;
    g_assert_cmpint(fs_watch_event_next(buffer, bytes->len, &offset, &event), ==, 1);
    g_assert_cmpuint(event.mask, ==, FAN_MODIFY);
    g_assert_cmpint(event.pid, ==, 42);
    g_assert_true(event.has_dir && event.has_file);
    g_assert_cmpstr(event.name, ==, "name");
    g_assert_cmpmem(event.dir.handle.name, event.dir.handle.length, "dddddddd", 8);
    g_assert_cmpmem(event.file.handle.name, event.file.handle.length, "ffffffffffff", 12);
    g_assert_cmpint(event.file.handle.type, ==, 0x81);
    g_assert_cmpuint(event.file.fsid, ==, 7);
    g_assert_cmpint(fs_watch_event_next(buffer, bytes->len, &offset, &event), ==, 1);
    g_assert_cmpuint(event.mask, ==, FAN_ATTRIB | FAN_ONDIR);
    g_assert_true(event.has_dir && !event.has_file && !event.name);
    g_assert_cmpuint(event.dir.handle.length, ==, 128);
    g_assert_cmpint(fs_watch_event_next(buffer, bytes->len, &offset, &event), ==, 0);
    g_assert_cmpuint(offset, ==, bytes->len);
}

static void test_overflow(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    add_event(bytes, FAN_Q_OVERFLOW, g_byte_array_new());
    FsWatchEvent event;
    size_t offset = 0;
    g_assert_cmpint(fs_watch_event_next((const char *)bytes->data, bytes->len, &offset, &event), ==,
                    1);
    g_assert_cmpuint(event.mask, ==, FAN_Q_OVERFLOW);
    g_assert_true(!event.has_dir && !event.has_file && !event.name);
}

/* @length bytes in memory of exactly that size, to the end or the first error. */
static int decode_all(const guint8 *bytes, size_t length)
{
    g_autofree char *copy = g_memdup2(bytes, length);
    FsWatchEvent event;
    size_t offset = 0;
    int more;
    while ((more = fs_watch_event_next(copy, length, &offset, &event)) > 0) {
        g_assert_cmpuint(offset, <=, length);
        if (event.name) {
            g_assert_true(event.name > copy && event.name + strlen(event.name) < copy + length);
        }
    }
    return more;
}

static void test_cut(void)
{
    g_autoptr(GByteArray) bytes = two_events();
    const guint32 first = ((const struct fanotify_event_metadata *)bytes->data)->event_len;
    for (guint length = 1; length < bytes->len; length++) {
        g_assert_cmpint(decode_all(bytes->data, length), ==, length == first ? 0 : -EIO);
    }
}

static void test_damaged(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        g_autoptr(GByteArray) bytes = two_events();
        for (int j = g_test_rand_int_range(1, 4); j > 0; j--) {
            bytes->data[g_test_rand_int_range(0, (gint32)bytes->len)] =
                (guint8)g_test_rand_int_range(0, 256);
        }
        decode_all(bytes->data, bytes->len);
    }
}

static void test_refused(void)
{
    GByteArray *records = g_byte_array_new();
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    add_record(records, FAN_EVENT_INFO_TYPE_FID, 129, 'f', NULL); /* longer than any handle */
    add_event(bytes, FAN_MODIFY, records);
    g_assert_cmpint(decode_all(bytes->data, bytes->len), ==, -EIO);

    g_byte_array_set_size(bytes, 0);
    add_event(bytes, FAN_MODIFY, g_byte_array_new());
    bytes->data[offsetof(struct fanotify_event_metadata, vers)]++;
    g_assert_cmpint(decode_all(bytes->data, bytes->len), ==, -EIO);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/watch-event/records", test_events);
    g_test_add_func("/watch-event/overflow", test_overflow);
    g_test_add_func("/watch-event/cut", test_cut);
    g_test_add_func("/watch-event/damaged", test_damaged);
    g_test_add_func("/watch-event/refused", test_refused);
    return g_test_run();
}
