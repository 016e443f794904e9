/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Names and labels of others as strings of JSON, which are UTF-8. */
#include "tools/sluicefs/json-text.h"

void json_text_set(JsonObject *object, const char *name, const char *value)
{
    g_autofree char *valid = value == NULL ? NULL : g_utf8_make_valid(value, -1);

    if (valid == NULL) {
        json_object_set_null_member(object, name);
    } else {
        json_object_set_string_member(object, name, valid);
    }
}
