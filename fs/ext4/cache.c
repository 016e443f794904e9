/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Things in memory by their age: see cache.h.
 *
 * How it works: hash tables with a list by age, in shards with a mutex each that is held for a
 * look-up and never across a read. Two coroutines that miss the same thing both read it; who
 * comes second takes what the first has put.
 */
#include "fs/ext4/cache.h"

#include <pthread.h>

#include <glib.h>

#define SHARDS 8

typedef struct Shard {
    pthread_mutex_t lock;
    Ext4CacheEntry **buckets;
    Ext4CacheEntry *newest, *oldest;
    size_t bytes;
    uint64_t hits, misses;
} Shard;

struct Ext4Cache {
    const Ext4CacheKind *kind;
    size_t limit;     /* of a shard */
    unsigned buckets; /* of a shard */
    Shard shards[SHARDS];
};

Ext4Cache *ext4_cache_new(const Ext4CacheKind *kind, size_t limit, unsigned buckets)
{
    Ext4Cache *cache = g_new0(Ext4Cache, 1);

    cache->kind = kind;
    cache->limit = limit / SHARDS;
    cache->buckets = MAX(1, buckets / SHARDS);
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&cache->shards[i].lock, NULL);
        cache->shards[i].buckets = g_new0(Ext4CacheEntry *, cache->buckets);
    }
    return cache;
}

void ext4_cache_free(Ext4Cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        Shard *shard = &cache->shards[i];

        for (Ext4CacheEntry *entry = shard->newest, *older; entry != NULL; entry = older) {
            older = entry->older;
            cache->kind->put(entry);
        }
        pthread_mutex_destroy(&shard->lock);
        g_free(shard->buckets);
    }
    g_free(cache);
}

void ext4_cache_count(Ext4Cache *cache, uint64_t *hits, uint64_t *misses, uint64_t *bytes)
{
    *hits = *misses = *bytes = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        Shard *shard = &cache->shards[i];

        pthread_mutex_lock(&shard->lock);
        *hits += shard->hits;
        *misses += shard->misses;
        *bytes += shard->bytes;
        pthread_mutex_unlock(&shard->lock);
    }
}

static Shard *shard_of(Ext4Cache *cache, uint64_t hash)
{
    return &cache->shards[hash % SHARDS];
}

static Ext4CacheEntry **bucket_of(const Ext4Cache *cache, Shard *shard, uint64_t hash)
{
    return &shard->buckets[hash / SHARDS % cache->buckets];
}

static void unlink_age(Shard *shard, Ext4CacheEntry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &shard->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void link_newest(Shard *shard, Ext4CacheEntry *entry)
{
    entry->newer = NULL;
    entry->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = entry;
    shard->newest = entry;
}

static Ext4CacheEntry *find_locked(const Ext4Cache *cache, Shard *shard, uint64_t hash,
                                   const void *key)
{
    Ext4CacheEntry *entry = *bucket_of(cache, shard, hash);

    while (entry != NULL && (entry->hash != hash || !cache->kind->has_key(entry, key))) {
        entry = entry->next;
    }
    if (entry != NULL) {
        if (entry != shard->newest) {
            unlink_age(shard, entry);
            link_newest(shard, entry);
        }
        ext4_cache_entry_ref(entry);
    }
    return entry;
}

/* Take the oldest entries out until there is room for @bytes more: a list by next. */
static Ext4CacheEntry *make_room_locked(const Ext4Cache *cache, Shard *shard, size_t bytes)
{
    Ext4CacheEntry *victims = NULL;

    while (shard->oldest != NULL && shard->bytes + bytes > cache->limit) {
        Ext4CacheEntry *victim = shard->oldest, **link = bucket_of(cache, shard, victim->hash);

        while (*link != victim) {
            link = &(*link)->next;
        }
        *link = victim->next;
        unlink_age(shard, victim);
        shard->bytes -= victim->bytes;
        victim->cached = false;
        victim->next = victims;
        victims = victim;
    }
    return victims;
}

static void put_all(const Ext4Cache *cache, Ext4CacheEntry *entry)
{
    for (Ext4CacheEntry *next; entry != NULL; entry = next) {
        next = entry->next;
        cache->kind->put(entry);
    }
}

Ext4CacheEntry *ext4_cache_find(Ext4Cache *cache, uint64_t hash, const void *key)
{
    Shard *shard = shard_of(cache, hash);
    Ext4CacheEntry *entry;

    pthread_mutex_lock(&shard->lock);
    entry = find_locked(cache, shard, hash, key);
    *(entry != NULL ? &shard->hits : &shard->misses) += 1;
    pthread_mutex_unlock(&shard->lock);
    return entry;
}

Ext4CacheEntry *ext4_cache_insert(Ext4Cache *cache, Ext4CacheEntry *entry, const void *key)
{
    Shard *shard = shard_of(cache, entry->hash);
    Ext4CacheEntry *other, *victims = NULL;

    pthread_mutex_lock(&shard->lock);
    other = find_locked(cache, shard, entry->hash, key);
    if (other == NULL) {
        Ext4CacheEntry **bucket = bucket_of(cache, shard, entry->hash);

        victims = make_room_locked(cache, shard, entry->bytes);
        entry->next = *bucket;
        *bucket = entry;
        entry->cached = true;
        link_newest(shard, entry);
        shard->bytes += entry->bytes;
        ext4_cache_entry_ref(entry);
    }
    pthread_mutex_unlock(&shard->lock);
    put_all(cache, victims);
    if (other != NULL) {
        cache->kind->put(entry);
        return other;
    }
    return entry;
}

void ext4_cache_resize(Ext4Cache *cache, Ext4CacheEntry *entry, size_t bytes)
{
    Shard *shard = shard_of(cache, entry->hash);
    Ext4CacheEntry *victims = NULL;

    pthread_mutex_lock(&shard->lock);
    if (entry->cached) {
        shard->bytes += bytes - entry->bytes;
        entry->bytes = bytes;
        victims = make_room_locked(cache, shard, 0);
    }
    pthread_mutex_unlock(&shard->lock);
    put_all(cache, victims);
}
