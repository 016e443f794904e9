/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The option table, its parser, and the texts made from it. */
#include <string.h>
#include <sys/mount.h>

#include <glib.h>

#include "tools/sluicefs/completion.h"
#include "tools/sluicefs/help.h"
#include "tools/sluicefs/options.h"
#include "tools/sluicefs/session-params.h"

#define SERVE (OPTION_GROUPS_SERVE | OPTION_GROUP_DIRECTORY)

/* Parse @line, split at blanks; the test fails if it is refused. */
static Options *parse(const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    Options *options = options_new();
    GError *error = NULL;
    bool ok = options_parse(options, SERVE, (int)g_strv_length(words), words, &error);

    g_assert_no_error(error);
    g_assert_true(ok);
    return options;
}

/* Parse @line, which must be refused with a message that contains @expected. */
static void refuse(unsigned groups, const char *line, const char *expected)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    g_autoptr(Options) options = options_new();
    g_autoptr(GError) error = NULL;

    g_assert_false(options_parse(options, groups, (int)g_strv_length(words), words, &error));
    g_assert_nonnull(error);
    if (strstr(error->message, expected) == NULL) {
        g_error("'%s': the message '%s' does not say '%s'", line, error->message, expected);
    }
}

static void test_defaults(void)
{
    g_autoptr(Options) options = options_new();

    g_assert_cmpint(options->log_level, ==, LEVEL_INFO);
    g_assert_cmpint(options->poll, ==, POLL_AUTO);
    g_assert_cmpint(options->max_background, ==, 256);
    g_assert_cmpint(options->ready_fd, ==, -1);
    g_assert_cmpint(options->threads, ==, -1);
    g_assert_cmpfloat(options->entry_timeout, ==, -1);
    g_assert_cmpstr(options->subtype, ==, "sluicefs");
    g_assert_true(options->default_permissions);
    g_assert_false(options->foreground);
    g_assert_false(options_given(options, "subtype"));
}

static void test_forms(void)
{
    static const char *const lines[] = {
        "--max-background=77",         "--max-background 77", "--max_background=77",
        "-o max-background=77",        "-omax_background=77", "-o ro,max_background=77,nofail",
        "--options=max-background=77",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(Options) options = parse(lines[i]);

        g_assert_cmpint(options->max_background, ==, 77);
        g_assert_true(options_given(options, "max-background"));
        g_assert_cmpuint(options->arguments->len, ==, 0);
    }
}

/* Every option of the table is understood in both forms. */
static void test_every_option(void)
{
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        const char *value = spec->kind == OPTION_FLAG     ? NULL
                            : spec->kind == OPTION_CHOICE ? spec->choices[0]
                            : spec->minimum > 1           ? "3"
                                                          : "1";
        g_autofree char *word =
            value == NULL ? g_strdup(spec->name) : g_strdup_printf("%s=%s", spec->name, value);
        g_autofree char *longer = g_strconcat("--", word, NULL);
        char *argv[] = {longer, NULL};
        g_autoptr(Options) options = options_new();
        g_autoptr(GError) error = NULL;

        if (spec->kind == OPTION_LIST) {
            continue;
        }
        g_assert_true(options_parse(options, spec->group, 1, argv, &error));
        g_assert_true(options_given(options, spec->name));
        g_assert_true(options_parse_list(options, spec->group, word, false, &error));
    }
}

static void test_arguments(void)
{
    g_autoptr(Options) options = parse("-fs src -o ro mnt -- --threads=x");

    g_assert_true(options->foreground);
    g_assert_cmpint(options->threads, ==, 1);
    g_assert_cmpuint(options->arguments->len, ==, 3);
    g_assert_cmpstr(g_ptr_array_index(options->arguments, 0), ==, "src");
    g_assert_cmpstr(g_ptr_array_index(options->arguments, 1), ==, "mnt");
    g_assert_cmpstr(g_ptr_array_index(options->arguments, 2), ==, "--threads=x");
}

static void test_implied(void)
{
    g_autoptr(Options) debug = parse("-d");
    g_autoptr(Options) run = parse("--run true");
    g_autoptr(Options) poll = parse("--poll-max-us=16");
    g_autoptr(Options) off = parse("--poll-max-us=0");
    g_autoptr(Options) weighted = parse("--poll=weighted --poll-max-us=16");

    g_assert_true(debug->foreground);
    g_assert_cmpint(debug->log_level, ==, LEVEL_DEBUG);
    g_assert_true(run->foreground);
    g_assert_cmpint(poll->poll, ==, POLL_CLASSIC);
    g_assert_cmpint(off->poll, ==, POLL_OFF);
    g_assert_cmpint(weighted->poll, ==, POLL_WEIGHTED);
}

/* What mount(8) passes is one list, which implies the same. */
static void test_implied_by_list(void)
{
    g_autoptr(Options) options = options_new();
    g_autoptr(GError) error = NULL;

    g_assert_true(options_parse_list(options, SERVE, "threads=2,single_thread,poll-max-us=50",
                                     false, &error));
    g_assert_cmpint(options->threads, ==, 1);
    g_assert_cmpint(options->poll, ==, POLL_CLASSIC);
}

