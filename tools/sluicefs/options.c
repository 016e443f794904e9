/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From argv to struct Options, by the option table. */
#include "tools/sluicefs/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include <gio/gio.h>

static void *field_of(Options *options, const OptionSpec *spec)
{
    return (char *)options + spec->offset;
}

static void mark_given(Options *options, const OptionSpec *spec)
{
    size_t index = (size_t)(spec - option_table);

    g_assert(index < G_N_ELEMENTS(options->given));
    options->given[index] = true;
}

bool options_given(const Options *options, const char *name)
{
    g_assert(option_find(~0u, name) != NULL);
    /* Groups may have an option of the same name; a command has one of them. */
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if (options->given[spec - option_table] && strcmp(spec->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse_flag(const char *text, bool *value)
{
    static const char *const yes[] = {"yes", "on", "true", "1", NULL};
    static const char *const no[] = {"no", "off", "false", "0", NULL};

    if (g_strv_contains(yes, text)) {
        *value = true;
        return true;
    }
    if (g_strv_contains(no, text)) {
        *value = false;
        return true;
    }
    return false;
}

static bool bad_value(const OptionSpec *spec, const char *value, const char *wanted, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "option '--%s' cannot be '%s': it takes %s", spec->name, value, wanted);
    return false;
}

static bool set_integer(const OptionSpec *spec, const char *value, int *field, GError **error)
{
    gint64 number;

    if (!g_ascii_string_to_signed(value, 10, spec->minimum, spec->maximum, &number, NULL)) {
        g_autofree char *wanted =
            spec->maximum == G_MAXINT
                ? g_strdup_printf("a whole number of at least %d", spec->minimum)
                : g_strdup_printf("a whole number from %d to %d", spec->minimum, spec->maximum);

        return bad_value(spec, value, wanted, error);
    }
    *field = (int)number;
    return true;
}

static bool set_seconds(const OptionSpec *spec, const char *value, double *field, GError **error)
{
    char *end;
    double number = g_ascii_strtod(value, &end);

    if (end == value || *end != '\0' || !isfinite(number) || number < 0 || number > 1e9) {
        return bad_value(spec, value, "a time in seconds, such as 0.5 or 60", error);
    }
    *field = number;
    return true;
}

static bool set_choice(const OptionSpec *spec, const char *value, int *field, GError **error)
{
    g_autofree char *names = g_strjoinv(", ", (char **)spec->choices);
    g_autofree char *wanted = g_strdup_printf("one of %s", names);

    for (int i = 0; spec->choices[i] != NULL; i++) {
        if (strcmp(spec->choices[i], value) == 0) {
            *field = i;
            return true;
        }
    }
    return bad_value(spec, value, wanted, error);
}

bool options_set(Options *options, const OptionSpec *spec, const char *value, GError **error)
{
    void *field = field_of(options, spec);

    mark_given(options, spec);
    if (spec->kind == OPTION_FLAG) {
        bool flag = true;

        if (value != NULL && !parse_flag(value, &flag)) {
            return bad_value(spec, value, "no value, or yes or no", error);
        }
        *(bool *)field = flag;
        return true;
    }

    if (value == NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "option '--%s' needs a value: --%s=%s", spec->name, spec->name, spec->argument);
        return false;
    }
    switch (spec->kind) {
    case OPTION_INTEGER:
        return set_integer(spec, value, field, error);
    case OPTION_SECONDS:
        return set_seconds(spec, value, field, error);
    case OPTION_CHOICE:
        return set_choice(spec, value, field, error);
    case OPTION_STRING:
        g_free(*(char **)field);
        *(char **)field = g_strdup(value);
        return true;
    case OPTION_FLAG:
    case OPTION_LIST:
        break;
    }
    g_assert_not_reached();
}

Options *options_new(void)
{
    Options *options = g_new0(Options, 1);

    options->mount_extra = g_ptr_array_new_with_free_func(g_free);
    options->arguments = g_ptr_array_new_with_free_func(g_free);
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if (spec->initial != NULL) {
            GError *error = NULL;

            if (!options_set(options, spec, spec->initial, &error)) {
                g_error("default of the option table: %s", error->message);
            }
        } else if (spec->kind == OPTION_INTEGER) {
            *(int *)field_of(options, spec) = -1;
        } else if (spec->kind == OPTION_SECONDS) {
            *(double *)field_of(options, spec) = -1;
        }
    }
    memset(options->given, 0, sizeof(options->given));
    return options;
}

