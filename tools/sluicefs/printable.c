/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Text of others, made harmless. */
#include "tools/sluicefs/printable.h"

#include <glib.h>

char *printable(const char *text)
{
    GString *out = g_string_new(NULL);

    if (text == NULL || text[0] == '\0') {
        return g_string_free(g_string_append_c(out, '-'), FALSE);
    }
    while (*text != '\0') {
        gunichar c = g_utf8_get_char_validated(text, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(out, "\\x%02x", (unsigned)(guchar)*text++);
        } else {
            if (g_unichar_isprint(c) && c != '\\') {
                g_string_append_unichar(out, c);
            } else {
                g_string_append_printf(out, "\\x%02x", c);
            }
            text = g_utf8_next_char(text);
        }
    }
    return g_string_free(out, FALSE);
}
