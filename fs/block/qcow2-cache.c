/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of the second level in memory: no more than a limit.
 *
 * How it works
 *
 * A table is found by qcow2->l2[index in L1], without a lock: a slot of memory, or NULL. When
 * the limit is reached, a slot that was not looked at for a while (a clock: `used` is set by
 * whoever looks, and taken away when the hand comes by) gets another table. Memory of slots is
 * never given back while the image is open, so a reader may always look; whether what he saw was
 * the table that he meant, the slot's generation tells him:
 *
 *     reader                                    who takes the slot
 *     slot = l2[i]                              l2[i] = NULL
 *     generation                                generation + 1 (release)
 *     l2[i] == slot still?                      entries (release)
 *     entries (acquire)                         l2[j] = slot (release)
 *     generation as before?
 *
 * A reader that sees one of the new entries sees the new generation, too; one that saw the new
 * generation at first sees that l2[i] is another. He then loads the table.
 *
 * Everything else happens under the cache's lock, which is never held during I/O. A table is
 * read by one coroutine, for which others that need it wait: so nobody ever publishes an old copy
 * of a table that was changed, written and evicted meanwhile. A pinned table stays: whoever
 * changes one has a pin, and so has a change that the file does not know yet. Only the first pin
 * takes the lock.
 *
 * If all slots are pinned there is one more, beyond the limit. The writer commits before more
 * than half of them are (block_qcow2_cache_is_strained()).
 */
#include <errno.h>

#include "fs/block/qcow2-internal.h"

#define TABLES_MIN 4u
#define NO_INDEX   UINT64_MAX

/* A table that is being read; on the stack of who does. */
struct Qcow2Load {
    uint64_t l1;
    Qcow2Load *next;
};

static size_t entries_of(const BlockQcow2 *qcow2)
{
    return (size_t)1 << qcow2->l2_bits;
}

void block_qcow2_cache_init(BlockQcow2 *qcow2, uint64_t bytes)
{
    Qcow2Cache *cache = &qcow2->cache;
    const uint64_t table = entries_of(qcow2) * sizeof(uint64_t);

    aio_co_mutex_init(&cache->lock);
    aio_co_queue_init(&cache->loaded);
    cache->limit = (size_t)MAX(bytes / table, TABLES_MIN);
    cache->slots = g_ptr_array_new_with_free_func(g_free);
}

void block_qcow2_cache_fini(BlockQcow2 *qcow2)
{
    if (qcow2->cache.slots != NULL) {
        g_ptr_array_free(qcow2->cache.slots, TRUE);
        aio_co_mutex_fini(&qcow2->cache.lock);
    }
}

bool block_qcow2_cache_is_strained(const BlockQcow2 *qcow2, size_t pinned)
{
    return pinned >= qcow2->cache.limit / 2;
}

/* The next slot that nobody has looked at since the hand was there; NULL: all are pinned. */
static Qcow2Table *find_victim(Qcow2Cache *cache)
{
    const size_t count = cache->slots->len;

    for (size_t i = 0; i < 2 * count; i++) {
        Qcow2Table *slot = g_ptr_array_index(cache->slots, cache->hand);

        cache->hand = (cache->hand + 1) % count;
        if (atomic_load_explicit(&slot->pins, memory_order_acquire) == 0 &&
            !atomic_exchange_explicit(&slot->used, false, memory_order_relaxed)) {
            return slot;
        }
    }
    return NULL;
}

/* A slot for the table @l1, pinned and not published. */
static Qcow2Table *take_slot(BlockQcow2 *qcow2, uint64_t l1, uint64_t offset)
{
    Qcow2Cache *cache = &qcow2->cache;
    Qcow2Table *slot = cache->slots->len < cache->limit ? NULL : find_victim(cache);

    if (slot == NULL) {
        slot = g_try_malloc(sizeof(*slot) + entries_of(qcow2) * sizeof(uint64_t));
        if (slot == NULL) {
            return NULL;
        }
        *slot = (Qcow2Table){.l1 = NO_INDEX};
        for (size_t i = 0; i < entries_of(qcow2); i++) {
            atomic_init(&slot->entries[i], 0);
        }
        g_ptr_array_add(cache->slots, slot);
    } else if (slot->l1 != NO_INDEX) {
        atomic_store_explicit(&qcow2->l2[slot->l1], NULL, memory_order_release);
    }
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
    atomic_store_explicit(&slot->pins, 1, memory_order_relaxed);
    slot->l1 = l1;
    slot->offset = offset;
    slot->first = slot->end = 0;
    return slot;
}

