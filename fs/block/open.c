/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the name of an image to its block node.
 *
 * Why a raw image that looks like another format is not opened for writing
 * without being asked to: whoever can write to a raw disk (a guest) can write
 * the header of a format with a backing file of his choice to its beginning. If
 * the next one to open it believed that, he would read that file.
 */
#include "fs/block/open.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/block/image-lock.h"
#include "fs/block/nbd.h"
#include "fs/block/qcow2.h"
#include "fs/block/raw.h"
#include "fs/block/slice.h"

#define CHAIN_MAX 16u /* backing files below each other */

void block_open_params_init(BlockOpenParams *params)
{
    *params = (BlockOpenParams){.length = -1, .l2_cache = BLOCK_QCOW2_CACHE_BYTES};
}

/* A format that @head, the first bytes of an image, looks like; NULL: none that is known. */
static const char *looks_like(const char *head)
{
    static const struct {
        const char *magic;
        size_t length, offset;
        const char *name;
    } formats[] = {
        {"QFI\xfb", 4, 0, "qcow2"},           {"KDMV", 4, 0, "VMDK"},
        {"vhdxfile", 8, 0, "VHDX"},           {"conectix", 8, 0, "VHD"},
        {"\x7f\x10\xda\xbe", 4, 0x40, "VDI"}, {"QED\0", 4, 0, "QED"},
        {"LUKS\xba\xbe", 6, 0, "LUKS"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (memcmp(head + formats[i].offset, formats[i].magic, formats[i].length) == 0) {
            return formats[i].name;
        }
    }
    return NULL;
}

/* What to open the image as, by its content where @params leave it open. */
static bool find_format(BlockNode *node, const BlockOpenParams *params, BlockFormat *format,
                        GError **error)
{
    char head[512] = {0};
    const char *name;
    int result;

    *format = params->format;
    if (*format != BLOCK_FORMAT_AUTO) {
        return true;
    }
    *format = BLOCK_FORMAT_RAW;
    if (params->offset > 0) {
        return true; /* a piece of a raw image: written by its users through any view of it */
    }
    result = block_read_now(node, head, MIN((size_t)node->size, sizeof(head)), 0);
    if (result < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(-result), "cannot read '%s': %s",
                    node->name, g_strerror(-result));
        return false;
    }
    name = looks_like(head);
    if (name == NULL) {
        return true;
    }
    if (strcmp(name, "qcow2") == 0) {
        *format = BLOCK_FORMAT_QCOW2;
        return true;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "'%s' looks like an image in the format %s, which is not supported ('qemu-nbd' may "
                "serve it, see NBD SERVERS in sluicefs-disk(1)); if it is a raw image with such "
                "content, say format=raw",
                node->name, name);
    return false;
}

/* What must be put right about a descriptor just opened; -1 with errno. */
static int settle(int fd)
{
    struct stat st;

    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        errno = EISDIR;
        return -1;
    }
    /* O_NONBLOCK was for the open of a FIFO; on a file the ring would take it at its word. */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

/*
 * The kernel does not let a block device be opened like this while it has mounted it, or part
 * of it, or uses it otherwise; nor use it while we have it. On files the flag means nothing.
 */
static int exclusive(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISBLK(st.st_mode) ? O_EXCL : 0;
}

/* Open the file as far as @access allows; *@read_only: how it was. -1 with errno. */
static int open_file(const char *path, const BlockOpenParams *params, bool *read_only)
{
    const int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (params->direct ? O_DIRECT : 0) |
                      (params->no_links ? O_NOFOLLOW : 0);
    int fd = -1;

    *read_only = params->access == BLOCK_ACCESS_READ_ONLY;
    if (!*read_only) {
        fd = open(path, flags | O_RDWR | exclusive(path));
        if (fd >= 0 || params->access == BLOCK_ACCESS_READ_WRITE ||
            (errno != EACCES && errno != EROFS && errno != EPERM && errno != ETXTBSY)) {
            return settle(fd);
        }
        *read_only = true;
        int why = errno;
        fd = open(path, flags | O_RDONLY);
        if (fd >= 0) {
            g_message("'%s' is read-only: %s", path, g_strerror(why));
        }
        return settle(fd);
    }
    return settle(open(path, flags | O_RDONLY));
}

static const char *advice(int error, const BlockOpenParams *params)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return params->access == BLOCK_ACCESS_READ_WRITE ? " (without rw it is served read-only)"
                                                         : "";
    case EINVAL:
        return params->direct ? " (its file system has no direct I/O: use cache=writeback)" : "";
    case ELOOP:
        return params->no_links ? " (it is a link; backing=any follows it)" : "";
    case ENXIO:
        return " (an image is a file or a block device)";
    case EBUSY:
        return " (the device is mounted, or in use otherwise; ro reads it all the same)";
    case EISDIR:
        return " (an image is a file or a block device; 'sluicefs passthrough' serves directories)";
    default:
        return "";
    }
}

/* The piece of @whole that is asked for. Takes a reference on @whole. */
static BlockNode *cut_piece(BlockNode *whole, const char *name, const BlockOpenParams *params,
                            GError **error)
{
    int64_t length = params->length;

    if (params->offset == 0 && length < 0) {
        return block_node_ref(whole);
    }
    if (length == 0 || params->offset >= whole->size) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "'%s' has %" G_GINT64_FORMAT " bytes: %s leaves nothing of it", name,
                    whole->size, length == 0 ? "size=0" : "such an offset=");
        return NULL;
    }
    if (length < 0) {
        length = whole->size - params->offset;
    }
    return block_slice_new(whole, name, params->offset, length, error);
}

