/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of metadata in memory: see buffer.h.
 *
 * How it works: a cache (cache.h) by number, kind and owner. A miss reads several blocks at once,
 * each of which becomes a buffer.
 */
#include "fs/ext4/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ext4/volume.h"

#define BUCKETS     16384
#define AHEAD_BYTES (64 * 1024)

typedef struct BufferKey {
    uint64_t block;
    uint32_t owner;
    Ext4BlockKind kind;
} BufferKey;

static Ext4Buffer *buffer_of(const Ext4CacheEntry *entry)
{
    return aio_container_of((Ext4CacheEntry *)(uintptr_t)entry, Ext4Buffer, entry);
}

static bool has_key(const Ext4CacheEntry *entry, const void *opaque)
{
    const Ext4Buffer *buffer = buffer_of(entry);
    const BufferKey *key = opaque;

    return buffer->block == key->block && buffer->owner == key->owner && buffer->kind == key->kind;
}

static void put_entry(Ext4CacheEntry *entry)
{
    ext4_buffer_put(buffer_of(entry));
}

Ext4Cache *ext4_buffers_new(size_t limit)
{
    static const Ext4CacheKind kind = {.has_key = has_key, .put = put_entry};

    return ext4_cache_new(&kind, limit, BUCKETS);
}

void ext4_buffer_put(Ext4Buffer *buffer)
{
    if (buffer != NULL && ext4_cache_entry_unref(&buffer->entry)) {
        free(buffer);
    }
}

/* A copy of the block at @data in the cache; a reference. NULL: no memory. */
static Ext4Buffer *insert(Ext4Volume *volume, const BufferKey *key, const uint8_t *data)
{
    const size_t size = volume->block_size;
    Ext4Buffer *buffer = malloc(sizeof(*buffer) + size);

    if (buffer == NULL) {
        return NULL;
    }
    *buffer = (Ext4Buffer){
        .entry = {.hash = ext4_cache_hash(key->block),
                  .bytes = sizeof(*buffer) + size,
                  .references = 1},
        .block = key->block,
        .owner = key->owner,
        .kind = key->kind,
    };
    memcpy(buffer->data, data, size);
    return buffer_of(ext4_cache_insert(volume->buffers, &buffer->entry, key));
}

int ext4_buffer_get(Ext4Volume *volume, Ext4BlockKind kind, const Ext4Inode *owner, uint64_t block,
                    unsigned ahead, Ext4CheckFn *check, Ext4Buffer **found)
{
    BufferKey key = {.block = block, .owner = owner == NULL ? 0 : owner->ino, .kind = kind};
    Ext4CacheEntry *entry = ext4_cache_find(volume->buffers, ext4_cache_hash(block), &key);
    const size_t size = volume->block_size;
    uint64_t count = MAX(1, MIN(ahead, AHEAD_BYTES / size)), place;
    bool escaped;
    int result;

    *found = entry == NULL ? NULL : buffer_of(entry);
    if (entry != NULL) {
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
        key.block = block + i;
        buffer = insert(volume, &key, from);
        if (buffer == NULL) {
            result = i == 0 ? -ENOMEM : 0;
            continue;
        }
        if (i == 0) {
            *found = buffer;
        } else {
            ext4_buffer_put(buffer);
        }
    }
    return result;
}
