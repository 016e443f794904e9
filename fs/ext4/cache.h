/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What was read and decoded, kept up to a number of bytes: the entry that was not used for the
 * longest time goes first. Blocks, inodes and names are entries.
 *
 * An entry is counted by references, one of which is the cache's, so that an eviction waits for
 * nobody and nobody for an eviction. All functions are for any thread and never wait for more
 * than a look-up.
 */
#ifndef SLUICE_FS_EXT4_CACHE_H
#define SLUICE_FS_EXT4_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Ext4Cache Ext4Cache;

/** First in what is kept; zeroed but for these: */
typedef struct Ext4CacheEntry {
    uint64_t hash;                /**< of the key; see ext4_cache_hash() */
    size_t bytes;                 /**< that it counts; after the insertion the cache's */
    _Atomic(unsigned) references; /**< 1 */
    bool cached;                  /* the rest is the cache's */
    struct Ext4CacheEntry *next;  /* with the same bucket */
    struct Ext4CacheEntry *newer, *older;
} Ext4CacheEntry;

/** What all entries of a cache are. */
typedef struct Ext4CacheKind {
    /** Whether @entry is the one with @key. */
    bool (*has_key)(const Ext4CacheEntry *entry, const void *key);
    /** Give a reference up. */
    void (*put)(Ext4CacheEntry *entry);
} Ext4CacheKind;

/** With room for @limit bytes; @buckets: about the number of entries. */
Ext4Cache *ext4_cache_new(const Ext4CacheKind *kind, size_t limit, unsigned buckets);
/** NULL is fine. */
void ext4_cache_free(Ext4Cache *cache);

/** Spread the bits of what a key consists of. */
static inline uint64_t ext4_cache_hash(uint64_t value)
{
    value *= UINT64_C(0x9e3779b97f4a7c15);
    return value ^ value >> 32;
}

/** A reference, or NULL. */
Ext4CacheEntry *ext4_cache_find(Ext4Cache *cache, uint64_t hash, const void *key);

/** Put the new @entry, a reference that goes over, or give it up if there is one. A reference. */
Ext4CacheEntry *ext4_cache_insert(Ext4Cache *cache, Ext4CacheEntry *entry, const void *key);

/** @entry counts @bytes now. */
void ext4_cache_resize(Ext4Cache *cache, Ext4CacheEntry *entry, size_t bytes);

/** Look-ups that found something, and others, so far; what is in it now. */
void ext4_cache_count(Ext4Cache *cache, uint64_t *hits, uint64_t *misses, uint64_t *bytes);

static inline void ext4_cache_entry_ref(Ext4CacheEntry *entry)
{
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
}

/** True: it was the last reference, free it. */
static inline bool ext4_cache_entry_unref(Ext4CacheEntry *entry)
{
    return atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) == 1;
}

#endif /* SLUICE_FS_EXT4_CACHE_H */
