/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Open a file system and look at everything in it: for tests of damaged ones. */
#ifndef SLUICE_TESTS_EXT4_WALK_H
#define SLUICE_TESTS_EXT4_WALK_H

#include "fs/block/node.h"

/**
 * Names, attributes, content and holes of what is in @node, until @budget inodes, entries and
 * pieces of files have been seen. On a thread with @ctx. How many files there were; -1: it
 * was refused.
 */
int ext4_walk(AioContext *ctx, BlockNode *node, unsigned budget);

#endif /* SLUICE_TESTS_EXT4_WALK_H */
