/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc tells of the descriptors of other processes: see fdinfo.h. */
#include "fs/fdinfo.h"

#include <glib.h>

bool fs_fdinfo_any(int pid, FsFdinfoFn *matches, const void *opaque)
{
    g_autofree char *directory = g_strdup_printf("/proc/%d/fdinfo", pid);
    g_autoptr(GDir) infos = g_dir_open(directory, 0, NULL);
    const char *name;

    while (infos != NULL && (name = g_dir_read_name(infos)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autofree char *text = NULL;

        if (g_file_get_contents(path, &text, NULL, NULL) && matches(text, opaque)) {
            return true;
        }
    }
    return false;
}
