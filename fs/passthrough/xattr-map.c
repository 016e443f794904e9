/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Mapping names of extended attributes.
 *
 * How it works: a rule looks at names from clients (KEY), at names from the source (PREPEND),
 * or at both. The parser insists on a last rule for everything in each direction, so a lookup
 * always ends. A rule "prefix" for both directions shows of the source only what
 * a client could ask for: after PREPEND is taken away, the name must begin with KEY.
 */
#include "fs/passthrough/xattr-map.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "aio/error.h"

typedef enum RuleType {
    RULE_PREFIX,
    RULE_OK,
    RULE_BAD,
    RULE_UNSUPPORTED,
} RuleType;

enum { SCOPE_CLIENT = 1, SCOPE_SERVER = 2, SCOPE_ALL = SCOPE_CLIENT | SCOPE_SERVER };

typedef struct Rule {
    RuleType type;
    unsigned scope;
    char *key, *prepend;
} Rule;

struct FsXattrMap {
    GArray *rules; /* of Rule */
};

/* What is read, and where. */
typedef struct Parser {
    const char *at;
    unsigned number; /* of the rule, from 1 */
    char separator;
} Parser;

static const char *const type_names[] = {
    [RULE_PREFIX] = "prefix",
    [RULE_OK] = "ok",
    [RULE_BAD] = "bad",
    [RULE_UNSUPPORTED] = "unsupported",
};

static const char *const never_renamed[] = {
    FS_XATTR_ACL_ACCESS,
    FS_XATTR_ACL_DEFAULT,
    FS_XATTR_CAPABILITY,
    NULL,
};

static const char *const source_namespaces[] = {"user.", "trusted.", "security.", NULL};
static const char *const client_namespaces[] = {"user.", "trusted.", "security.", "system.", NULL};

static void clear_rule(gpointer data)
{
    Rule *rule = data;
    g_free(rule->key);
    g_free(rule->prepend);
}

static void add_rule(FsXattrMap *map, RuleType type, unsigned scope, const char *key,
                     const char *prepend)
{
    Rule rule = {type, scope, g_strdup(key), g_strdup(prepend)};
    g_array_append_val(map->rules, rule);
}

static bool rule_error(const Parser *parser, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static bool rule_error(const Parser *parser, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, AIO_ERROR, EINVAL, "rule %u of the xattr map %s", parser->number, text);
    return false;
}

/* The text up to the next separator. NULL: there is none. */
static char *next_field(Parser *parser, const char *what, GError **error)
{
    const char *end = strchr(parser->at, parser->separator);
    if (!end) {
        rule_error(parser, error, "ends before its %s, or lacks the '%c' after it", what,
                   parser->separator);
        return NULL;
    }
    char *field = g_strndup(parser->at, (size_t)(end - parser->at));
    parser->at = end + 1;
    return field;
}

static bool parse_scope(const Parser *parser, const char *text, unsigned *scope, GError **error)
{
    if (strcmp(text, "client") == 0) {
        *scope = SCOPE_CLIENT;
    } else if (strcmp(text, "server") == 0) {
        *scope = SCOPE_SERVER;
    } else if (strcmp(text, "all") == 0) {
        *scope = SCOPE_ALL;
    } else {
        return rule_error(parser, error, "has the scope '%s': it takes client, server or all",
                          text);
    }
    return true;
}

static bool parse_type(const Parser *parser, const char *text, RuleType *type, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(type_names); i++) {
        if (strcmp(text, type_names[i]) == 0) {
            *type = (RuleType)i;
            return true;
        }
    }
    return rule_error(parser, error,
                      "has the type '%s': it takes prefix, ok, bad, unsupported or map", text);
}

static bool begins_with_one_of(const char *name, const char *const *prefixes)
{
    for (; *prefixes; prefixes++) {
        if (g_str_has_prefix(name, *prefixes)) {
            return true;
        }
    }
    return false;
}

