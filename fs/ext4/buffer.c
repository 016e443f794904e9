/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of metadata in memory: see buffer.h.
 *
 * How it works: hash tables with a list by age, in shards with a mutex each that is held for
 * a look-up and never across a read. Two coroutines that miss the same block both read it; who
 * comes second finds the buffer of the first.
 */
#include "fs/ext4/buffer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ext4/volume.h"

#define SHARDS      8
#define BUCKETS     2048
#define AHEAD_BYTES (64 * 1024)

typedef struct Shard {
    pthread_mutex_t lock;
    Ext4Buffer *buckets[BUCKETS];
    Ext4Buffer *newest, *oldest;
    size_t bytes;
    uint64_t hits, misses;
} Shard;

struct Ext4Buffers {
    size_t limit; /* of a shard */
    Shard shards[SHARDS];
};

Ext4Buffers *ext4_buffers_new(size_t limit)
{
    Ext4Buffers *buffers = g_new0(Ext4Buffers, 1);

    buffers->limit = limit / SHARDS;
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&buffers->shards[i].lock, NULL);
    }
    return buffers;
}

void ext4_buffers_free(Ext4Buffers *buffers)
{
    if (buffers == NULL) {
        return;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        Shard *shard = &buffers->shards[i];

        for (Ext4Buffer *buffer = shard->newest, *older; buffer != NULL; buffer = older) {
            older = buffer->older;
            ext4_buffer_put(buffer);
        }
        pthread_mutex_destroy(&shard->lock);
    }
    g_free(buffers);
}

void ext4_buffers_count(const Ext4Buffers *buffers, Ext4Stats *stats)
{
    stats->buffer_hits = stats->buffer_misses = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        Shard *shard = (Shard *)(uintptr_t)&buffers->shards[i];

        pthread_mutex_lock(&shard->lock);
        stats->buffer_hits += shard->hits;
        stats->buffer_misses += shard->misses;
        pthread_mutex_unlock(&shard->lock);
    }
}

void ext4_buffer_put(Ext4Buffer *buffer)
{
    if (buffer != NULL &&
        atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) == 1) {
        free(buffer);
    }
}

static uint64_t hash_of(uint64_t block)
{
    block *= UINT64_C(0x9e3779b97f4a7c15);
    return block >> 32;
}

static Shard *shard_of(Ext4Buffers *buffers, uint64_t block)
{
    return &buffers->shards[hash_of(block) % SHARDS];
}

static Ext4Buffer **bucket_of(Shard *shard, uint64_t block)
{
    return &shard->buckets[hash_of(block) / SHARDS % BUCKETS];
}

static void unlink_age(Shard *shard, Ext4Buffer *buffer)
{
    *(buffer->newer != NULL ? &buffer->newer->older : &shard->newest) = buffer->older;
    *(buffer->older != NULL ? &buffer->older->newer : &shard->oldest) = buffer->newer;
}

static void link_newest(Shard *shard, Ext4Buffer *buffer)
{
    buffer->newer = NULL;
    buffer->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = buffer;
    shard->newest = buffer;
}

static Ext4Buffer *find_locked(Shard *shard, Ext4BlockKind kind, uint32_t owner, uint64_t block)
{
    Ext4Buffer *buffer = *bucket_of(shard, block);

    while (buffer != NULL &&
           (buffer->block != block || buffer->kind != kind || buffer->owner != owner)) {
        buffer = buffer->next;
    }
    if (buffer != NULL) {
        if (buffer != shard->newest) {
            unlink_age(shard, buffer);
            link_newest(shard, buffer);
        }
        atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    }
    return buffer;
}

static void evict_oldest_locked(Shard *shard, size_t size)
{
    Ext4Buffer *victim = shard->oldest, **link = bucket_of(shard, victim->block);

    while (*link != victim) {
        link = &(*link)->next;
    }
    *link = victim->next;
    unlink_age(shard, victim);
    shard->bytes -= size;
    ext4_buffer_put(victim);
}

/* Put the new @buffer into the cache, or take the one that is there; a reference. */
static Ext4Buffer *insert(Ext4Buffers *buffers, Ext4Buffer *buffer, size_t size)
{
    Shard *shard = shard_of(buffers, buffer->block);
    Ext4Buffer *other;

    pthread_mutex_lock(&shard->lock);
    other = find_locked(shard, buffer->kind, buffer->owner, buffer->block);
    if (other == NULL) {
        Ext4Buffer **bucket = bucket_of(shard, buffer->block);

        while (shard->oldest != NULL && shard->bytes + size > buffers->limit) {
            evict_oldest_locked(shard, size);
        }
        buffer->next = *bucket;
        *bucket = buffer;
        link_newest(shard, buffer);
        shard->bytes += size;
        atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->lock);
    if (other != NULL) {
        ext4_buffer_put(buffer);
        return other;
    }
    return buffer;
}

static Ext4Buffer *find(Ext4Buffers *buffers, Ext4BlockKind kind, uint32_t owner, uint64_t block)
{
    Shard *shard = shard_of(buffers, block);
    Ext4Buffer *buffer;

    pthread_mutex_lock(&shard->lock);
    buffer = find_locked(shard, kind, owner, block);
    *(buffer != NULL ? &shard->hits : &shard->misses) += 1;
    pthread_mutex_unlock(&shard->lock);
    return buffer;
}

int ext4_buffer_get(Ext4Volume *volume, Ext4BlockKind kind, const Ext4Inode *owner, uint64_t block,
                    unsigned ahead, Ext4CheckFn *check, Ext4Buffer **found)
{
    const uint32_t number = owner == NULL ? 0 : owner->ino;
    const size_t size = volume->block_size;
    uint64_t count = MAX(1, MIN(ahead, AHEAD_BYTES / size)), place;
    bool escaped;
    int result;

    *found = find(volume->buffers, kind, number, block);
    if (*found != NULL) {
        return 0;
    }
    if (!ext4_has_blocks(volume, block, 1)) {
        return -EUCLEAN;
    }
    count = MIN(count, volume->blocks - block);
    place = ext4_overlay_find(volume->overlay, block, &count, &escaped);
    g_autofree uint8_t *data = g_try_malloc(count * size);
    if (data == NULL) {
        return -ENOMEM;
    }
    result = block_co_read(volume->node, data, count * size, (int64_t)(place * size));
    if (escaped) {
        ext4_overlay_unescape(data, size, 0);
    }
    for (uint64_t i = 0; result == 0 && i < count; i++) {
        const uint8_t *from = data + i * size;
        Ext4Buffer *buffer;

        if (check != NULL && !check(volume, owner, block + i, from)) {
            result = i == 0 ? -EUCLEAN : 0;
            continue; /* the one that is wanted, or one that nobody may ever want */
        }
        buffer = malloc(sizeof(*buffer) + size);
        if (buffer == NULL) {
            result = i == 0 ? -ENOMEM : 0;
            continue;
        }
        *buffer = (Ext4Buffer){.block = block + i, .owner = number, .kind = kind, .references = 1};
        memcpy(buffer->data, from, size);
        buffer = insert(volume->buffers, buffer, size);
        if (i == 0) {
            *found = buffer;
        } else {
            ext4_buffer_put(buffer);
        }
    }
    return result;
}