void options_free(Options *options)
{
    if (options == NULL) {
        return;
    }
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if (spec->kind == OPTION_STRING) {
            g_free(*(char **)field_of(options, spec));
        }
    }
    g_ptr_array_unref(options->mount_extra);
    g_ptr_array_unref(options->arguments);
    g_free(options);
}

unsigned options_edit_distance(const char *a, const char *b)
{
    size_t rows = strlen(a) + 1, columns = strlen(b) + 1;
    size_t cells = rows * columns;
    unsigned *table = g_new(unsigned, cells);
    unsigned distance;

#define CELL(i, j) table[(i)*columns + (j)]
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            unsigned best;

            if (i == 0 || j == 0) {
                CELL(i, j) = (unsigned)(i + j);
                continue;
            }
            best = CELL(i - 1, j - 1) + (a[i - 1] != b[j - 1]);
            best = MIN(best, CELL(i - 1, j) + 1);
            best = MIN(best, CELL(i, j - 1) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = MIN(best, CELL(i - 2, j - 2) + 1);
            }
            CELL(i, j) = best;
        }
    }
#undef CELL
    distance = table[cells - 1];
    g_free(table);
    return distance;
}

char *options_nearest(unsigned groups, bool mount_words, const char *name)
{
    g_autofree char *wanted = g_ascii_strdown(name, MIN(strlen(name), 64));
    unsigned limit = MAX(1, (unsigned)strlen(wanted) / 3);
    const char *nearest = NULL;

    g_strdelimit(wanted, "_", '-');
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        unsigned distance = options_edit_distance(spec->name, wanted);

        if ((spec->group & groups) != 0 && distance <= limit) {
            nearest = spec->name;
            limit = distance - (distance > 0);
        }
    }
    for (const MountWord *word = mount_word_table; mount_words && word->name != NULL; word++) {
        unsigned distance = options_edit_distance(word->name, wanted);

        if (strchr(word->name, '*') == NULL && distance <= limit) {
            nearest = word->name;
            limit = distance - (distance > 0);
        }
    }
    return g_strdup(nearest);
}

/* Split "name=value"; *value is NULL without '='. */
static char *split_name(const char *word, const char **value)
{
    const char *equals = strchr(word, '=');

    *value = equals == NULL ? NULL : equals + 1;
    return equals == NULL ? g_strdup(word) : g_strndup(word, (size_t)(equals - word));
}

static bool unknown_option(unsigned groups, const char *prefix, const char *name, GError **error)
{
    bool in_list = *prefix == '\0';
    g_autofree char *nearest = options_nearest(groups, in_list, name);

    if (!in_list && (groups & OPTION_GROUP_MOUNT) != 0 && mount_word_find(name) != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "unknown option '%s%s' (a mount word is given as '-o %s')", prefix, name, name);
    } else if (nearest != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "unknown option '%s%s' (did you mean '%s%s'?)", prefix, name, prefix, nearest);
    } else if (option_find(~0u, name) != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "unknown option '%s%s' (it belongs to another command)", prefix, name);
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "unknown option '%s%s'", prefix,
                    name);
    }
    return false;
}

static void apply_mount_word(Options *options, const MountWord *word, const char *text)
{
    options->mount_set = (options->mount_set & ~word->clear) | word->set;
    options->mount_clear = (options->mount_clear & ~word->set) | word->clear;
    if (word->set == MS_REMOUNT) {
        options->mount_set &= ~(unsigned long)MS_REMOUNT;
        options->remount = true;
    }
    if (g_str_has_suffix(word->name, "context=")) {
        g_ptr_array_add(options->mount_extra, g_strdup(text));
    }
}

/* One word of a comma list. */
static bool apply_word(Options *options, unsigned groups, const char *word, bool sloppy,
                       GError **error)
{
    const char *value;
    g_autofree char *name = split_name(word, &value);
    const OptionSpec *spec = option_find(groups, name);
    const MountWord *mount_word = mount_word_find(word);

    if (spec != NULL && spec->kind != OPTION_LIST) {
        return options_set(options, spec, value, error);
    }
    if (mount_word != NULL) {
        apply_mount_word(options, mount_word, word);
        return true;
    }
    if (!sloppy && value != NULL && mount_word_find(name) != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "option '%s' takes no value",
                    name);
        return false;
    }
    return sloppy || unknown_option(groups, "", name, error);
}

