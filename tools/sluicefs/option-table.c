/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The one table of options, and the words of mount(8). */
#include "tools/sluicefs/option-table.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>

#include <glib.h>

#include "tools/sluicefs/options.h"

static const char *const level_choices[] = {"error", "warning", "info", "debug", NULL};
static const char *const poll_choices[] = {"auto", "off", "classic", "weighted", NULL};
static const char *const engine_choices[] = {"auto", "uring", "threads", NULL};
static const char *const transport_choices[] = {"device", "uring", "auto", NULL};
static const char *const cache_choices[] = {"none", "auto", "always", NULL};
static const char *const lock_choices[] = {"local", "remote", NULL};
static const char *const disk_cache_choices[] = {"none", "writeback", NULL};
static const char *const format_choices[] = {"auto", "raw", "qcow2", NULL};
static const char *const backing_choices[] = {"beside", "any", NULL};
static const char *const handle_choices[] = {"auto", "never", "always", NULL};
static const char *const passthrough_io_choices[] = {"off", "auto", "on", NULL};
static const char *const errors_choices[] = {"continue", "remount-ro", "panic", NULL};
static const char *const xdev_choices[] = {"allow", "deny", NULL};

#define FIELD(member) .offset = offsetof(Options, member)

const OptionSpec option_table[] = {
    {"help", 'h', OPTION_FLAG, OPTION_GROUP_COMMON, FIELD(help),
     .help = "Show the usage of the command and exit."},
    {"version", 'V', OPTION_FLAG, OPTION_GROUP_COMMON, FIELD(version),
     .help = "Show the version and exit."},

    {"foreground", 'f', OPTION_FLAG, OPTION_GROUP_PROCESS, FIELD(foreground),
     .help = "Stay in the foreground instead of returning once the mount serves."},
    {"debug", 'd', OPTION_FLAG, OPTION_GROUP_PROCESS, FIELD(debug),
     .help = "Log every request; implies --foreground and --log-level=debug."},
    {"run", 0, OPTION_STRING, OPTION_GROUP_PROCESS, FIELD(run), .argument = "COMMAND",
     .help = "Mount, run COMMAND by the shell with $MNT set to the mount point, unmount, and exit "
             "with the status of COMMAND (128 + N if signal N ended it). Implies --foreground."},
    {"ready-fd", 0, OPTION_INTEGER, OPTION_GROUP_PROCESS, FIELD(ready_fd), .argument = "FD",
     .minimum = 3, .maximum = INT_MAX,
     .help = "Write a line to the open descriptor FD and close it once the mount serves."},
    {"pid-file", 0, OPTION_STRING, OPTION_GROUP_PROCESS, FIELD(pid_file), .argument = "FILE",
     .help = "Write the process id of the daemon to FILE; removed at exit."},
    {"log", 0, OPTION_STRING, OPTION_GROUP_PROCESS, FIELD(log), .argument = "stderr|syslog|FILE",
     .help = "Where messages go: standard error (in the foreground the default), the system log "
             "(in the background the default) or FILE, which is appended to."},
    {"log-level", 0, OPTION_CHOICE, OPTION_GROUP_PROCESS, FIELD(log_level),
     .argument = "error|warning|info|debug", .choices = level_choices, .initial = "info",
     .help = "The least important messages still shown."},
    {"stop-timeout", 0, OPTION_SECONDS, OPTION_GROUP_PROCESS, FIELD(stop_timeout),
     .argument = "SECONDS", .initial = "10",
     .help = "When asked to stop, how long to go on serving files that are still open."},
    {"stats", 0, OPTION_FLAG, OPTION_GROUP_PROCESS, FIELD(stats),
     .help = "Log the counters of the session at exit. SIGUSR1 logs them at any time."},

    {"threads", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(threads), .argument = "N",
     .minimum = 1, .maximum = 256,
     .help = "Workers, each with a ring of its own. If not given half the CPUs, or one for each "
             "CPU where requests come over io_uring."},
    {"single-thread", 's', OPTION_FLAG, OPTION_GROUP_ENGINE, FIELD(single_thread),
     .help = "The same as --threads=1."},
    {"helpers", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(helpers), .argument = "N",
     .minimum = 1, .maximum = 1024, .initial = "16",
     .help = "Most helper threads for calls that may wait for a lock or another process."},
    {"max-background", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(max_background),
     .argument = "N", .minimum = 1, .maximum = 65535, .initial = "256",
     .help = "Asynchronous requests that the kernel may have under way."},
    {"io-engine", 0, OPTION_CHOICE, OPTION_GROUP_ENGINE, FIELD(io_engine),
     .argument = "auto|uring|threads", .choices = engine_choices, .initial = "auto",
     .help = "How files are read and written: io_uring, helper threads, or io_uring where the "
             "kernel allows it."},
    {"transport", 0, OPTION_CHOICE, OPTION_GROUP_ENGINE, FIELD(transport),
     .argument = "device|uring|auto", .choices = transport_choices, .initial = "device",
     .help =
         "How requests come: by /dev/fuse, over io_uring (Linux 6.14, parameter enable_uring of "
         "the module fuse; by /dev/fuse, with a message, where that cannot be), or over "
         "io_uring where the kernel offers it."},
    {"uring-depth", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(uring_depth), .argument = "N",
     .minimum = 1, .maximum = 1024, .initial = "32",
     .help = "With --transport=uring: requests that the kernel may hand over at once for each CPU. "
             "More are made where all of them wait."},
    {"poll", 0, OPTION_CHOICE, OPTION_GROUP_ENGINE, FIELD(poll),
     .argument = "auto|off|classic|weighted", .choices = poll_choices, .initial = "auto",
     .help = "Let a worker look for work for a short adaptive time before it sleeps: by one time "
             "per worker (classic) or by a weighted average per descriptor (weighted). Lower "
             "latency for more CPU time. With auto, by one time per worker, over io_uring, for "
             "the disk's answer, and with the policy SCHED_IDLE."},
    {"poll-max-us", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(poll_max_us), .argument = "N",
     .minimum = 0, .maximum = 1000000, .initial = "200",
     .help = "Longest time to poll, in microseconds; 0 turns polling off. Given without --poll "
             "it implies --poll=classic; --poll=auto has to be said then."},
    {"poll-grow", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(poll_grow), .argument = "N",
     .minimum = 0, .maximum = 1024, .initial = "0",
     .help = "Factor by which the polling time grows; 0 stands for 2."},
    {"poll-shrink", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(poll_shrink), .argument = "N",
     .minimum = 0, .maximum = 1024, .initial = "0",
     .help = "Divisor by which it shrinks; 0 stands for at once to zero (classic) or 2 "
             "(weighted)."},
    {"poll-weight", 0, OPTION_INTEGER, OPTION_GROUP_ENGINE, FIELD(poll_weight), .argument = "N",
     .minimum = 0, .maximum = 16, .initial = "0",
     .help = "Weighted rule: a new time counts 1/2^N; 0 stands for 3."},
    {"poll-insist", 0, OPTION_FLAG, OPTION_GROUP_ENGINE, FIELD(poll_insist),
     .help = "With --poll=classic or weighted: poll on where it does not pay, or takes a CPU that "
             "others want; without it polling is then given up for a while. Workers then do not "
             "run behind their clients."},

    {"options", 'o', OPTION_LIST, OPTION_GROUP_MOUNT, .argument = "LIST",
     .help = "A comma list of mount words and of any options of this command without their "
             "dashes. A comma in a value is written \\, or the value put in double quotes."},
    {"allow-other", 0, OPTION_FLAG, OPTION_GROUP_MOUNT, FIELD(allow_other),
     .help = "Let other users use the mount. Without root this needs user_allow_other in "
             "/etc/fuse.conf."},
    {"default-permissions", 0, OPTION_FLAG, OPTION_GROUP_MOUNT, FIELD(default_permissions),
     .initial = "yes", .help = "Let the kernel check every access by owner, group and mode."},
    {"fsname", 0, OPTION_STRING, OPTION_GROUP_MOUNT, FIELD(fsname), .argument = "NAME",
     .help = "What the mount table shows as the source; the source as given if not set."},
    {"subtype", 0, OPTION_STRING, OPTION_GROUP_MOUNT, FIELD(subtype), .argument = "NAME",
     .initial = "sluicefs",
     .help = "What the mount table shows after \"fuse.\" as the type; empty for plain \"fuse\"."},
    {"source", 0, OPTION_STRING, OPTION_GROUP_MOUNT, FIELD(source), .argument = "SRC",
     .help = "What to serve, in place of the first argument, which then is only a name."},

    {"cache", 0, OPTION_CHOICE, OPTION_GROUP_DIRECTORY, FIELD(cache),
     .argument = "none|auto|always", .choices = cache_choices, .initial = "auto",
     .help = "How long the kernel may trust what it knows: not at all, about a second, or for as "
             "long as it likes (nobody else may change the source)."},
    {"entry-timeout", 0, OPTION_SECONDS, OPTION_GROUP_DIRECTORY, FIELD(entry_timeout),
     .argument = "SECONDS", .help = "How long a name may be cached; set by --cache if not given."},
    {"attr-timeout", 0, OPTION_SECONDS, OPTION_GROUP_DIRECTORY, FIELD(attr_timeout),
     .argument = "SECONDS",
     .help = "How long attributes may be cached; set by --cache if not given."},
    {"writeback", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(writeback),
     .help = "Let the kernel collect small writes and send them later. Fast, but only for a "
             "source that nobody else changes."},
    {"passthrough-io", 0, OPTION_CHOICE, OPTION_GROUP_DIRECTORY, FIELD(passthrough_io),
     .argument = "off|auto|on", .choices = passthrough_io_choices, .initial = "off",
     .help = "Whether the kernel reads, writes and maps the source's files itself once they are "
             "open: never, or where it can (root, Linux 6.9, not with --writeback); on warns if "
             "it cannot at all."},
    {"locks", 0, OPTION_CHOICE, OPTION_GROUP_DIRECTORY, FIELD(locks), .argument = "local|remote",
     .choices = lock_choices, .initial = "local",
     .help = "Who decides about file locks: the kernel among the users of the mount, or the "
             "source, so that they also hold against its other users."},
    {"watch", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(watch_source),
     .help =
         "Have the kernel tell what others change in the source (fanotify, Linux 5.9, root), and "
         "drop that from the mount's caches: so --cache=always may be used for a source that "
         "others change, too. Not together with --writeback."},
    {"xdev", 0, OPTION_CHOICE, OPTION_GROUP_DIRECTORY, FIELD(xdev), .argument = "allow|deny",
     .choices = xdev_choices, .initial = "allow",
     .help =
         "Whether other mounts found below the source are shown, with inode numbers of their own "
         "but one device, or entering them is refused (EXDEV)."},
    {"inode-handles", 0, OPTION_CHOICE, OPTION_GROUP_DIRECTORY, FIELD(inode_handles),
     .argument = "auto|never|always", .choices = handle_choices, .initial = "auto",
     .help =
         "What is held of each file that the kernel knows: a descriptor (never), a file handle "
         "of the source (always), or descriptors up to half of the limit of open files and "
         "then handles, where the source has them. Without a handle, descriptors not in use are "
         "closed beyond half of the limit and opened again by name."},
    {"idmap", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(idmap),
     .help = "Let the mount be mounted elsewhere with mappings of user and group ids (mount "
             "X-mount.idmap, Linux 6.12), for which the kernel has to check permissions "
             "(--default-permissions). Requests that create nothing then do not tell who sent "
             "them, which the daemon looks up in /proc where it matters."},
    {"uidmap", 0, OPTION_STRING, OPTION_GROUP_DIRECTORY, FIELD(uidmap),
     .argument = "INSIDE:OUTSIDE:COUNT",
     .help =
         "COUNT user ids that are INSIDE, INSIDE+1, ... in the mount are OUTSIDE, OUTSIDE+1, ... "
         "on the source; several ranges are separated by commas or spaces. Others are nobody "
         "in the mount and cannot create files."},
    {"gidmap", 0, OPTION_STRING, OPTION_GROUP_DIRECTORY, FIELD(gidmap),
     .argument = "INSIDE:OUTSIDE:COUNT", .help = "The same for group ids."},
    {"squash", 0, OPTION_STRING, OPTION_GROUP_DIRECTORY, FIELD(squash),
     .argument = "root|all[:UID:GID]",
     .help = "What root, or anybody, creates or is given belongs to UID and GID of the source, "
             "65534 each if not said. It changes owners, not what the kernel lets root do."},
    {"export", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(export_support),
     .help =
         "Keep file handles of the mount valid, also after an unmount and a restart, so that NFS "
         "can export it. Whoever may make up a handle reaches any file on the file system of "
         "the source, not only those below it."},
    {"norecovery", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(norecovery),
     .help = "Refuse to trim (fstrim), as ext4 and XFS do when mounted with this word."},
    {"xattr", 0, OPTION_FLAG, OPTION_GROUP_DIRECTORY, FIELD(xattr), .initial = "yes",
     .help = "Offer extended attributes, and access control lists with them."},
    {"xattrmap", 0, OPTION_STRING, OPTION_GROUP_DIRECTORY, FIELD(xattrmap),
     .argument = "NAME|RULES",
     .help =
         "Give extended attributes other names on the source: NAME, such as user.virtiofs, puts "
         "all of them below it; RULES say it one by one, as virtiofsd's option does."},

    {"list", 'l', OPTION_FLAG, OPTION_GROUP_LIST, FIELD(list),
     .help = "Print the partitions of DISK instead of serving it."},
    {"partition", 0, OPTION_STRING, OPTION_GROUP_DISK, FIELD(partition),
     .argument = "N|label:L|uuid:U",
     .help = "Show nothing but this partition (or what is in it): its number, or the label or UUID "
             "of it or of the "
             "file system in it."},
    {"format", 0, OPTION_CHOICE, OPTION_GROUP_DISK, FIELD(format), .argument = "auto|raw|qcow2",
     .choices = format_choices, .initial = "auto",
     .help = "What kind of image it is. A raw image whose content decides about that (auto) "
             "refuses writes that would make it look like another."},
    {"backing", 0, OPTION_CHOICE, OPTION_GROUP_DISK, FIELD(backing), .argument = "beside|any",
     .choices = backing_choices, .initial = "beside",
     .help = "Which backing files, that a qcow2 image names, are used: those that lie beside the "
             "image, or any. Say any only for images that you trust."},
    {"cache", 0, OPTION_CHOICE, OPTION_GROUP_DISK, FIELD(disk_cache), .argument = "none|writeback",
     .choices = disk_cache_choices, .initial = "writeback",
     .help = "Whether the image is read and written through the page cache."},
    {"l2-cache", 0, OPTION_STRING, OPTION_GROUP_DISK, FIELD(l2_cache), .argument = "BYTES",
     .initial = "32M",
     .help = "How much of a qcow2 image's tables may stay in memory: 32M are enough for 256 GiB "
             "with clusters of 64 KiB, 2 GiB with clusters of 512 bytes. Each image of a chain has "
             "so much. It is a soft limit: at least four tables, those in use and those with "
             "changes that the file does not have yet stay."},
    {"offset", 0, OPTION_STRING, OPTION_GROUP_DISK, FIELD(offset), .argument = "BYTES",
     .help = "Where in the file the disk begins; K, M, G, T stand for powers of 1024."},
    {"size", 0, OPTION_STRING, OPTION_GROUP_DISK, FIELD(size), .argument = "BYTES",
     .help = "How long the disk is, if not up to the end of the file."},
    {"wait", 0, OPTION_SECONDS, OPTION_GROUP_DISK, FIELD(wait), .argument = "SECONDS",
     .initial = "0", .help = "How long to wait for another process that uses the image."},

    {"files", 0, OPTION_FLAG, OPTION_GROUP_IMAGE, FIELD(files),
     .help = "In the form of mount(8): show the files in IMG, not its partitions. The default if "
             "all of IMG is one such file system; files=no shows it as a disk."},
    {"uid", 0, OPTION_INTEGER, OPTION_GROUP_IMAGE, FIELD(uid), .argument = "N", .minimum = 0,
     .maximum = INT_MAX, .help = "Show all files as owned by the user with this number."},
    {"gid", 0, OPTION_INTEGER, OPTION_GROUP_IMAGE, FIELD(gid), .argument = "N", .minimum = 0,
     .maximum = INT_MAX, .help = "Show all files as owned by the group with this number."},
    {"fakeroot", 0, OPTION_FLAG, OPTION_GROUP_IMAGE, FIELD(fakeroot),
     .help = "Let whoever may use the mount read all files, as root could, whatever their owners "
             "and modes, which are shown as they are."},
    {"errors", 0, OPTION_CHOICE, OPTION_GROUP_IMAGE, FIELD(errors),
     .argument = "continue|remount-ro|panic", .choices = errors_choices, .initial = "continue",
     .help = "What follows when something damaged is found: it fails, with a line in the log, and "
             "everything else is shown on (continue, and remount-ro, which is the same for what is "
             "read only), or the mount also ends, with an exit status that tells (panic)."},
    {"norecovery", 0, OPTION_FLAG, OPTION_GROUP_IMAGE, FIELD(norecovery),
     .help = "Show a file system that was not unmounted cleanly without the changes that its "
             "journal holds, which may be inconsistent."},

    {"timeout", 0, OPTION_SECONDS, OPTION_GROUP_UMOUNT, FIELD(timeout), .argument = "SECONDS",
     .initial = "0", .help = "Give up after this time; 0 waits for as long as it takes."},
    {"lazy", 'l', OPTION_FLAG, OPTION_GROUP_UMOUNT, FIELD(lazy),
     .help = "Detach at once even if in use, then wait until the last user is done."},
    {"force", 'f', OPTION_FLAG, OPTION_GROUP_UMOUNT, FIELD(force),
     .help = "Cut the connection first: all calls under way fail and unwritten data is lost. For "
             "a daemon that does not answer any more."},

    {"json", 0, OPTION_FLAG, OPTION_GROUP_CHECK, FIELD(json),
     .help = "Print a JSON object instead of text."},

    {"prometheus", 0, OPTION_FLAG, OPTION_GROUP_STATS, FIELD(prometheus),
     .help = "Print the text format that Prometheus reads."},
    {"watch", 'w', OPTION_FLAG, OPTION_GROUP_STATS, FIELD(watch),
     .help = "Show what happens now, again and again, until interrupted or unmounted."},
    {"interval", 0, OPTION_SECONDS, OPTION_GROUP_STATS, FIELD(interval), .argument = "SECONDS",
     .initial = "1", .help = "How often to look with --watch."},
    {NULL},
};

