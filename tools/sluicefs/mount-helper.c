/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The forms without a command: mount.fuse.sluicefs and sluicefs SRC MNT.
 *
 * How it works: mount(8) calls "mount.fuse.sluicefs SRC MNT [-sfnv] [-N NS]
 * [-o LIST] [-t TYPE]", letters that mean something else than ours. It has
 * already taken the options it handles itself out of LIST. The short form has
 * our own letters. Both end in the command that serves what SRC is.
 *
 * For a remount, mount(8) has already merged the options of the existing mount
 * with the new ones; noexec and exec cancel each other and neither is passed.
 * So its LIST is all that the mount shall have, while the LIST of the short
 * form changes what the mount has.
 *
 * A mount by root through mount(8) behaves like that of any file system:
 * set-user-id bits and device files count and every user may use it, unless
 * the options say otherwise.
 */
#include "tools/sluicefs/mount-helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/block/nbd.h"
#include "tools/sluicefs/command.h"
#include "tools/sluicefs/help.h"
#include "tools/sluicefs/mount-table.h"
#include "tools/sluicefs/printable.h"

#define EXT_MAGIC_AT 1080 /* bytes from the beginning of a file system */
#define ATIME_FLAGS  (MS_NOATIME | MS_NODIRATIME | MS_RELATIME)

/* What of an existing mount a remount by the short form keeps unless told otherwise. */
#define REMOUNT_FLAGS                                                                              \
    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_DIRSYNC | MS_NOSYMFOLLOW | \
     ATIME_FLAGS)

/* What the mount with the flags @existing shall have. @complete: the options name all of it. */
static unsigned long remount_flags(const Options *options, unsigned long existing, bool complete)
{
    unsigned long flags = options->mount_set;

    if (!complete) {
        flags |= (existing & REMOUNT_FLAGS) & ~options->mount_clear;
    }
    /* Without any of these, the kernel keeps those that the mount has. */
    if ((flags & ATIME_FLAGS) == 0 && (complete || (options->mount_clear & MS_NOATIME) != 0)) {
        flags |= MS_RELATIME;
    }
    return flags;
}

/* The kernel does it alone; the daemon keeps its options. */
static int remount(const Options *options, const char *mountpoint, bool complete)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountEntry) entry = mount_table_find_path(mountpoint, &error);
    g_autofree char *reason = NULL;

    if (entry == NULL) {
        reason = printable(error->message);
        fprintf(stderr, "sluicefs: cannot remount '%s': %s\n", mountpoint, reason);
        return EXIT_FAILED;
    }
    if (strcmp(entry->type, "fuse") != 0 && !g_str_has_prefix(entry->type, "fuse.")) {
        reason = printable(entry->type);
        fprintf(stderr, "sluicefs: cannot remount '%s': it is a mount of type %s\n", mountpoint,
                reason);
        return EXIT_FAILED;
    }
    if (mount(NULL, entry->mountpoint, NULL,
              MS_REMOUNT | remount_flags(options, entry->flags, complete), NULL) < 0) {
        fprintf(stderr, "sluicefs: cannot remount '%s': %s\n", mountpoint, g_strerror(errno));
        return errno == EPERM ? EXIT_USAGE : EXIT_FAILED;
    }
    return EXIT_OK;
}

static bool is_disk(const char *source)
{
    struct stat st;

    return source != NULL &&
           (block_nbd_is_uri(source) ||
            (stat(source, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))));
}

/* The options that SRC, as far as it is known, can be served with. */
static unsigned groups_for(const char *source)
{
    return OPTION_GROUPS_SERVE |
           (is_disk(source) ? OPTION_GROUP_DISK | OPTION_GROUP_IMAGE : OPTION_GROUP_DIRECTORY);
}

/* Whether the whole of the file @source is an ext2, ext3 or ext4 file system. */
static bool is_file_system(const char *source)
{
    int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t magic[2] = {0};
    bool is = fd >= 0 && pread(fd, magic, sizeof(magic), EXT_MAGIC_AT) == sizeof(magic) &&
              magic[0] == 0x53 && magic[1] == 0xef;

    if (fd >= 0) {
        close(fd);
    }
    return is;
}

/* Of a disk, its partitions, or the files in it: if asked for, or if there is nothing else. */
static const Command *command_for(const char *source, const Options *options)
{
    if (!is_disk(source)) {
        return command_find("passthrough");
    }
    if (options->files || options->norecovery || options->fakeroot ||
        (!options_given(options, "files") && options->offset == NULL && is_file_system(source))) {
        return command_find("image");
    }
    return command_find("disk");
}