static void test_flags(void)
{
    g_autoptr(Options) options = parse("-o allow_other=no,default_permissions=off,stats=yes");

    g_assert_false(options->allow_other);
    g_assert_false(options->default_permissions);
    g_assert_true(options->stats);
    refuse(SERVE, "--stats=perhaps", "'--stats' cannot be 'perhaps'");
}

static void test_quoting(void)
{
    g_autoptr(Options) escaped = options_new();
    g_autoptr(Options) quoted = options_new();
    g_autoptr(GError) error = NULL;

    g_assert_true(options_parse_list(escaped, SERVE, "ro,fsname=a\\,b\\\\c,nodev", false, &error));
    g_assert_cmpstr(escaped->fsname, ==, "a,b\\c");
    g_assert_true(options_parse_list(quoted, SERVE, "fsname=\"a,b\",ro", false, &error));
    g_assert_cmpstr(quoted->fsname, ==, "a,b");
    g_assert_cmphex(quoted->mount_set, ==, MS_RDONLY);
    g_assert_false(options_parse_list(quoted, SERVE, "fsname=\"a", false, &error));
    g_assert_nonnull(strstr(error->message, "not closed"));
}

/* What mount(8) of util-linux 2.38 passes on, and more from fstab. */
static void test_mount_words(void)
{
    g_autoptr(Options) options = parse(
        "-o "
        "rw,nosuid,nodev,noexec,strictatime,relatime,noatime,sync,dirsync,user=joe,nofail,_netdev,"
        "x-systemd.automount,X-mount.mkdir,comment=hello,auto,noauto,users,defaults,lazytime,"
        "user_id=0,group_id=0,uhelper=x");

    g_assert_cmphex(options->mount_set, ==,
                    MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_SYNCHRONOUS | MS_DIRSYNC);
    g_assert_cmphex(options->mount_clear, ==, MS_RDONLY | MS_STRICTATIME);
    g_assert_false(options->remount);
}

/* The last word about access times counts. */
static void test_access_time_words(void)
{
    static const struct {
        const char *arguments;
        unsigned long set;
    } rows[] = {
        {"-o noatime,strictatime", MS_STRICTATIME},
        {"-o strictatime,noatime", MS_NOATIME},
        {"-o strictatime,relatime", 0},
        {"-o strictatime,nostrictatime", 0},
        {"-o relatime,strictatime", MS_STRICTATIME},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Options) options = parse(rows[i].arguments);

        g_assert_cmphex(options->mount_set, ==, rows[i].set);
    }
}

static void test_mount_words_order(void)
{
    g_autoptr(Options) options = parse("-o ro,user,exec,rw,remount");

    g_assert_cmphex(options->mount_set, ==, MS_NOSUID | MS_NODEV);
    g_assert_cmphex(options->mount_clear, ==, MS_NOEXEC | MS_RDONLY);
    g_assert_true(options->remount);
}

/* libfuse does not know nosymfollow: the session gets it as a word. */
static void test_nosymfollow(void)
{
    g_autoptr(Options) options = parse("-o nosymfollow,mand,nomand");
    g_autoptr(Options) undone = parse("-o nosymfollow,symfollow");
    g_autofree char *list = session_params_mount_options(options);
    g_autofree char *none = session_params_mount_options(undone);

    g_assert_cmpstr(list, ==, "default_permissions,nosymfollow");
    g_assert_cmpstr(none, ==, "default_permissions");
}

static void test_context(void)
{
    g_autoptr(Options) options = parse("-o context=\"a:b:c0,c1\"");

    g_assert_cmpuint(options->mount_extra->len, ==, 1);
    g_assert_cmpstr(g_ptr_array_index(options->mount_extra, 0), ==, "context=a:b:c0,c1");
}

/* What libfuse is told: each flag once, the later word won, commas escaped. */
static void test_mount_options(void)
{
    g_autoptr(Options) plain = parse("-o default_permissions=no");
    g_autoptr(Options) options =
        parse("-o rw,suid,nodev,sync,async,noatime,ro,allow_other,context=\"a,b\\\\c\"");
    g_autofree char *none = session_params_mount_options(plain);
    g_autofree char *list = session_params_mount_options(options);

    g_assert_cmpstr(none, ==, "");
    g_assert_cmpstr(list, ==,
                    "ro,suid,nodev,async,noatime,allow_other,default_permissions,"
                    "context=a\\,b\\\\c");
}

static void test_unknown(void)
{
    refuse(SERVE, "--thraeds=2", "unknown option '--thraeds' (did you mean '--threads'?)");
    refuse(SERVE, "-o thread=2", "unknown option 'thread' (did you mean 'threads'?)");
    refuse(SERVE, "-o ro,nosiud", "unknown option 'nosiud' (did you mean 'nosuid'?)");
    refuse(SERVE, "--max_backgroun=1", "did you mean '--max-background'?");
    refuse(SERVE, "--ro", "a mount word is given as '-o ro'");
    refuse(SERVE, "-o ro=1", "option 'ro' takes no value");
    refuse(SERVE, "--json", "belongs to another command");
    refuse(SERVE, "--qqqqqqqqqqq", "unknown option '--qqqqqqqqqqq'");
    refuse(SERVE, "-fz", "unknown option '-z' in '-fz'");
    refuse(OPTION_GROUP_COMMON, "-o ro", "unknown option '-o'");
}

