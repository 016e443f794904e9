/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Names and labels of others as strings of JSON, which are UTF-8. */
#ifndef SLUICE_TOOLS_JSON_TEXT_H
#define SLUICE_TOOLS_JSON_TEXT_H

#include <json-glib/json-glib.h>

/** Set the member @name to @value, or to null if that is NULL. What is not UTF-8 becomes U+FFFD. */
void json_text_set(JsonObject *object, const char *name, const char *value);

#endif /* SLUICE_TOOLS_JSON_TEXT_H */
