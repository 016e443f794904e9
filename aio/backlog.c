/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SQE images waiting for a place in the ring, first in first out. */
#include "aio/ring-internal.h"

#include <string.h>

void aio_backlog_init(AioBacklog *backlog, size_t image_size)
{
    *backlog = (AioBacklog){.image_size = image_size};
}

void aio_backlog_fini(AioBacklog *backlog)
{
    g_free(backlog->images);
    backlog->images = NULL;
}

static unsigned char *backlog_image(const AioBacklog *backlog, unsigned index)
{
    return backlog->images + (backlog->head + index) % backlog->capacity * backlog->image_size;
}

/* Double the array and put the images in order at its start. */
static void backlog_grow(AioBacklog *backlog)
{
    unsigned capacity = backlog->capacity ? backlog->capacity * 2 : 64;
    unsigned char *images = g_malloc_n(capacity, backlog->image_size);
    for (unsigned i = 0; i < backlog->count; i++) {
        memcpy(images + i * backlog->image_size, backlog_image(backlog, i), backlog->image_size);
    }
    g_free(backlog->images);
    backlog->images = images;
    backlog->head = 0;
    backlog->capacity = capacity;
}

struct io_uring_sqe *aio_backlog_push(AioBacklog *backlog)
{
    if (backlog->count == backlog->capacity) {
        backlog_grow(backlog);
    }
    unsigned char *image = backlog_image(backlog, backlog->count++);
    memset(image, 0, backlog->image_size);
    return (struct io_uring_sqe *)(void *)image;
}

const struct io_uring_sqe *aio_backlog_peek(const AioBacklog *backlog, unsigned index)
{
    g_assert(index < backlog->count);
    return (const struct io_uring_sqe *)(const void *)backlog_image(backlog, index);
}

void aio_backlog_pop(AioBacklog *backlog)
{
    g_assert(backlog->count > 0);
    backlog->head = (backlog->head + 1) % backlog->capacity;
    backlog->count--;
}

unsigned aio_backlog_chain_length(const AioBacklog *backlog)
{
    unsigned length = 1;
    while (length < backlog->count &&
           (aio_backlog_peek(backlog, length - 1)->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK))) {
        length++;
    }
    return length;
}