static void test_sloppy(void)
{
    g_autoptr(Options) options = options_new();
    g_autoptr(GError) error = NULL;

    g_assert_true(options_parse_list(options, SERVE, "ro,nonsense=1,threads=3", true, &error));
    g_assert_cmpint(options->threads, ==, 3);
}

static void test_bad_values(void)
{
    refuse(SERVE, "--threads=0", "it takes a whole number from 1 to 256");
    refuse(SERVE, "--threads=two", "'--threads' cannot be 'two'");
    refuse(SERVE, "--threads=99999999999999999999", "from 1 to 256");
    refuse(SERVE, "--ready-fd=2", "at least 3");
    refuse(SERVE, "--entry-timeout=-1", "a time in seconds");
    refuse(SERVE, "--entry-timeout=nan", "a time in seconds");
    refuse(SERVE, "--entry-timeout=1s", "a time in seconds");
    refuse(SERVE, "--poll=on", "one of auto, off, classic, weighted");
    refuse(SERVE, "--log", "'--log' needs a value");
    refuse(SERVE, "-o log", "'--log' needs a value");
    refuse(SERVE, "-o", "'--options' needs a value");
}

static void test_edit_distance(void)
{
    g_assert_cmpuint(options_edit_distance("", ""), ==, 0);
    g_assert_cmpuint(options_edit_distance("abc", ""), ==, 3);
    g_assert_cmpuint(options_edit_distance("threads", "thraeds"), ==, 1);
    g_assert_cmpuint(options_edit_distance("threads", "treads"), ==, 1);
    g_assert_cmpuint(options_edit_distance("kitten", "sitting"), ==, 3);
}

/* The table itself: names and letters are not used twice within a command. */
static void test_table(void)
{
    for (const Command *command = command_table; command->name != NULL; command++) {
        for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
            if ((spec->group & command->groups) == 0) {
                continue;
            }
            g_assert_true(option_find(command->groups, spec->name) == spec);
            g_assert_null(strchr(spec->name, '_'));
            g_assert_true(g_str_has_suffix(spec->help, "."));
            g_assert_true((spec->argument == NULL) == (spec->kind == OPTION_FLAG));
            if (spec->letter != 0) {
                g_assert_true(option_find_letter(command->groups, spec->letter) == spec);
            }
            if (spec->kind == OPTION_CHOICE) {
                g_autofree char *choices = g_strjoinv("|", (char **)spec->choices);

                g_assert_cmpstr(choices, ==, spec->argument);
            }
        }
    }
    /* A word cannot be both an option and a mount word. */
    for (const MountWord *word = mount_word_table; word->name != NULL; word++) {
        g_assert_null(option_find(~0u, word->name));
    }
}

/* Help, completion and manual name every option. */
static void test_texts(void)
{
    g_autofree char *bash = completion_bash();

    for (const Command *command = command_table; command->name != NULL; command++) {
        g_autofree char *page = help_options_scdoc(command->groups);
        g_autofree char *help = NULL;
        size_t size;
        FILE *stream = open_memstream(&help, &size);

        help_print_command(command, stream);
        fclose(stream);
        g_assert_nonnull(strstr(bash, command->name));
        for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
            g_autofree char *name = spec->kind == OPTION_LIST ? g_strdup_printf("-%c", spec->letter)
                                                              : g_strdup_printf("--%s", spec->name);

            if ((spec->group & command->groups) != 0) {
                g_assert_nonnull(strstr(page, name));
                g_assert_nonnull(strstr(help, name));
                g_assert_nonnull(strstr(bash, name));
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/defaults", test_defaults);
    g_test_add_func("/options/forms", test_forms);
    g_test_add_func("/options/every-option", test_every_option);
    g_test_add_func("/options/arguments", test_arguments);
    g_test_add_func("/options/implied", test_implied);
    g_test_add_func("/options/implied-by-list", test_implied_by_list);
    g_test_add_func("/options/flags", test_flags);
    g_test_add_func("/options/quoting", test_quoting);
    g_test_add_func("/options/mount-words", test_mount_words);
    g_test_add_func("/options/access-time-words", test_access_time_words);
    g_test_add_func("/options/mount-words-order", test_mount_words_order);
    g_test_add_func("/options/nosymfollow", test_nosymfollow);
    g_test_add_func("/options/context", test_context);
    g_test_add_func("/options/mount-options", test_mount_options);
    g_test_add_func("/options/unknown", test_unknown);
    g_test_add_func("/options/sloppy", test_sloppy);
    g_test_add_func("/options/bad-values", test_bad_values);
    g_test_add_func("/options/edit-distance", test_edit_distance);
    g_test_add_func("/options/table", test_table);
    g_test_add_func("/options/texts", test_texts);
    return g_test_run();
}