#define IGNORED_BOOT   "For fstab and the tools that read it; ignored here."
#define IGNORED_TIMES  "Accepted; access times are kept as the source is mounted."
#define IGNORED_LAZY   "Accepted; when times are written is up to what is served."
#define IGNORED_SHOWN  "As the mount table shows it and mount(8) repeats it; ignored."
#define IGNORED_COMMON "Accepted and ignored."

const MountWord mount_word_table[] = {
    {"ro", MS_RDONLY, 0, "Read only."},
    {"rw", 0, MS_RDONLY, "Read and write (default)."},
    {"nosuid", MS_NOSUID, 0, "Ignore set-user-id bits (default without mount(8))."},
    {"suid", 0, MS_NOSUID, "Honour set-user-id bits; root only."},
    {"nodev", MS_NODEV, 0, "Ignore device files (default without mount(8))."},
    {"dev", 0, MS_NODEV, "Honour device files; root only."},
    {"noexec", MS_NOEXEC, 0, "Do not run programs."},
    {"exec", 0, MS_NOEXEC, "Run programs (default)."},
    {"sync", MS_SYNCHRONOUS, 0, "Write synchronously."},
    {"async", 0, MS_SYNCHRONOUS, "Do not write synchronously (default)."},
    {"dirsync", MS_DIRSYNC, 0, "Change directories synchronously."},
    {"noatime", MS_NOATIME, MS_STRICTATIME, "Do not update access times."},
    {"atime", 0, MS_NOATIME, IGNORED_TIMES},
    {"nosymfollow", MS_NOSYMFOLLOW, 0, "Do not follow symbolic links; root only."},
    {"symfollow", 0, MS_NOSYMFOLLOW, "Follow symbolic links (default)."},
    {"nodiratime", MS_NODIRATIME, 0, "Do not update access times of directories."},
    {"diratime", 0, MS_NODIRATIME, IGNORED_TIMES},
    {"relatime", 0, MS_STRICTATIME, IGNORED_TIMES},
    {"norelatime", 0, 0, IGNORED_TIMES},
    {"strictatime", MS_STRICTATIME, MS_NOATIME,
     "Let reading always move access times, whatever the source's mount says (passthrough, root)."},
    {"nostrictatime", 0, MS_STRICTATIME, IGNORED_TIMES},
    {"lazytime", 0, 0, IGNORED_LAZY},
    {"nolazytime", 0, 0, IGNORED_LAZY},
    {"iversion", 0, 0, IGNORED_COMMON},
    {"noiversion", 0, 0, IGNORED_COMMON},
    {"mand", 0, 0, IGNORED_COMMON},
    {"nomand", 0, 0, IGNORED_COMMON},
    {"silent", 0, 0, IGNORED_COMMON},
    {"loud", 0, 0, IGNORED_COMMON},
    {"nonempty", 0, 0, IGNORED_COMMON},
    {"defaults", 0, 0, IGNORED_COMMON},
    {"remount", MS_REMOUNT, 0, "Change the words of an existing mount (mount helper only)."},
    {"auto", 0, 0, IGNORED_BOOT},
    {"noauto", 0, 0, IGNORED_BOOT},
    {"user", MS_NOEXEC | MS_NOSUID | MS_NODEV, 0, "Implies noexec, nosuid, nodev."},
    {"user=", MS_NOEXEC | MS_NOSUID | MS_NODEV, 0, "The same; the user as mount(8) notes it."},
    {"users", MS_NOEXEC | MS_NOSUID | MS_NODEV, 0, "Implies noexec, nosuid, nodev."},
    {"nouser", 0, 0, IGNORED_BOOT},
    {"nousers", 0, 0, IGNORED_BOOT},
    {"owner", MS_NOSUID | MS_NODEV, 0, "Implies nosuid, nodev."},
    {"group", MS_NOSUID | MS_NODEV, 0, "Implies nosuid, nodev."},
    {"nofail", 0, 0, IGNORED_BOOT},
    {"_netdev", 0, 0, IGNORED_BOOT},
    {"uhelper=", 0, 0, IGNORED_BOOT},
    {"comment=", 0, 0, IGNORED_BOOT},
    {"x-*", 0, 0, IGNORED_BOOT},
    {"X-*", 0, 0, IGNORED_BOOT},
    {"user_id=", 0, 0, IGNORED_SHOWN},
    {"group_id=", 0, 0, IGNORED_SHOWN},
    {"rootmode=", 0, 0, IGNORED_SHOWN},
    {"fd=", 0, 0, IGNORED_SHOWN},
    {"max_read=", 0, 0, IGNORED_SHOWN},
    {"blksize=", 0, 0, IGNORED_SHOWN},
    {"context=", 0, 0, "SELinux context of every file; given to the kernel."},
    {"fscontext=", 0, 0, "SELinux context of the file system; given to the kernel."},
    {"defcontext=", 0, 0, "Default SELinux context; given to the kernel."},
    {"rootcontext=", 0, 0, "SELinux context of the root; given to the kernel."},
    {NULL},
};

