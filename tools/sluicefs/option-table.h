/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The one table of options.
 *
 * The parser, --help, the bash completion and the manual pages are all made
 * from it, so an option that exists is known everywhere and nowhere else is
 * there a list to forget. Each option can be written --name=value, --name
 * value, or name=value inside of -o; dashes and underscores are equal.
 */
#ifndef SLUICE_TOOLS_OPTION_TABLE_H
#define SLUICE_TOOLS_OPTION_TABLE_H

#include <stddef.h>

/** What a sub-command understands: each option belongs to one group. */
typedef enum OptionGroup {
    OPTION_GROUP_COMMON = 1u << 0,    /**< every command */
    OPTION_GROUP_PROCESS = 1u << 1,   /**< commands that serve: the daemon itself */
    OPTION_GROUP_ENGINE = 1u << 2,    /**< commands that serve: threads, polling, I/O */
    OPTION_GROUP_MOUNT = 1u << 3,     /**< commands that serve: the mount */
    OPTION_GROUP_DIRECTORY = 1u << 4, /**< passthrough */
    OPTION_GROUP_UMOUNT = 1u << 5,
    OPTION_GROUP_CHECK = 1u << 6,
    OPTION_GROUP_DISK = 1u << 7,
    OPTION_GROUP_LIST = 1u << 8,  /**< disk --list */
    OPTION_GROUP_IMAGE = 1u << 9, /**< image, beside those of DISK */
    OPTION_GROUP_STATS = 1u << 12,
} OptionGroup;

#define OPTION_GROUPS_SERVE                                                                        \
    (OPTION_GROUP_COMMON | OPTION_GROUP_PROCESS | OPTION_GROUP_ENGINE | OPTION_GROUP_MOUNT)

typedef enum OptionKind {
    OPTION_FLAG,    /**< bool; alone, or =yes|no|on|off|true|false|1|0 */
    OPTION_INTEGER, /**< int within minimum..maximum; -1 while not given and without initial */
    OPTION_SECONDS, /**< double, not negative; -1 while not given and without initial */
    OPTION_CHOICE,  /**< int, index into choices */
    OPTION_STRING,  /**< char *; NULL while not given */
    OPTION_LIST,    /**< -o: a comma list of other options and mount words */
} OptionKind;

typedef struct OptionSpec {
    const char *name; /**< with dashes; NULL ends the table */
    char letter;      /**< single-letter form, or 0 */
    OptionKind kind;
    OptionGroup group;
    size_t offset;              /**< of the value in struct Options */
    const char *argument;       /**< how help calls the value; NULL for flags */
    const char *const *choices; /**< OPTION_CHOICE, NULL terminated */
    int minimum, maximum;       /**< OPTION_INTEGER */
    const char *initial;        /**< default, in the words of the user; NULL: none */
    const char *help;           /**< one or two sentences */
} OptionSpec;

/** Every option, by group, then in the order that help shows them. */
extern const OptionSpec option_table[];

/** A heading for a group, for help and the manual. */
const char *option_group_title(OptionGroup group);

/** The option called @name (dashes and underscores equal) in @groups, or NULL. */
const OptionSpec *option_find(unsigned groups, const char *name);

/** The option with @letter in @groups, or NULL. */
const OptionSpec *option_find_letter(unsigned groups, char letter);

/** A word of mount(8) that may stand in -o beside the options. */
typedef struct MountWord {
    const char *name;    /**< NULL ends the table; may end in '*' (any rest) or '=' (a value) */
    unsigned long set;   /**< MS_* flags that it sets */
    unsigned long clear; /**< MS_* flags that it clears */
    const char *help;    /**< what it does here */
} MountWord;

extern const MountWord mount_word_table[];

/** The mount word that @word (possibly with a value) is, or NULL. */
const MountWord *mount_word_find(const char *word);

/** The values of enum-like options, in the order of their choices. */
typedef enum PollChoice { POLL_AUTO, POLL_OFF, POLL_CLASSIC, POLL_WEIGHTED } PollChoice;
typedef enum EngineChoice { ENGINE_AUTO, ENGINE_URING, ENGINE_THREADS } EngineChoice;
typedef enum LevelChoice { LEVEL_ERROR, LEVEL_WARNING, LEVEL_INFO, LEVEL_DEBUG } LevelChoice;
typedef enum CacheChoice { CACHE_NONE, CACHE_AUTO, CACHE_ALWAYS } CacheChoice;
typedef enum LocksChoice { LOCKS_LOCAL, LOCKS_REMOTE } LocksChoice;
typedef enum DiskCacheChoice { DISK_CACHE_NONE, DISK_CACHE_WRITEBACK } DiskCacheChoice;
typedef enum FormatChoice { FORMAT_AUTO, FORMAT_RAW, FORMAT_QCOW2 } FormatChoice;
typedef enum BackingChoice { BACKING_BESIDE, BACKING_ANY } BackingChoice;
/** As mount(8) names them. */
typedef enum ErrorsChoice { ERRORS_CONTINUE, ERRORS_REMOUNT_RO, ERRORS_PANIC } ErrorsChoice;
typedef enum HandlesChoice { HANDLES_AUTO, HANDLES_NEVER, HANDLES_ALWAYS } HandlesChoice;
typedef enum XdevChoice { XDEV_ALLOW, XDEV_DENY } XdevChoice;
/** --passthrough-io */
typedef enum PassthroughIoChoice {
    PASSTHROUGH_IO_OFF,
    PASSTHROUGH_IO_AUTO,
    PASSTHROUGH_IO_ON,
} PassthroughIoChoice;

#endif /* SLUICE_TOOLS_OPTION_TABLE_H */
