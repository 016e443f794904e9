/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * For tests of inodes whose descriptors are closed and opened again: a table on a directory of its
 * own, where each file holds a number of its own, so a wrong file shows.
 */
#ifndef SLUICE_TESTS_UNIT_INODE_PATH_UTIL_H
#define SLUICE_TESTS_UNIT_INODE_PATH_UTIL_H

#include <sys/resource.h>

#include <glib.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/resolve.h"

/** Of the table: beyond so many descriptors it closes some. */
enum { BUDGET = 8 };

typedef struct Fixture {
    FsInodeTable table;
    FsBackings backings;
    FsResolver resolver;
    FsInode *root;
    char *dir;
    int dir_fd;
} Fixture;

Fixture *fixture_new(void);

/** All inodes but the root have been put and forgotten. */
void fixture_free(Fixture *fixture);

/** Look @name up as a LOOKUP does, also that of the root (NULL). A reference and a lookup more. */
FsInode *look_up(Fixture *fixture, FsInode *parent, const char *name);

void put_and_forget(Fixture *fixture, FsInode *inode);

void write_number(int dir, const char *name, unsigned number);

/** The number in the file of @inode, or negative errno. */
int number_of(Fixture *fixture, FsInode *inode);

/** Allow @more descriptors besides those that are open; returns the limit to go back to. */
struct rlimit limit_descriptors(const Fixture *fixture, unsigned more);

#endif /* SLUICE_TESTS_UNIT_INODE_PATH_UTIL_H */
