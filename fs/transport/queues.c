/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queues of FUSE over io_uring: see queues.h. */
#include "fs/transport/queues.h"

#include <glib.h>

/** More than any kernel is built for; the number of a queue has 16 bits. */
#define MOST_CPUS 65535

unsigned fs_queues_parse(const char *list)
{
    guint64 count = 0;

    for (;;) {
        char *end;
        if (!g_ascii_isdigit(*list)) {
            return 0;
        }
        guint64 first = g_ascii_strtoull(list, &end, 10);
        guint64 last = first;
        if (*end == '-') {
            list = end + 1;
            if (!g_ascii_isdigit(*list)) {
                return 0;
            }
            last = g_ascii_strtoull(list, &end, 10);
        }
        if (last < first || last >= MOST_CPUS) {
            return 0;
        }
        count += last - first + 1;
        if (*end == '\n' || *end == '\0') {
            return count <= MOST_CPUS ? (unsigned)count : 0;
        }
        if (*end != ',') {
            return 0;
        }
        list = end + 1;
    }
}

static unsigned count_cpus(const char *path)
{
    g_autofree char *list = NULL;

    return g_file_get_contents(path, &list, NULL, NULL) ? fs_queues_parse(list) : 0;
}

unsigned fs_queues_count(void)
{
    return count_cpus("/sys/devices/system/cpu/possible");
}

unsigned fs_queues_count_online(void)
{
    return count_cpus("/sys/devices/system/cpu/online");
}

void fs_queues_order(unsigned *order, unsigned queues, const cpu_set_t *allowed, size_t size)
{
    unsigned count = 0;

    for (int wanted = 1; wanted >= 0; wanted--) {
        for (unsigned queue = 0; queue < queues; queue++) {
            const bool may_run = allowed != NULL && CPU_ISSET_S(queue, size, allowed);
            if (may_run == (bool)wanted) {
                order[count++] = queue;
            }
        }
    }
}

bool fs_queues_serves(unsigned worker, unsigned workers, unsigned position, unsigned queues)
{
    return position % workers == worker || (worker >= queues && worker % queues == position);
}
