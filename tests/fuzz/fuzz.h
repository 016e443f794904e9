/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What the fuzz harnesses share.
 *
 * A harness is a file fuzz-NAME.c that defines LLVMFuzzerTestOneInput(). It is linked with
 * libFuzzer (-Dfuzzers=enabled, clang), or with replay.c, which plays the corpus and a fixed
 * sequence of changes of it and is a test.
 */
#ifndef SLUICE_TESTS_FUZZ_FUZZ_H
#define SLUICE_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "fs/block/node.h"

#define FUZZ_SECTOR 512u

/** What is to be tried, with any input. 0. The name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** The thread's context, made when first asked for; the log is silent from then on. */
AioContext *fuzz_context(void);

/** Run an initialised request. Its result, which is 0 or less. */
int fuzz_run(BlockNode *node, BlockRequest *request);

/** A read-only node over bytes in memory, which must outlive it. */
BlockNode *fuzz_memory_node_new(const uint8_t *bytes, size_t size);

/** A raw node over a copy of the bytes in a file in memory. */
BlockNode *fuzz_file_node_new(const uint8_t *bytes, size_t size);

/** Close the raw node @file; a new, read-only one over what its file is now. */
BlockNode *fuzz_file_node_reopen(BlockNode *file);

/**
 * A packed disk: the number of its sectors (32 bits, little-endian), then its sectors that are not
 * zero, each as its number (32 bits) and 512 bytes. So a large disk is a small input.
 */
typedef struct FuzzDisk {
    BlockNode node;
    uint8_t *input; /* owned copy */
    size_t records;
} FuzzDisk;

/** A disk out of an input, NULL if the input is too short or too long. Unref its node. */
FuzzDisk *fuzz_disk_new(const uint8_t *data, size_t size);

/** Sector @number as it is stored, to look at or to change; NULL: zeros. */
uint8_t *fuzz_disk_sector(FuzzDisk *disk, uint64_t number);

/** The same disk as a sparse file in memory. */
BlockNode *fuzz_disk_to_file(FuzzDisk *disk);

/** Read the partition table of @disk and check what must hold for any. */
void fuzz_check_table(BlockNode *disk);

#endif /* SLUICE_TESTS_FUZZ_FUZZ_H */