static void publish(BlockQcow2 *qcow2, Qcow2Table *slot)
{
    atomic_store_explicit(&slot->used, true, memory_order_relaxed);
    atomic_store_explicit(&qcow2->l2[slot->l1], slot, memory_order_release);
}

static bool is_loading(const Qcow2Cache *cache, uint64_t l1)
{
    for (const Qcow2Load *load = cache->loads; load != NULL; load = load->next) {
        if (load->l1 == l1) {
            return true;
        }
    }
    return false;
}

static void load_ends(Qcow2Cache *cache, Qcow2Load *load)
{
    Qcow2Load **link = &cache->loads;

    while (*link != load) {
        link = &(*link)->next;
    }
    *link = load->next;
    aio_co_queue_wake_all(&cache->loaded);
}

static int read_entries(BlockQcow2 *qcow2, Qcow2Table *slot)
{
    const size_t count = entries_of(qcow2), bytes = count * sizeof(uint64_t);
    g_autofree uint64_t *entries = NULL;
    int result;

    if (slot->offset & (qcow2_cluster_size(qcow2) - 1) ||
        !block_qcow2_is_in_file(qcow2, slot->offset, bytes)) {
        return -EIO;
    }
    entries = g_try_malloc(bytes);
    if (entries == NULL) {
        return -ENOMEM;
    }
    result = block_co_read(qcow2->file, entries, bytes, (int64_t)slot->offset);
    for (size_t i = 0; i < count && result == 0; i++) {
        atomic_store_explicit(&slot->entries[i], entries[i], memory_order_release);
    }
    return result;
}

/* The table of @offset, with one more pin if @pins. */
static int get_table(BlockQcow2 *qcow2, uint64_t offset, bool pins, Qcow2Table **table)
{
    Qcow2Cache *cache = &qcow2->cache;
    Qcow2Load load = {.l1 = qcow2_l1_index(qcow2, offset)};
    int result;

    aio_co_mutex_lock(&cache->lock);
    while ((*table = atomic_load_explicit(&qcow2->l2[load.l1], memory_order_relaxed)) == NULL &&
           is_loading(cache, load.l1)) {
        aio_co_queue_wait(&cache->loaded, &cache->lock);
    }
    if (*table != NULL) {
        atomic_fetch_add_explicit(&(*table)->pins, pins ? 1 : 0, memory_order_relaxed);
        aio_co_mutex_unlock(&cache->lock);
        return 0;
    }
    *table =
        take_slot(qcow2, load.l1, atomic_load_explicit(&qcow2->l1[load.l1], memory_order_acquire));
    if (*table == NULL) {
        aio_co_mutex_unlock(&cache->lock);
        return -ENOMEM;
    }
    load.next = cache->loads;
    cache->loads = &load;
    aio_co_mutex_unlock(&cache->lock);

    result = read_entries(qcow2, *table);

    aio_co_mutex_lock(&cache->lock);
    if (result == 0) {
        publish(qcow2, *table);
    } else {
        (*table)->l1 = NO_INDEX;
    }
    if (result < 0 || !pins) {
        block_qcow2_unpin(*table);
    }
    load_ends(cache, &load);
    aio_co_mutex_unlock(&cache->lock);
    return result;
}

int block_qcow2_load(BlockQcow2 *qcow2, uint64_t offset)
{
    Qcow2Table *table;

    return get_table(qcow2, offset, false, &table);
}

int block_qcow2_pin(BlockQcow2 *qcow2, uint64_t offset, Qcow2Table **table)
{
    return get_table(qcow2, offset, true, table);
}

void block_qcow2_unpin(Qcow2Table *table)
{
    atomic_fetch_sub_explicit(&table->pins, 1, memory_order_release);
}

Qcow2Table *block_qcow2_add_table(BlockQcow2 *qcow2, uint64_t l1, uint64_t place)
{
    Qcow2Table *table;

    aio_co_mutex_lock(&qcow2->cache.lock);
    table = take_slot(qcow2, l1, place);
    if (table != NULL) {
        for (size_t i = 0; i < entries_of(qcow2); i++) {
            atomic_store_explicit(&table->entries[i], 0, memory_order_release);
        }
        publish(qcow2, table);
        atomic_store_explicit(&qcow2->l1[l1], place, memory_order_release);
    }
    aio_co_mutex_unlock(&qcow2->cache.lock);
    return table;
}