/* That what a rule makes of a name can be a name. */
static bool check_names(const Parser *parser, const Rule *rule, GError **error)
{
    if (strlen(rule->key) > XATTR_NAME_MAX || strlen(rule->prepend) > XATTR_NAME_MAX) {
        return rule_error(parser, error, "has a name of more than %d bytes", XATTR_NAME_MAX);
    }
    if (rule->type == RULE_PREFIX && rule->prepend[0] &&
        !begins_with_one_of(rule->prepend, source_namespaces)) {
        return rule_error(parser, error,
                          "puts names below '%s': Linux has only user., trusted. and security.",
                          rule->prepend);
    }
    return true;
}

/* ":map:KEY:PREPEND:" as the rules that it stands for. */
static bool parse_map(FsXattrMap *map, Parser *parser, GError **error)
{
    g_autofree char *key = next_field(parser, "key", error);
    g_autofree char *prepend = key ? next_field(parser, "prefix", error) : NULL;
    Rule rule = {RULE_PREFIX, SCOPE_ALL, key, prepend};
    if (!prepend || !check_names(parser, &rule, error)) {
        return false;
    }
    if (!prepend[0]) {
        return rule_error(parser, error, "of type map has no prefix");
    }
    if (parser->at[strspn(parser->at, " \t\r\n")]) {
        return rule_error(parser, error, "is of type map, which must be the last one");
    }
    add_rule(map, RULE_PREFIX, SCOPE_ALL, key, prepend);
    if (key[0]) {
        add_rule(map, RULE_BAD, SCOPE_CLIENT, prepend, "");
        add_rule(map, RULE_BAD, SCOPE_SERVER, "", key);
        add_rule(map, RULE_OK, SCOPE_ALL, "", "");
    } else {
        add_rule(map, RULE_BAD, SCOPE_ALL, "", "");
    }
    return true;
}

static bool parse_rule(FsXattrMap *map, Parser *parser, GError **error)
{
    parser->separator = *parser->at++;
    if (g_ascii_isalnum(parser->separator)) {
        return rule_error(parser, error, "begins with '%c', which cannot be a separator",
                          parser->separator);
    }
    g_autofree char *type = next_field(parser, "type", error);
    if (!type) {
        return false;
    }
    if (strcmp(type, "map") == 0) {
        return parse_map(map, parser, error);
    }
    Rule rule = {0};
    if (!parse_type(parser, type, &rule.type, error)) {
        return false;
    }
    g_autofree char *scope = next_field(parser, "scope", error);
    if (!scope || !parse_scope(parser, scope, &rule.scope, error)) {
        return false;
    }
    g_autofree char *key = next_field(parser, "key", error);
    g_autofree char *prepend = key ? next_field(parser, "prefix", error) : NULL;
    rule.key = key;
    rule.prepend = prepend;
    if (!prepend || !check_names(parser, &rule, error)) {
        return false;
    }
    add_rule(map, rule.type, rule.scope, key, prepend);
    return true;
}

static bool parse_rules(FsXattrMap *map, const char *rules, GError **error)
{
    Parser parser = {.at = rules};
    for (;;) {
        parser.at += strspn(parser.at, " \t\r\n");
        if (!*parser.at) {
            return true;
        }
        parser.number++;
        if (!parse_rule(map, &parser, error)) {
            return false;
        }
    }
}

/* That some rule matches every name in each direction. */
static bool check_complete(const FsXattrMap *map, GError **error)
{
    unsigned covered = 0;
    for (guint i = 0; i < map->rules->len; i++) {
        const Rule *rule = &g_array_index(map->rules, Rule, i);
        covered |= rule->key[0] ? 0 : rule->scope & SCOPE_CLIENT;
        covered |= rule->prepend[0] ? 0 : rule->scope & SCOPE_SERVER;
    }
    if (covered == SCOPE_ALL) {
        return true;
    }
    g_set_error(error, AIO_ERROR, EINVAL,
                "the xattr map has no rule for all other names%s: end it with :ok:all::: or "
                ":bad:all:::",
                covered == SCOPE_CLIENT   ? " of the source"
                : covered == SCOPE_SERVER ? " from clients"
                                          : "");
    return false;
}

