/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of where the blocks of a file are: see runs.h.
 *
 * How it works: a sorted array under a mutex, which is held for a binary search, or for moving
 * the array's end when a piece is added. A piece is what one node of a tree covers; nodes do not
 * overlap as the tree is read (map.c), so neither do pieces.
 */
#include "fs/ext4/runs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#define RUNS_MAX   65536u /* known of a file: 1.5 MiB */
#define ROOM_LEAST 4u

struct Ext4Runs {
    pthread_mutex_t lock;
    Ext4Piece known;
};

int ext4_piece_init(Ext4Piece *piece, unsigned room)
{
    *piece = (Ext4Piece){.runs = g_try_new(Ext4KnownRun, room), .room = room};
    return piece->runs == NULL ? -ENOMEM : 0;
}

void ext4_piece_clear(Ext4Piece *piece)
{
    g_free(piece->runs);
    *piece = (Ext4Piece){0};
}

static bool has_blocks(uint64_t kind)
{
    return kind == EXT4_RUN_DATA || kind == EXT4_RUN_UNWRITTEN;
}

void ext4_piece_append(Ext4Piece *piece, uint64_t logical, uint64_t length, Ext4RunKind kind,
                       uint64_t physical)
{
    Ext4KnownRun *last = piece->count == 0 ? NULL : &piece->runs[piece->count - 1];

    if (last != NULL && last->kind == kind &&
        (!has_blocks(kind) || last->physical + last->length == physical)) {
        last->length += length;
        return;
    }
    g_assert(piece->count < piece->room);
    piece->runs[piece->count++] =
        (Ext4KnownRun){.logical = logical, .length = length, .kind = kind, .physical = physical};
}

/* How many runs begin at or before @logical. */
static unsigned count_before(const Ext4Piece *piece, uint64_t logical)
{
    unsigned low = 0, high = piece->count;

    while (low < high) {
        const unsigned middle = low + (high - low) / 2;

        if (piece->runs[middle].logical <= logical) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool ext4_piece_find(const Ext4Piece *piece, uint64_t logical, Ext4KnownRun *run)
{
    const unsigned before = count_before(piece, logical);
    uint64_t skip;

    if (before == 0) {
        return false;
    }
    *run = piece->runs[before - 1];
    skip = logical - run->logical;
    if (skip >= run->length) {
        return false;
    }
    run->logical = logical;
    run->length -= skip;
    run->physical += skip;
    return true;
}

Ext4Runs *ext4_runs_new(void)
{
    Ext4Runs *runs = calloc(1, sizeof(*runs));

    if (runs != NULL) {
        pthread_mutex_init(&runs->lock, NULL);
    }
    return runs;
}

void ext4_runs_free(Ext4Runs *runs)
{
    if (runs != NULL) {
        ext4_piece_clear(&runs->known);
        pthread_mutex_destroy(&runs->lock);
        free(runs);
    }
}

bool ext4_runs_find(Ext4Runs *runs, uint64_t logical, Ext4KnownRun *run)
{
    bool found;

    if (runs == NULL) {
        return false;
    }
    pthread_mutex_lock(&runs->lock);
    found = ext4_piece_find(&runs->known, logical, run);
    pthread_mutex_unlock(&runs->lock);
    return found;
}

/* Room for @count more runs; false: no memory. */
static bool make_room(Ext4Piece *known, unsigned count)
{
    unsigned room = MAX(known->room, ROOM_LEAST);
    Ext4KnownRun *runs;

    if (known->count + count <= known->room) {
        return true;
    }
    /* Most files have a few runs only, which are known at once. */
    room = known->count == 0 ? count : MAX(room * 2, known->count + count);
    runs = g_try_renew(Ext4KnownRun, known->runs, room);
    if (runs == NULL) {
        return false;
    }
    known->runs = runs;
    known->room = room;
    return true;
}

static bool insert_locked(Ext4Piece *known, const Ext4Piece *piece)
{
    Ext4KnownRun there;

    if (ext4_piece_find(known, piece->runs[0].logical, &there)) {
        return false;
    }
    if (known->count + piece->count > RUNS_MAX) {
        ext4_piece_clear(known);
    }
    if (!make_room(known, piece->count)) {
        return false;
    }
    const unsigned at = count_before(known, piece->runs[0].logical);
    memmove(known->runs + at + piece->count, known->runs + at,
            (known->count - at) * sizeof(*known->runs));
    memcpy(known->runs + at, piece->runs, piece->count * sizeof(*known->runs));
    known->count += piece->count;
    return true;
}

size_t ext4_runs_add(Ext4Runs *runs, const Ext4Piece *piece)
{
    size_t bytes = 0;

    if (runs == NULL || piece->count == 0) {
        return 0;
    }
    pthread_mutex_lock(&runs->lock);
    if (insert_locked(&runs->known, piece)) {
        bytes = sizeof(*runs) + runs->known.room * sizeof(*runs->known.runs);
    }
    pthread_mutex_unlock(&runs->lock);
    return bytes;
}
