/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Slot tables.
 *
 * How it works: chunks of slots are allocated as needed and stay until the
 * table is freed, so a slot is always memory of a slot, whatever number was
 * presented. The state word joins generation and references: fs_slots_get()
 * raises the references by compare-and-swap only while the generation is the
 * one asked for and the references are not zero.
 *
 * Ordering: fs_slot_publish() releases what the owner wrote into the object;
 * fs_slots_get() acquires it. fs_slot_unref() is acquire-release, so the one
 * who drops the last reference sees what every other holder wrote. A released
 * slot gets its new generation before it can be allocated again.
 */
#include "fs/passthrough/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define REFERENCES(state) ((uint32_t)(state))
#define GENERATION(state) ((uint32_t)((state) >> 32))

void fs_slots_init(FsSlotTable *table, size_t slot_size)
{
    memset(table, 0, sizeof(*table));
    table->slot_size = slot_size;
    pthread_mutex_init(&table->lock, NULL);
}

void fs_slots_fini(FsSlotTable *table)
{
    for (unsigned i = 0; i < FS_SLOT_CHUNKS; i++) {
        free(atomic_load_explicit(&table->chunks[i], memory_order_relaxed));
    }
    pthread_mutex_destroy(&table->lock);
}

static FsSlot *slot_at(FsSlotTable *table, uint32_t index)
{
    if (index / FS_SLOTS_PER_CHUNK >= FS_SLOT_CHUNKS) {
        return NULL;
    }
    char *chunk =
        atomic_load_explicit(&table->chunks[index / FS_SLOTS_PER_CHUNK], memory_order_acquire);
    if (!chunk) {
        return NULL;
    }
    return (FsSlot *)(chunk + (index % FS_SLOTS_PER_CHUNK) * table->slot_size);
}

/* A slot that was never used before; allocates its chunk. */
static FsSlot *fresh_slot_locked(FsSlotTable *table)
{
    uint32_t index = table->used;
    uint32_t chunk_index = index / FS_SLOTS_PER_CHUNK;
    if (chunk_index >= FS_SLOT_CHUNKS) {
        return NULL;
    }
    if (index % FS_SLOTS_PER_CHUNK == 0) {
        char *chunk = calloc(FS_SLOTS_PER_CHUNK, table->slot_size);
        if (!chunk) {
            return NULL;
        }
        for (uint32_t i = 0; i < FS_SLOTS_PER_CHUNK; i++) {
            ((FsSlot *)(chunk + i * table->slot_size))->index = index + i;
        }
        atomic_store_explicit(&table->chunks[chunk_index], chunk, memory_order_release);
    }
    table->used++;
    return slot_at(table, index);
}

FsSlot *fs_slots_alloc(FsSlotTable *table)
{
    pthread_mutex_lock(&table->lock);
    FsSlot *slot;
    if (table->first_free) {
        slot = slot_at(table, table->first_free - 1);
        table->first_free = slot->next_free;
        slot->next_free = 0;
    } else {
        slot = fresh_slot_locked(table);
    }
    pthread_mutex_unlock(&table->lock);
    if (slot) {
        atomic_fetch_add_explicit(&table->live, 1, memory_order_relaxed);
    }
    return slot;
}

void fs_slot_publish(FsSlot *slot)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    assert(REFERENCES(state) == 0);
    atomic_store_explicit(&slot->state, state + 1, memory_order_release);
}

void fs_slots_release(FsSlotTable *table, FsSlot *slot)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    assert(REFERENCES(state) == 0);
    uint64_t next = (uint64_t)(GENERATION(state) + 1) << 32;
    atomic_store_explicit(&slot->state, next, memory_order_relaxed);
    atomic_fetch_sub_explicit(&table->live, 1, memory_order_relaxed);

    pthread_mutex_lock(&table->lock);
    slot->next_free = table->first_free;
    table->first_free = slot->index + 1;
    pthread_mutex_unlock(&table->lock);
}

uint32_t fs_slot_generation(const FsSlot *slot)
{
    return GENERATION(atomic_load_explicit(&slot->state, memory_order_relaxed));
}

uint64_t fs_slot_id(const FsSlot *slot)
{
    return (uint64_t)fs_slot_generation(slot) << 32 | (uint64_t)(slot->index + 1);
}

static bool try_ref(FsSlot *slot, bool any_generation, uint32_t generation)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    do {
        if (REFERENCES(state) == 0 || (!any_generation && GENERATION(state) != generation)) {
            return false;
        }
        assert(REFERENCES(state) != UINT32_MAX);
    } while (!atomic_compare_exchange_weak_explicit(&slot->state, &state, state + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

FsSlot *fs_slots_get(FsSlotTable *table, uint64_t id)
{
    uint32_t number = (uint32_t)id;
    if (number == 0) {
        return NULL;
    }
    FsSlot *slot = slot_at(table, number - 1);
    if (!slot || !try_ref(slot, false, (uint32_t)(id >> 32))) {
        return NULL;
    }
    return slot;
}

bool fs_slot_try_ref(FsSlot *slot)
{
    return try_ref(slot, true, 0);
}

bool fs_slot_unref(FsSlot *slot)
{
    uint64_t before = atomic_fetch_sub_explicit(&slot->state, 1, memory_order_acq_rel);
    assert(REFERENCES(before) != 0);
    return REFERENCES(before) == 1;
}

uint32_t fs_slot_references(const FsSlot *slot)
{
    return REFERENCES(atomic_load_explicit(&slot->state, memory_order_relaxed));
}

uint32_t fs_slots_end(FsSlotTable *table)
{
    pthread_mutex_lock(&table->lock);
    uint32_t end = table->used;
    pthread_mutex_unlock(&table->lock);
    return end;
}

FsSlot *fs_slots_at(FsSlotTable *table, uint32_t index)
{
    FsSlot *slot = slot_at(table, index);
    return slot && fs_slot_try_ref(slot) ? slot : NULL;
}

uint32_t fs_slots_live(const FsSlotTable *table)
{
    return atomic_load_explicit(&table->live, memory_order_relaxed);
}

void fs_slots_foreach(FsSlotTable *table, void (*fn)(FsSlot *slot, void *opaque), void *opaque)
{
    for (uint32_t index = 0; index < table->used; index++) {
        FsSlot *slot = slot_at(table, index);
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (REFERENCES(state) != 0) {
            fn(slot, opaque);
        }
    }
}
