/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What is known of where the blocks of a file are: runs in order, each of blocks of one kind that
 * lie next to each other. Any thread; nothing here waits for more than a look-up.
 */
#ifndef SLUICE_FS_EXT4_RUNS_H
#define SLUICE_FS_EXT4_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Ext4RunKind {
    EXT4_RUN_HOLE,
    EXT4_RUN_UNWRITTEN, /**< has blocks, which read as zeros */
    EXT4_RUN_DATA,
    EXT4_RUN_DAMAGED, /**< its blocks are outside of the file system */
} Ext4RunKind;

typedef struct Ext4KnownRun {
    uint64_t logical; /**< first block of the file */
    uint64_t length : 56, kind : 8;
    uint64_t physical; /**< first block of the disk, if there is any */
} Ext4KnownRun;

/** What one look at the disk has shown: runs without gaps in between. Zeroed memory at first. */
typedef struct Ext4Piece {
    Ext4KnownRun *runs;
    unsigned count, room;
} Ext4Piece;

/** Room for @room runs. 0 or -ENOMEM. */
int ext4_piece_init(Ext4Piece *piece, unsigned room);
void ext4_piece_clear(Ext4Piece *piece);

/** Add a run behind the others, to the last one if it continues that. There must be room. */
void ext4_piece_append(Ext4Piece *piece, uint64_t logical, uint64_t length, Ext4RunKind kind,
                       uint64_t physical);

/** The rest from block @logical on of the run that it is in; false: it is in none. */
bool ext4_piece_find(const Ext4Piece *piece, uint64_t logical, Ext4KnownRun *run);

/** What is known of one file. */
typedef struct Ext4Runs Ext4Runs;

/** NULL: no memory, which is fine everywhere: nothing will be known. */
Ext4Runs *ext4_runs_new(void);
void ext4_runs_free(Ext4Runs *runs);

/** As ext4_piece_find(). */
bool ext4_runs_find(Ext4Runs *runs, uint64_t logical, Ext4KnownRun *run);

/**
 * Add a piece, whose blocks are all known already, or none of them. Where too much is known
 * everything else is forgotten. The bytes that all takes now; 0: as before.
 */
size_t ext4_runs_add(Ext4Runs *runs, const Ext4Piece *piece);

#endif /* SLUICE_FS_EXT4_RUNS_H */
