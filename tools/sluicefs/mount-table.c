/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The kernel's mount table, see proc_pid_mountinfo(5). */
#include "tools/sluicefs/mount-table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gio/gio.h>

void mount_entry_free(MountEntry *entry)
{
    if (entry == NULL) {
        return;
    }
    g_free(entry->mountpoint);
    g_free(entry->type);
    g_free(entry->source);
    g_free(entry->options);
    g_free(entry);
}

/* The kernel writes blanks, newlines and backslashes as three octal digits. */
static char *unescape(const char *text)
{
    GString *out = g_string_new(NULL);

    while (*text != '\0') {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
            text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
            g_string_append_c(out,
                              (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0'));
            text += 4;
        } else {
            g_string_append_c(out, *text++);
        }
    }
    return g_string_free(out, FALSE);
}

static unsigned long parse_flags(const char *options)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } names[] = {
        {"ro", MS_RDONLY},         {"nosuid", MS_NOSUID},
        {"nodev", MS_NODEV},       {"noexec", MS_NOEXEC},
        {"sync", MS_SYNCHRONOUS},  {"dirsync", MS_DIRSYNC},
        {"noatime", MS_NOATIME},   {"nodiratime", MS_NODIRATIME},
        {"relatime", MS_RELATIME}, {"nosymfollow", MS_NOSYMFOLLOW},
    };
    g_auto(GStrv) words = g_strsplit(options, ",", -1);
    unsigned long flags = 0;

    for (char **word = words; *word != NULL; word++) {
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
            if (strcmp(*word, names[i].name) == 0) {
                flags |= names[i].flag;
            }
        }
    }
    return flags;
}

/* "MAJOR:MINOR" */
static bool parse_device(const char *text, dev_t *device)
{
    g_auto(GStrv) numbers = g_strsplit(text, ":", 2);
    guint64 major_number, minor_number;

    if (g_strv_length(numbers) != 2 ||
        !g_ascii_string_to_unsigned(numbers[0], 10, 0, G_MAXUINT32, &major_number, NULL) ||
        !g_ascii_string_to_unsigned(numbers[1], 10, 0, G_MAXUINT32, &minor_number, NULL)) {
        return false;
    }
    *device = makedev((unsigned)major_number, (unsigned)minor_number);
    return true;
}

MountEntry *mount_table_parse_line(const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    guint count = g_strv_length(fields), dash;
    MountEntry *entry;
    dev_t device;
    gint64 id;

    /* id parent major:minor root mountpoint options [tags...] - type source options */
    for (dash = 6; dash < count && strcmp(fields[dash], "-") != 0; dash++) {
    }
    if (dash + 3 >= count || !g_ascii_string_to_signed(fields[0], 10, 0, G_MAXINT, &id, NULL) ||
        !parse_device(fields[2], &device)) {
        return NULL;
    }
    entry = g_new0(MountEntry, 1);
    entry->id = (int)id;
    entry->device = device;
    entry->mountpoint = unescape(fields[4]);
    entry->type = unescape(fields[dash + 1]);
    entry->source = unescape(fields[dash + 2]);
    entry->options = g_strdup(fields[dash + 3]);
    entry->flags = parse_flags(fields[5]) | parse_flags(entry->options);
    return entry;
}

bool mount_entry_is_fuse(const MountEntry *entry)
{
    return strcmp(entry->type, "fuse") == 0 || g_str_has_prefix(entry->type, "fuse.");
}

GPtrArray *mount_table_ours(GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)mount_entry_free);
    g_autofree char *table = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/proc/self/mountinfo", &table, NULL, error)) {
        g_prefix_error(error, "cannot read the mount table: ");
        return NULL;
    }
    lines = g_strsplit(table, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        MountEntry *entry = mount_table_parse_line(*line);
        bool wanted = entry != NULL && strcmp(entry->type, "fuse.sluicefs") == 0;

        for (guint i = 0; wanted && i < entries->len; i++) {
            wanted = ((MountEntry *)g_ptr_array_index(entries, i))->device != entry->device;
        }
        if (wanted) {
            g_ptr_array_add(entries, entry);
        } else {
            mount_entry_free(entry);
        }
    }
    return g_steal_pointer(&entries);
}

typedef bool MountMatch(const MountEntry *entry, gconstpointer wanted);

static bool matches_id(const MountEntry *entry, gconstpointer wanted)
{
    return entry->id == *(const int *)wanted;
}

static bool matches_device(const MountEntry *entry, gconstpointer wanted)
{
    return entry->device == *(const dev_t *)wanted;
}

