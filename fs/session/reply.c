/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers: from libfuse's writev callback to the transport.
 *
 * How it works: libfuse calls back with a fuse_out_header and the answer's
 * body, on the stack of the thread that answers. That thread's current
 * request (request.c) tells where it belongs, if its unique number is the one
 * in the header. On the way INIT is completed and open flags are added.
 *
 * Three more kinds of message come this way:
 *  - unique 0: a notification. Any descriptor of the connection will do; it
 *    goes to the one libfuse holds.
 *  - an INTERRUPT's own unique number: libfuse gives up on an INTERRUPT whose
 *    request it has not seen, and asks the kernel to send it again. The kernel
 *    looks for the interrupted request in the clone that the answer is
 *    written to, and we do not know which that is: try all.
 *  - anything else is an answer outside of a bracket, a bug of the file
 *    system; it is not delivered.
 */
#include "fs/session/reply.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "fs/session/init.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/session-internal.h"
#include "fs/session/transport-choice.h"

static size_t total_length(const struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

/** libfuse 3.14 has no field for some open flags: OR them into fuse_open_out. */
static void patch_open_flags(FsRequest *request, struct iovec *body)
{
    struct fuse_open_out *out;

    switch (request->opcode) {
    case FUSE_OPEN:
    case FUSE_OPENDIR:
    case FUSE_CREATE:
    case FUSE_TMPFILE:
        /* alone, or behind the fuse_entry_out of a created file */
        if (body->iov_len >= sizeof(*out)) {
            out = (void *)((char *)body->iov_base + body->iov_len - sizeof(*out));
            out->open_flags |= request->open_flags;
            if (request->open_flags & FS_FOPEN_PASSTHROUGH) {
                fs_fuse_set_backing_id(out, request->backing_id);
            }
        }
        break;
    default:
        break;
    }
}

static void complete_init(FsSession *session, const struct iovec *body)
{
    const FsFilesystem *filesystem = session->filesystem;

    fs_init_patch(filesystem, session->want_flags | fs_choice_init_flags(session), body->iov_base,
                  body->iov_len, &session->init);
    if (filesystem->settled != NULL && session->init.max_write != 0) {
        filesystem->settled(session->params.userdata, &session->init);
    }
}

static int answer(FsRequest *request, struct iovec *iov, int count)
{
    const struct fuse_out_header *header = iov[0].iov_base;
    FsSession *session = fs_request_session(request);
    FsTransport *transport = request->transport;
    const bool is_init = request->opcode == FUSE_INIT;
    const int error = -header->error;

    request->error = error;
    fs_request_mark_answered(request, header->len);
    if (error == 0 && count > 1) {
        if (is_init) {
            complete_init(session, &iov[1]);
        } else if (request->open_flags != 0) {
            patch_open_flags(request, &iov[1]);
        }
    }

    int result = transport->ops->reply(transport, request, iov, count);
    if (is_init) {
        fs_session_init_answered(session, error ? error : -result);
    }
    return result;
}

/** Tell the kernel to send an INTERRUPT again; see the head of this file. */
static void repeat_interrupt(FsSession *session, const struct iovec *iov, int count)
{
    for (unsigned i = 0; i < session->worker_count; i++) {
        FsTransport *transport = session->workers[i].transport;
        if (transport->ops->send(transport, iov, count) == 0) {
            return;
        }
    }
}

static ssize_t reply_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    const struct fuse_out_header *header = iov[0].iov_base;
    FsRequest *request = fs_request_current();
    ssize_t total = (ssize_t)total_length(iov, count);

    if (request != NULL && request->opcode == FS_REQUEST_NO_OPCODE) {
        request->used += header->unique != request->unique;
        return total;
    }
    if (header->unique == 0) {
        return writev(fd, iov, count);
    }
    if (request != NULL && header->unique == request->unique) {
        if (answer(request, iov, count) == 0) {
            return total;
        }
    } else if (request != NULL && (header->unique & FS_FUSE_INTERRUPT_BIT)) {
        repeat_interrupt(fs_request_session(request), iov, count);
        return total;
    } else if (!(header->unique & FS_FUSE_INTERRUPT_BIT)) {
        g_critical("answer to request %" G_GUINT64_FORMAT
                   " outside of its operation, without fs_request_enter()",
                   (guint64)header->unique);
        assert(!"answer outside of fs_request_enter()");
    }
    errno = ENOENT; /* libfuse: nobody waits for the answer */
    return -1;
}

/** libfuse insists on having this; requests are read by the transports. */
static ssize_t reply_read(int fd, void *buf, size_t length, void *userdata)
{
    return read(fd, buf, length);
}

int fs_reply_install(struct fuse_session *fuse)
{
    const struct fuse_custom_io io = {.writev = reply_writev, .read = reply_read};
    return fuse_session_custom_io(fuse, &io, fuse_session_fd(fuse));
}

void fs_reply_raw_error(FsRequest *request, int error)
{
    struct fuse_out_header header = {
        .len = sizeof(header),
        .error = -error,
        .unique = request->unique,
    };
    struct iovec iov = {.iov_base = &header, .iov_len = sizeof(header)};
    answer(request, &iov, 1);
}
