/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Order among direct writes: see serialize.h.
 *
 * How it works: all writes under way or waiting are in one list, in the order
 * in which they came. A write whose range, rounded out to blocks, overlaps an
 * earlier one's waits if either of the two is exclusive, which is one that does not
 * fill its blocks. The end of a write looks at the later ones again and lets
 * those go that nothing holds any more. Nobody waits for a later one, so there
 * is always one that goes on.
 */
#include "fs/block/serialize.h"

#include "aio/bh.h"

void block_serializer_init(BlockSerializer *serializer, unsigned block)
{
    pthread_mutex_init(&serializer->lock, NULL);
    serializer->first = serializer->last = NULL;
    serializer->exclusive = 0;
    serializer->block = block;
}

void block_serializer_fini(BlockSerializer *serializer)
{
    g_assert(serializer->first == NULL);
    pthread_mutex_destroy(&serializer->lock);
}

static bool overlap(const BlockRequest *a, const BlockRequest *b)
{
    return a->range.start < b->range.end && b->range.start < a->range.end;
}

/* Whether an earlier write holds @request up. Under the lock. */
static bool is_held(const BlockSerializer *serializer, const BlockRequest *request)
{
    if (serializer->exclusive == 0) {
        return false;
    }
    for (const BlockRequest *earlier = request->range.prev; earlier != NULL;
         earlier = earlier->range.prev) {
        if ((earlier->range.exclusive || request->range.exclusive) && overlap(earlier, request)) {
            return true;
        }
    }
    return false;
}

void block_serializer_begin(BlockSerializer *serializer, BlockRequest *request,
                            void (*go)(BlockRequest *request))
{
    const int64_t mask = serializer->block - 1;
    const int64_t end = request->offset + (int64_t)request->length;
    bool held;

    request->range.ctx = aio_context_current();
    request->range.go = go;
    request->range.exclusive = ((request->offset | end) & mask) != 0;
    request->range.start = request->offset & ~mask;
    request->range.end = end > INT64_MAX - mask ? INT64_MAX : (end + mask) & ~mask;

    pthread_mutex_lock(&serializer->lock);
    request->range.next = NULL;
    request->range.prev = serializer->last;
    if (serializer->last != NULL) {
        serializer->last->range.next = request;
    } else {
        serializer->first = request;
    }
    serializer->last = request;
    serializer->exclusive += request->range.exclusive;
    held = request->range.waiting = is_held(serializer, request);
    pthread_mutex_unlock(&serializer->lock);
    if (!held) {
        go(request);
    }
}

static void go_bh(void *opaque)
{
    BlockRequest *request = opaque;

    request->range.go(request);
}

void block_serializer_end(BlockSerializer *serializer, BlockRequest *request)
{
    pthread_mutex_lock(&serializer->lock);
    BlockRequest *later = request->range.next;

    if (request->range.prev != NULL) {
        request->range.prev->range.next = later;
    } else {
        serializer->first = later;
    }
    if (later != NULL) {
        later->range.prev = request->range.prev;
    } else {
        serializer->last = request->range.prev;
    }
    for (; later != NULL; later = later->range.next) {
        if (later->range.waiting && overlap(request, later) && !is_held(serializer, later)) {
            later->range.waiting = false;
            aio_bh_call_once(later->range.ctx, go_bh, later);
        }
    }
    serializer->exclusive -= request->range.exclusive;
    pthread_mutex_unlock(&serializer->lock);
}
