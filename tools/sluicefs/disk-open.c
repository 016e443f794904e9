/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From the options for disk images to the parameters of opening one. */
#include "tools/sluicefs/disk-open.h"

#include <string.h>
#include <sys/mount.h>

#include <gio/gio.h>

/* "4096", "512K", "10GiB": bytes; units are powers of 1024. */
static bool parse_size(const char *option, const char *text, int64_t *value, GError **error)
{
    static const char units[] = "KMGTPE";
    char *end;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    unsigned shift = 0;

    if (g_ascii_isdigit(text[0]) && *end != '\0') {
        const char *unit = strchr(units, g_ascii_toupper(*end));

        if (unit != NULL) {
            shift = 10 * (unsigned)(unit - units + 1);
            end++;
            end += *end == 'i' ? 1 : 0;
        }
        end += *end == 'B' ? 1 : 0;
    }
    if (!g_ascii_isdigit(text[0]) || *end != '\0' || number > (guint64)(INT64_MAX >> shift)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s=%s is not a size (a number, with K, M, G, T for powers of 1024)", option,
                    text);
        return false;
    }
    *value = (int64_t)(number << shift);
    return true;
}

bool disk_open_params(const Options *options, BlockOpenParams *params, GError **error)
{
    static const BlockFormat formats[] = {
        [FORMAT_AUTO] = BLOCK_FORMAT_AUTO,
        [FORMAT_RAW] = BLOCK_FORMAT_RAW,
        [FORMAT_QCOW2] = BLOCK_FORMAT_QCOW2,
    };

    block_open_params_init(params);
    if ((options->mount_set & MS_RDONLY) != 0 || options->list) {
        params->access = BLOCK_ACCESS_READ_ONLY;
    } else if ((options->mount_clear & MS_RDONLY) != 0) {
        params->access = BLOCK_ACCESS_READ_WRITE;
    }
    params->format = formats[options->format];
    params->follow_backing = options->backing == BACKING_ANY;
    params->direct = options->disk_cache == DISK_CACHE_NONE;
    params->wait_seconds = options->wait;
    params->connections = options->threads > 0 ? (unsigned)options->threads : 0;
    if (options->l2_cache != NULL) {
        int64_t bytes;

        if (!parse_size("l2-cache", options->l2_cache, &bytes, error)) {
            return false;
        }
        params->l2_cache = (uint64_t)bytes;
    }
    return (options->offset == NULL ||
            parse_size("offset", options->offset, &params->offset, error)) &&
           (options->size == NULL || parse_size("size", options->size, &params->length, error));
}
