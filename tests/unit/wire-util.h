/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Sessions against an invented kernel: the test holds the other end of a socket
 * in place of /dev/fuse, and sends what a kernel would, or never would.
 */
#ifndef SLUICE_TESTS_UNIT_WIRE_UTIL_H
#define SLUICE_TESTS_UNIT_WIRE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/session/kernel-abi.h"
#include "mount-util.h"
#include "probe-fs.h"

/** fs/null numbers its files from here: null, direct, async, helper. */
enum { NULL_DIRECT = 3, NULL_ASYNC };

typedef struct Wire {
    int fd; /* our end */
    FsSession *session;
    bool ready, ended;
    int error;
    uint64_t unique;
    /* the last answer */
    struct fuse_out_header header;
    char body[128 * 1024];
} Wire;

/** Call first in main() instead of test_init(): what sessions say of a socket is not shown. */
void wire_test_init(int *argc, char ***argv);

/** Run the tests; returns the status of the program. */
int wire_test_run(void);

/** A GLogFunc that says nothing. */
void wire_drop_message(const char *domain, GLogLevelFlags level, const char *text, gpointer opaque);

/** Start a session; it waits for INIT. */
void wire_open(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads);
void wire_open_null(Wire *wire, unsigned threads); /**< of fs/null */

/** The same, and have it answer INIT. */
void wire_up(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads);
void wire_up_null(Wire *wire, unsigned threads); /**< of fs/null */

/** Hang up, wait for the end, which is with @error, and free the session. */
void wire_close(Wire *wire, int error);

/** Send a message as it is. */
void wire_send_raw(Wire *wire, const void *message, size_t length);

/** Send a request with this body; returns its unique number. */
uint64_t wire_send(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body, size_t length);

/** Wait for an answer; returns the length of its body. */
size_t wire_receive(Wire *wire);

/** Request and answer; the error of the answer, positive. */
int wire_call(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body, size_t length);

/** INIT of this version. */
int wire_call_init(Wire *wire, uint32_t major, uint32_t minor);

#endif /* SLUICE_TESTS_UNIT_WIRE_UTIL_H */