FsXattrMap *fs_xattr_map_new(const char *rules, GError **error)
{
    g_autoptr(FsXattrMap) map = g_new0(FsXattrMap, 1);
    map->rules = g_array_new(FALSE, FALSE, sizeof(Rule));
    g_array_set_clear_func(map->rules, clear_rule);
    g_autofree char *expanded = NULL;
    if (g_ascii_isalnum(rules[0])) {
        /* a word: all names go below it */
        expanded = g_strdup_printf("\n:map::%s%s:", rules, g_str_has_suffix(rules, ".") ? "" : ".");
        if (strpbrk(rules, ": \t\r\n")) {
            g_set_error(error, AIO_ERROR, EINVAL,
                        "the xattr map '%s' is neither a name, such as user.virtiofs, nor a rule, "
                        "such as :ok:all:::",
                        rules);
            return NULL;
        }
    }
    if (!parse_rules(map, expanded ? expanded : rules, error) || !check_complete(map, error)) {
        return NULL;
    }
    return g_steal_pointer(&map);
}

void fs_xattr_map_free(FsXattrMap *map)
{
    if (map) {
        g_array_unref(map->rules);
        g_free(map);
    }
}

/*
 * Whether a client's name may get a prefix. One without a namespace, which a FUSE client may use
 * with nothing but the right to write, would become any name of the namespace that the prefix is.
 */
static bool may_rename(const char *client)
{
    for (const char *const *space = client_namespaces; *space != NULL; space++) {
        if (g_str_has_prefix(client, *space)) {
            return !g_strv_contains(never_renamed, client);
        }
    }
    return false;
}

/* "prefix" for a name from a client. */
static int prepend_to(const Rule *rule, const char *client, FsXattrName *source)
{
    size_t prefix = strlen(rule->prepend), rest = strlen(client);
    if (prefix > 0 && !may_rename(client)) {
        return -EOPNOTSUPP;
    }
    if (rest > XATTR_NAME_MAX || prefix > XATTR_NAME_MAX - rest) {
        return -ERANGE;
    }
    memcpy(source->text, rule->prepend, prefix);
    memcpy(source->text + prefix, client, rest + 1);
    return 0;
}

int fs_xattr_map_to_source(const FsXattrMap *map, const char *client, FsXattrName *source)
{
    static const Rule same = {.prepend = (char *)""};
    for (guint i = 0; i < map->rules->len; i++) {
        const Rule *rule = &g_array_index(map->rules, Rule, i);
        if (!(rule->scope & SCOPE_CLIENT) || !g_str_has_prefix(client, rule->key)) {
            continue;
        }
        switch (rule->type) {
        case RULE_PREFIX:
            return prepend_to(rule, client, source);
        case RULE_OK:
            return prepend_to(&same, client, source);
        case RULE_BAD:
            return -EPERM;
        case RULE_UNSUPPORTED:
            return -EOPNOTSUPP;
        }
    }
    assert(!"a map matches every name");
    return -EPERM;
}

/* "prefix" for a name of the source that begins with it. */
static const char *strip_from(const Rule *rule, const char *source)
{
    const char *client = source + strlen(rule->prepend);
    bool asked = rule->scope & SCOPE_CLIENT, renamed = rule->prepend[0] != '\0';
    if (asked && (!g_str_has_prefix(client, rule->key) || (renamed && !may_rename(client)))) {
        return NULL;
    }
    return client[0] && !(renamed && g_strv_contains(never_renamed, client)) ? client : NULL;
}

const char *fs_xattr_map_to_client(const FsXattrMap *map, const char *source)
{
    for (guint i = 0; i < map->rules->len; i++) {
        const Rule *rule = &g_array_index(map->rules, Rule, i);
        if (!(rule->scope & SCOPE_SERVER) || !g_str_has_prefix(source, rule->prepend)) {
            continue;
        }
        switch (rule->type) {
        case RULE_PREFIX:
            return strip_from(rule, source);
        case RULE_OK:
            return source;
        case RULE_BAD:
        case RULE_UNSUPPORTED:
            return NULL;
        }
    }
    assert(!"a map matches every name");
    return NULL;
}

bool fs_xattr_map_keeps(const FsXattrMap *map, const char *name)
{
    FsXattrName source;
    return fs_xattr_map_to_source(map, name, &source) == 0 && strcmp(source.text, name) == 0 &&
           fs_xattr_map_to_client(map, name) == name;
}
