/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Text of others (labels in images, what a daemon says), made harmless for a terminal. */
#ifndef SLUICE_TOOLS_PRINTABLE_H
#define SLUICE_TOOLS_PRINTABLE_H

/**
 * @text (may be NULL) without what a terminal would obey: control characters and bytes that
 * are not UTF-8 become \xNN, nothing becomes "-". g_free().
 */
char *printable(const char *text);

#endif /* SLUICE_TOOLS_PRINTABLE_H */
