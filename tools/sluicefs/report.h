/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Facts in sections, printed as text for people or JSON for programs. */
#ifndef SLUICE_TOOLS_REPORT_H
#define SLUICE_TOOLS_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <glib.h>

typedef struct Report Report;

Report *report_new(void);
void report_free(Report *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Report, report_free)

/** Begin a section; what is added next belongs to it. @key is for JSON, @title for text. */
void report_section(Report *report, const char *key, const char *title);

/*
 * Add a fact. @key: JSON; @title: text; @note: why it is so, or NULL; copied.
 * A note stands behind the value in text and in the object "notes" of the
 * section, under the same key, in JSON.
 */
void report_bool(Report *report, const char *key, const char *title, bool value, const char *note);
void report_integer(Report *report, const char *key, const char *title, gint64 value,
                    const char *note);
/** @value NULL: not known (JSON null). */
void report_string(Report *report, const char *key, const char *title, const char *value,
                   const char *note);
/** @words: NULL terminated, copied. */
void report_list(Report *report, const char *key, const char *title, const char *const *words,
                 const char *note);

void report_print_text(const Report *report, FILE *out);
void report_print_json(const Report *report, FILE *out);

#endif /* SLUICE_TOOLS_REPORT_H */
