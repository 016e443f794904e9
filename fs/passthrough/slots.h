/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsSlotTable: objects with numbers that anybody may present.
 *
 * A number is generation << 32 | index + 1. Turning a number into an object
 * takes no lock and fails safely for numbers that were never given out or
 * whose object is gone.
 */
#ifndef SLUICE_FS_PASSTHROUGH_SLOTS_H
#define SLUICE_FS_PASSTHROUGH_SLOTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FS_SLOTS_PER_CHUNK 1024u
#define FS_SLOT_CHUNKS     16384u

/** First member of every object in a table. */
typedef struct FsSlot {
    _Atomic uint64_t state; /**< generation << 32 | references */
    uint32_t index;
    uint32_t next_free; /**< index + 1 of the next free slot, 0: none */
} FsSlot;

typedef struct FsSlotTable {
    size_t slot_size;
    pthread_mutex_t lock; /**< allocation and release only */
    uint32_t first_free;  /**< index + 1, 0: none */
    uint32_t used;        /**< slots that were given out at least once */
    _Atomic uint32_t live;
    _Atomic(char *) chunks[FS_SLOT_CHUNKS];
} FsSlotTable;

/** @slot_size: of the object, which begins with an FsSlot. */
void fs_slots_init(FsSlotTable *table, size_t slot_size);

/** Free the memory. What the objects own must have been released before. */
void fs_slots_fini(FsSlotTable *table);

/**
 * A slot for a new object, with no references: not yet to be found by its
 * number. Beyond the FsSlot it holds what its last user left, or zeros. NULL:
 * no memory or no numbers left. Any thread.
 */
FsSlot *fs_slots_alloc(FsSlotTable *table);

/** Make @slot findable, with one reference, which the caller holds. */
void fs_slot_publish(FsSlot *slot);

/** Return a slot without references; its number becomes invalid. Any thread. */
void fs_slots_release(FsSlotTable *table, FsSlot *slot);

/** The number of a slot. Caller holds a reference or has just allocated it. */
uint64_t fs_slot_id(const FsSlot *slot);

/** The generation within the number. */
uint32_t fs_slot_generation(const FsSlot *slot);

/** Take a reference on the object @id names; NULL if there is none. Any thread. */
FsSlot *fs_slots_get(FsSlotTable *table, uint64_t id);

/** One more reference for one who has found the slot otherwise; false if it had none left. */
bool fs_slot_try_ref(FsSlot *slot);

/** Drop a reference. True: it was the last, the caller clears up and releases the slot. */
bool fs_slot_unref(FsSlot *slot);

/** References at this moment. Caller holds one. */
uint32_t fs_slot_references(const FsSlot *slot);

/** Slots ever used have indices below this. Any thread. */
uint32_t fs_slots_end(FsSlotTable *table);

/** Take a reference on whatever is at @index; NULL: nothing is. Any thread. */
FsSlot *fs_slots_at(FsSlotTable *table, uint32_t index);

/** Slots with references. Any thread; a snapshot. */
uint32_t fs_slots_live(const FsSlotTable *table);

/**
 * Call @fn for each slot that has references. For clearing up: nobody else
 * may use the table; @fn may release the slot.
 */
void fs_slots_foreach(FsSlotTable *table, void (*fn)(FsSlot *slot, void *opaque), void *opaque);

#endif /* SLUICE_FS_PASSTHROUGH_SLOTS_H */