/* The words of one -o; what they imply is resolved once everything is known. */
static bool parse_words(Options *options, unsigned groups, const char *list, bool sloppy,
                        GError **error)
{
    g_autoptr(GString) word = g_string_new(NULL);
    bool quoted = false;

    for (const char *p = list;; p++) {
        if (*p == '\0' || (*p == ',' && !quoted)) {
            if (word->len > 0 && !apply_word(options, groups, word->str, sloppy, error)) {
                return false;
            }
            g_string_truncate(word, 0);
            if (*p == '\0') {
                break;
            }
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (*p == '\\' && (p[1] == ',' || p[1] == '\\' || p[1] == '"')) {
            g_string_append_c(word, *++p);
        } else {
            g_string_append_c(word, *p);
        }
    }
    if (quoted) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "a double quote is not closed in '-o %s'", list);
        return false;
    }
    return true;
}

/* --name, --name=value, --name value. *@index is left at the last word used. */
static bool parse_long(Options *options, unsigned groups, int argc, char *const *argv, int *index,
                       GError **error)
{
    const char *value;
    g_autofree char *name = split_name(argv[*index] + 2, &value);
    const OptionSpec *spec = option_find(groups, name);

    if (spec == NULL) {
        return unknown_option(groups, "--", name, error);
    }
    if (value == NULL && spec->kind != OPTION_FLAG && *index + 1 < argc) {
        value = argv[++*index];
    }
    if (spec->kind == OPTION_LIST && value != NULL) {
        return parse_words(options, groups, value, false, error);
    }
    return options_set(options, spec, value, error);
}

/* -f, -fd, -oLIST, -o LIST. */
static bool parse_letters(Options *options, unsigned groups, int argc, char *const *argv,
                          int *index, GError **error)
{
    for (const char *letter = argv[*index] + 1; *letter != '\0'; letter++) {
        const OptionSpec *spec = option_find_letter(groups, *letter);
        const char *value = letter + 1;

        if (spec == NULL) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "unknown option '-%c' in '%s'", *letter, argv[*index]);
            return false;
        }
        if (spec->kind == OPTION_FLAG) {
            if (!options_set(options, spec, NULL, error)) {
                return false;
            }
            continue;
        }
        if (*value == '\0') {
            value = *index + 1 < argc ? argv[++*index] : NULL;
        }
        if (spec->kind == OPTION_LIST && value != NULL) {
            return parse_words(options, groups, value, false, error);
        }
        return options_set(options, spec, value, error);
    }
    return true;
}

/* What one option says about others. */
static void resolve_implied(Options *options)
{
    if (options->debug) {
        options->foreground = true;
        options->log_level = LEVEL_DEBUG;
    }
    if (options->run != NULL) {
        options->foreground = true;
    }
    if (options->single_thread) {
        options->threads = 1;
    }
    if ((options->mount_set & MS_NOSYMFOLLOW) != 0) {
        g_ptr_array_add(options->mount_extra, g_strdup("nosymfollow"));
    }
    if (options_given(options, "poll-max-us") && !options_given(options, "poll")) {
        options->poll = options->poll_max_us > 0 ? POLL_CLASSIC : POLL_OFF;
    }
}

bool options_parse(Options *options, unsigned groups, int argc, char *const *argv, GError **error)
{
    bool only_arguments = false;

    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];

        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            g_ptr_array_add(options->arguments, g_strdup(word));
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (word[1] == '-') {
            if (!parse_long(options, groups, argc, argv, &i, error)) {
                return false;
            }
        } else if (!parse_letters(options, groups, argc, argv, &i, error)) {
            return false;
        }
    }
    resolve_implied(options);
    return true;
}

bool options_parse_list(Options *options, unsigned groups, const char *list, bool sloppy,
                        GError **error)
{
    if (!parse_words(options, groups, list, sloppy, error)) {
        return false;
    }
    resolve_implied(options);
    return true;
}