static bool matches_file_system(const MountEntry *entry, gconstpointer wanted)
{
    const MountEntry *other = wanted;

    return entry->device == other->device && strcmp(entry->type, other->type) == 0 &&
           strcmp(entry->source, other->source) == 0;
}

/* The first that matches in @path, a mount table of a process. */
static MountEntry *find_entry(const char *path, MountMatch *match, gconstpointer wanted,
                              GError **error)
{
    g_autofree char *table = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &table, NULL, error)) {
        g_prefix_error(error, "cannot read the mount table: ");
        return NULL;
    }
    lines = g_strsplit(table, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        MountEntry *entry = mount_table_parse_line(*line);

        if (entry != NULL && match(entry, wanted)) {
            return entry;
        }
        mount_entry_free(entry);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "it is not in the mount table");
    return NULL;
}

MountEntry *mount_table_find_id(int id, GError **error)
{
    return find_entry("/proc/self/mountinfo", matches_id, &id, error);
}

MountEntry *mount_table_find_device(dev_t device, GError **error)
{
    return find_entry("/proc/self/mountinfo", matches_device, &device, error);
}

/* Whether the file system of @entry is mounted in the mount namespace of process @pid. */
static bool is_mounted_for(const char *pid, const MountEntry *entry)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/mountinfo", pid);
    /* none as well if it has ended, or is not ours to look at */
    g_autoptr(MountEntry) found = find_entry(path, matches_file_system, entry, NULL);

    return found != NULL;
}

char *mount_table_elsewhere(const MountEntry *entry)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    g_autoptr(GString) out = g_string_new(NULL);
    char *ours = g_file_read_link("/proc/self/ns/mnt", NULL);
    const char *pid;

    if (ours != NULL) {
        g_hash_table_add(seen, ours);
    }
    while (processes != NULL && (pid = g_dir_read_name(processes)) != NULL) {
        g_autofree char *link = g_strdup_printf("/proc/%s/ns/mnt", pid);
        char *namespace = g_ascii_isdigit(pid[0]) ? g_file_read_link(link, NULL) : NULL;

        if (namespace != NULL && g_hash_table_add(seen, namespace) && is_mounted_for(pid, entry)) {
            g_autofree char *path = g_strdup_printf("/proc/%s/comm", pid);
            g_autofree char *name = NULL;

            if (g_file_get_contents(path, &name, NULL, NULL)) {
                g_strchomp(name);
            }
            g_string_append_printf(out, "%s%s (%s)", out->len > 0 ? ", " : "", pid,
                                   name != NULL ? name : "?");
        }
    }
    return out->len > 0 ? g_string_free(g_steal_pointer(&out), FALSE) : NULL;
}

/* The mount that the open @fd lies in, from /proc/self/fdinfo. */
static int mount_id_of(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    g_autofree char *text = NULL;
    const char *found;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return -1;
    }
    found = strstr(text, "mnt_id:");
    return found == NULL ? -1 : (int)g_ascii_strtoll(found + strlen("mnt_id:"), NULL, 10);
}

MountEntry *mount_table_find_path(const char *path, GError **error)
{
    g_autofree char *link = NULL, *resolved = NULL;
    MountEntry *entry;
    int fd = open(path, O_PATH | O_CLOEXEC);
    int id;

    if (fd < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(saved), "%s", g_strerror(saved));
        return NULL;
    }
    link = g_strdup_printf("/proc/self/fd/%d", fd);
    resolved = g_file_read_link(link, error);
    id = mount_id_of(fd);
    close(fd);
    if (resolved == NULL) {
        return NULL;
    }
    entry = mount_table_find_id(id, error);
    if (entry == NULL) {
        return NULL;
    }
    if (strcmp(entry->mountpoint, resolved) != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "not a mount point (it lies in the mount on '%s')", entry->mountpoint);
        mount_entry_free(entry);
        return NULL;
    }
    return entry;
}

guint64 mount_entry_get_number(const MountEntry *entry, const char *name, guint64 fallback)
{
    g_auto(GStrv) words = g_strsplit(entry->options, ",", -1);
    size_t length = strlen(name);

    for (char **word = words; *word != NULL; word++) {
        guint64 number;

        if (strncmp(*word, name, length) == 0 && (*word)[length] == '=' &&
            g_ascii_string_to_unsigned(*word + length + 1, 10, 0, G_MAXUINT64, &number, NULL)) {
            return number;
        }
    }
    return fallback;
}
