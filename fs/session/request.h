/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsRequest: one FUSE request, from arrival to its only answer.
 *
 * A file system's operations are libfuse low-level callbacks. While one runs,
 * fs_request_current() is its request. An operation may answer before it
 * returns, or keep the FsRequest and answer later from the worker that
 * received it (a completion callback) or from a helper thread
 * (fs_request_offload()).
 *
 * Until the answer, strings and payload handed to the operation stay valid,
 * because they lie in the request's buffer; structures that libfuse built on
 * its stack (struct fuse_file_info, struct stat, struct fuse_bufvec) do not.
 *
 * Every request is answered exactly once; debug builds abort where one is
 * answered twice or leaked.
 */
#ifndef SLUICE_FS_SESSION_REQUEST_H
#define SLUICE_FS_SESSION_REQUEST_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <stdbool.h>
#include <stdint.h>

#include "aio/io.h"
#include "aio/pool.h"

typedef struct FsRequest FsRequest;
typedef struct FsSession FsSession;

/** The request that the calling thread is handling, or NULL. */
FsRequest *fs_request_current(void);

/** libfuse's handle, for fuse_req_ctx() and fuse_reply_*(). */
fuse_req_t fs_request_fuse(const FsRequest *request);

FsSession *fs_request_session(const FsRequest *request);

/** FUSE_READ, FUSE_WRITE, ... as the kernel sent it (also FUSE_STATX, FUSE_TMPFILE). */
uint32_t fs_request_opcode(const FsRequest *request);

/**
 * Whether the file system must drop the set-user-id and set-group-id bits as
 * part of this WRITE, OPEN, CREATE or SETATTR: the duty that comes with
 * FUSE_HANDLE_KILLPRIV_V2, which every session negotiates. libfuse 3.14 does
 * not pass it on for WRITE and OPEN.
 */
bool fs_request_kills_suidgid(const FsRequest *request);

/**
 * Whether a SETXATTR of system.posix_acl_access must drop the set-group-id bit:
 * the caller is not in the file's group. For a file system that wants
 * FUSE_SETXATTR_EXT with FUSE_POSIX_ACL.
 */
bool fs_request_acl_kills_sgid(const FsRequest *request);

/**
 * The supplementary group of the caller that the new file's directory belongs
 * to, if it is in one: sent with CREATE, TMPFILE, MKNOD, MKDIR and SYMLINK to a
 * file system that wants FS_FUSE_CREATE_SUPP_GROUP. False: none.
 */
bool fs_request_supplementary_group(const FsRequest *request, gid_t *group);

/** The context of the worker that received the request. */
AioContext *fs_request_context(const FsRequest *request);

/** The request's embedded I/O request; find the way back with fs_request_from_io(). */
AioIo *fs_request_io(FsRequest *request);
FsRequest *fs_request_from_io(AioIo *io);

/** One pointer for the operation's own use between calls. */
void fs_request_set_data(FsRequest *request, void *data);
void *fs_request_get_data(const FsRequest *request);

/**
 * Room for more of the operation's own state, so that a request needs no
 * allocation: FS_REQUEST_SCRATCH bytes aligned as from malloc(), of undefined
 * content at the start, valid until the answer.
 */
#define FS_REQUEST_SCRATCH 768
void *fs_request_scratch(FsRequest *request);

/**
 * The request as it came, for what libfuse 3.14 does not show (write and open
 * flags, extensions): fuse_in_header and all arguments, *length bytes. Valid
 * until fs_request_data_buffer() or the answer.
 */
const void *fs_request_raw(FsRequest *request, size_t *length);

/**
 * A page-aligned buffer of at least @size bytes (at most the session's
 * max_write) for the data of a READ, sent by fs_request_reply_data() without
 * a copy. It replaces the request's payload, which is no longer valid. NULL:
 * @size is too large.
 */
void *fs_request_data_buffer(FsRequest *request, size_t size);

/** Answer with the first @length bytes of fs_request_data_buffer(). */
void fs_request_reply_data(FsRequest *request, size_t length);

/** Answer a WRITE with the number of bytes written. */
void fs_request_reply_write(FsRequest *request, size_t length);

/** Answer with @error (a positive errno; 0: success without data). */
void fs_request_reply_error(FsRequest *request, int error);

/**
 * Bracket any other fuse_reply_*() call made outside of the operation itself:
 * makes @request the calling thread's current one and keeps it alive until
 * fs_request_leave(). Returns what to pass to fs_request_leave().
 *
 * Outside of a bracket or the operation, an answered request may be gone at
 * once. fuse_reply_*() returns -ENOENT when the answer could not be delivered
 * because the connection is gone: an OPEN or CREATE then has no RELEASE.
 */
FsRequest *fs_request_enter(FsRequest *request) G_GNUC_WARN_UNUSED_RESULT;
void fs_request_leave(FsRequest *previous);

typedef void FsOffloadFn(FsRequest *request, void *opaque);

/**
 * Run @fn on a helper thread, with @request current there. @fn answers the
 * request before it returns. @opaque: freed by nobody.
 */
void fs_request_offload(FsRequest *request, AioPool *pool, FsOffloadFn *fn, void *opaque);

/**
 * @request waits for another request (a lock for its unlock): it no longer counts among
 * those that a worker may hold, or the other one might not be read. Home thread; at most once.
 */
void fs_request_park(FsRequest *request);

#endif /* SLUICE_FS_SESSION_REQUEST_H */