/* Serve SRC on MNT by the command for what SRC is. @by_mount: mount(8) asks. */
static int mount_source(Options *options, bool by_mount)
{
    const char *mountpoint;

    if (options->help) {
        help_print_overview(stdout);
        return EXIT_OK;
    }
    if (options->version) {
        help_print_version(stdout);
        return EXIT_OK;
    }
    if (options->arguments->len != 2) {
        return command_usage_error(NULL, "SRC and MNT are needed, %u arguments are given",
                                   options->arguments->len);
    }
    mountpoint = g_ptr_array_index(options->arguments, 1);
    if (options->remount) {
        return remount(options, mountpoint, by_mount);
    }
    return command_start(command_for(g_ptr_array_index(options->arguments, 0), options), options);
}

/* mount(8) means everybody's mount; what the list says goes first. */
static void apply_mount_defaults(Options *options)
{
    if (geteuid() != 0) {
        return;
    }
    options->mount_clear |= (MS_NOSUID | MS_NODEV) & ~options->mount_set;
    if (!options_given(options, "allow-other")) {
        options->allow_other = true;
    }
}

/* mount(8) has nobody to show anything to, and wants to return. */
static const char *unfit_option(const Options *options)
{
    return options->run != NULL ? "run" : options->debug ? "debug" : NULL;
}

int mount_helper_main(int argc, char *const *argv)
{
    g_autoptr(Options) options = options_new();
    g_autoptr(GString) list = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    bool sloppy = false, fake = false;
    const char *source, *unfit;

    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];

        if (word[0] != '-' || word[1] == '\0') {
            g_ptr_array_add(options->arguments, g_strdup(word));
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "--version") == 0) {
            options->help = word[2] == 'h';
            options->version = word[2] == 'v';
            continue;
        }
        for (const char *letter = word + 1; *letter != '\0'; letter++) {
            if (*letter == 's') {
                sloppy = true;
            } else if (*letter == 'f') {
                fake = true;
            } else if (strchr("oNt", *letter) != NULL) {
                const char *value = letter[1] != '\0' ? letter + 1 : i + 1 < argc ? argv[++i] : "";

                if (*letter == 'o') {
                    g_string_append_printf(list, ",%s", value);
                }
                break;
            } else if (strchr("nvwr", *letter) == NULL) {
                return command_usage_error(NULL, "unknown option '-%c' in '%s'", *letter, word);
            }
        }
    }
    source = options->arguments->len > 0 ? g_ptr_array_index(options->arguments, 0) : NULL;
    if (!options_parse_list(options, groups_for(source), list->str, sloppy, &error)) {
        return command_usage_error(command_for(source, options), "%s", error->message);
    }
    unfit = unfit_option(options);
    if (unfit != NULL) {
        return command_usage_error(command_for(source, options),
                                   "option '%s' makes no sense for mount(8): give --%s to "
                                   "'sluicefs %s'",
                                   unfit, unfit, command_for(source, options)->name);
    }
    apply_mount_defaults(options);
    return fake ? EXIT_OK : mount_source(options, true);
}

/* Sets *@list if there is a -o. */
static int count_words(int argc, char *const *argv, bool *list)
{
    int words = 0;

    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "-o")) {
            *list = true;
            i += argv[i][2] == '\0';
        } else if (argv[i][0] != '-') {
            words++;
        }
    }
    return words;
}

int mount_helper_count_words(int argc, char *const *argv)
{
    bool list;

    return count_words(argc, argv, &list);
}

bool mount_helper_is_short_form(int argc, char *const *argv)
{
    bool list = false;

    if (count_words(argc, argv, &list) < 2) {
        return false;
    }
    /* What cannot be a mistyped command. */
    return list || argv[0][0] == '-' || strchr(argv[0], '/') != NULL ||
           g_str_has_prefix(argv[0], "source:") || access(argv[0], F_OK) == 0;
}

/* The first word that is no option. */
static const char *find_source(int argc, char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0) {
            i++;
        } else if (argv[i][0] != '-') {
            return argv[i];
        }
    }
    return NULL;
}

int mount_helper_short_form(int argc, char *const *argv)
{
    const char *source = find_source(argc, argv);

    g_autoptr(Options) options = options_new();
    g_autoptr(GError) error = NULL;

    if (!options_parse(options, groups_for(source), argc, argv, &error)) {
        return command_usage_error(command_for(source, options), "%s", error->message);
    }
    return mount_source(options, false);
}