/* The file itself, locked. */
static BlockNode *open_image_file(const char *path, const BlockOpenParams *params, GError **error)
{
    g_autoptr(BlockNode) node = NULL;
    bool read_only;
    int fd = open_file(path, params, &read_only);

    if (fd < 0) {
        int number = errno;

        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(number), "cannot open '%s': %s%s",
                    path, g_strerror(number), advice(number, params));
        return NULL;
    }
    /* Locked before anything is read: whoever had it may have made it longer. */
    if (!block_image_lock(fd, path, !read_only, params->wait_seconds, error)) {
        close(fd);
        return NULL;
    }
    node = block_raw_new(fd, path, read_only, params->direct, error);
    if (node == NULL) {
        g_prefix_error(error, "cannot open '%s': ", path);
        return NULL;
    }
    return cut_piece(node, path, params, error);
}

static BlockNode *open_chain(const char *path, const BlockOpenParams *params, unsigned depth,
                             GError **error);

/*
 * The backing file that the image at @path names. Such a name is an order of whoever made the
 * image: it is followed where it leads to a file beside the image, and elsewhere only if the
 * user says so.
 */
static BlockNode *open_backing(const char *path, const Qcow2Header *header,
                               const BlockOpenParams *params, unsigned depth, GError **error)
{
    const char *name = header->backing_name, *format = header->backing_format;
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *backing =
        g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(directory, name, NULL);
    BlockOpenParams below = {
        .access = BLOCK_ACCESS_READ_ONLY,
        .direct = params->direct,
        .wait_seconds = params->wait_seconds,
        .follow_backing = params->follow_backing,
        .l2_cache = params->l2_cache,
        .no_links = !params->follow_backing, /* it would not lie beside the image */
        .length = -1,
    };
    BlockNode *node;

    if (depth >= CHAIN_MAX) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "'%s': its chain of backing files is longer than %u", path, CHAIN_MAX);
        return NULL;
    }
    if (!params->follow_backing &&
        (strchr(name, '/') != NULL || strchr(name, ':') != NULL || strcmp(name, "..") == 0)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    "'%s' names a backing file that is not beside it: '%s'; backing=any follows it",
                    path, name);
        return NULL;
    }
    if (g_strcmp0(format, "raw") == 0) {
        below.format = BLOCK_FORMAT_RAW;
    } else if (g_strcmp0(format, "qcow2") == 0) {
        below.format = BLOCK_FORMAT_QCOW2;
    } else if (format != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "'%s': its backing file has the format '%s', which is not supported", path,
                    format);
        return NULL;
    }
    node = open_chain(backing, &below, depth + 1, error);
    if (node == NULL) {
        g_prefix_error(error, "the backing file of '%s': ", path);
    }
    return node;
}

static BlockNode *open_qcow2(BlockNode *file, const char *path, const BlockOpenParams *params,
                             unsigned depth, GError **error)
{
    g_autoptr(BlockNode) backing = NULL;
    BlockNode *node = NULL;
    Qcow2Header header;

    if (!block_qcow2_read_header(file, &header, error)) {
        g_prefix_error(error, "'%s': ", path);
        return NULL;
    }
    if (header.backing_name != NULL) {
        backing = open_backing(path, &header, params, depth, error);
    }
    if (header.backing_name == NULL || backing != NULL) {
        node = block_qcow2_new(file, backing, path, !file->read_only, params->l2_cache, error);
        if (node == NULL) {
            g_prefix_error(error, "'%s': ", path);
        }
    }
    block_qcow2_header_clear(&header);
    return node;
}

static BlockNode *open_chain(const char *path, const BlockOpenParams *params, unsigned depth,
                             GError **error)
{
    g_autoptr(BlockNode) file = open_image_file(path, params, error);
    g_autoptr(GError) why = NULL;
    BlockOpenParams as_is = *params;
    BlockFormat format;
    BlockNode *node;
    int64_t offset;

    if (file == NULL || !find_format(file, params, &format, error)) {
        return NULL;
    }
    if (format == BLOCK_FORMAT_RAW) {
        BlockNode *bottom = block_slice_bottom(file, &offset);

        if (params->format == BLOCK_FORMAT_AUTO) {
            block_raw_guard_format(bottom);
        }
        return g_steal_pointer(&file);
    }
    node = open_qcow2(file, path, params, depth, &why);
    if (node == NULL && params->access == BLOCK_ACCESS_AUTO && !file->read_only) {
        /* Perhaps it can be read; readers share the image. */
        as_is.access = BLOCK_ACCESS_READ_ONLY;
        block_node_unref(g_steal_pointer(&file));
        file = open_image_file(path, &as_is, error);
        node = file == NULL ? NULL : open_qcow2(file, path, &as_is, depth, error);
        if (node != NULL) {
            g_message("read-only: %s", why->message);
        }
        return node;
    }
    if (node == NULL) {
        g_propagate_error(error, g_steal_pointer(&why));
    }
    return node;
}

/* A server's disk: its format is the server's matter. */
static BlockNode *open_server(const char *uri, const BlockOpenParams *params, GError **error)
{
    g_autoptr(BlockNode) node = NULL;

    if (params->format != BLOCK_FORMAT_AUTO && params->format != BLOCK_FORMAT_RAW) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "'%s': the server must be told the format of the image (qemu-nbd --format)",
                    uri);
        return NULL;
    }
    node = block_nbd_open(uri, params, error);
    return node == NULL ? NULL : cut_piece(node, uri, params, error);
}

BlockNode *block_open(const char *path, const BlockOpenParams *params, GError **error)
{
    if (block_nbd_is_uri(path)) {
        return open_server(path, params, error);
    }
    return open_chain(path, params, 0, error);
}