const char *option_group_title(OptionGroup group)
{
    switch (group) {
    case OPTION_GROUP_COMMON:
        return "General";
    case OPTION_GROUP_PROCESS:
        return "Process";
    case OPTION_GROUP_ENGINE:
        return "Threads and I/O";
    case OPTION_GROUP_MOUNT:
        return "Mount";
    case OPTION_GROUP_DIRECTORY:
        return "Directory";
    case OPTION_GROUP_UMOUNT:
        return "Unmount";
    case OPTION_GROUP_CHECK:
        return "Output";
    case OPTION_GROUP_DISK:
        return "Disk";
    case OPTION_GROUP_LIST:
        return "List";
    case OPTION_GROUP_IMAGE:
        return "Image";
    case OPTION_GROUP_STATS:
        return "Statistics";
    }
    g_assert_not_reached();
}

/* Whether @name is @wanted, when dashes and underscores are the same. */
static bool name_equals(const char *wanted, const char *name)
{
    for (; *wanted != '\0' && *name != '\0'; wanted++, name++) {
        char a = *wanted == '_' ? '-' : *wanted;
        char b = *name == '_' ? '-' : *name;

        if (a != b) {
            return false;
        }
    }
    return *wanted == *name;
}

const OptionSpec *option_find(unsigned groups, const char *name)
{
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if ((spec->group & groups) != 0 && name_equals(spec->name, name)) {
            return spec;
        }
    }
    return NULL;
}

const OptionSpec *option_find_letter(unsigned groups, char letter)
{
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if ((spec->group & groups) != 0 && spec->letter == letter && letter != 0) {
            return spec;
        }
    }
    return NULL;
}

const MountWord *mount_word_find(const char *word)
{
    for (const MountWord *entry = mount_word_table; entry->name != NULL; entry++) {
        size_t length = strlen(entry->name);
        char last = entry->name[length - 1];

        if (last == '*' && strncmp(word, entry->name, length - 1) == 0) {
            return entry;
        }
        if (last == '=' && strncmp(word, entry->name, length) == 0) {
            return entry;
        }
        if (strcmp(word, entry->name) == 0) {
            return entry;
        }
    }
    return NULL;
}
