/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of NBD servers (the NBD URI specification). */
#include <string.h>

#include "fs/block/nbd.h"

#define SOCKET "socket="

bool block_nbd_is_uri(const char *text)
{
    static const char *const schemes[] = {"nbd:", "nbds:", "nbd+", "nbds+"};

    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
        if (g_str_has_prefix(text, schemes[i])) {
            return strstr(text, "://") != NULL;
        }
    }
    return false;
}

/* The value of socket= as an absolute path, encoded; NULL: it cannot be decoded. */
static char *absolute_socket(const char *value)
{
    g_autofree char *path = g_uri_unescape_string(value, NULL);
    g_autofree char *absolute = path == NULL ? NULL : g_canonicalize_filename(path, NULL);

    return absolute == NULL ? NULL : g_uri_escape_string(absolute, "/", TRUE);
}

char *block_nbd_absolute_uri(const char *uri)
{
    const char *query = strchr(uri, '?');
    g_auto(GStrv) parts = g_strsplit(query == NULL ? "" : query + 1, "&", -1);
    g_autofree char *joined = NULL;

    for (char **part = parts; *part != NULL; part++) {
        char *absolute =
            g_str_has_prefix(*part, SOCKET) ? absolute_socket(*part + strlen(SOCKET)) : NULL;

        if (absolute != NULL) {
            g_free(*part);
            *part = g_strconcat(SOCKET, absolute, NULL);
            g_free(absolute);
        }
    }
    if (query == NULL) {
        return g_strdup(uri);
    }
    joined = g_strjoinv("&", parts);
    return g_strdup_printf("%.*s%s", (int)(query + 1 - uri), uri, joined);
}
