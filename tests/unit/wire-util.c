/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's part of a session, played by a test: see wire-util.h. */
#include "wire-util.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/null/null.h"
#include "util.h"

static FsNull *null_userdata;

void wire_drop_message(const char *domain, GLogLevelFlags level, const char *text, gpointer opaque)
{
}

void wire_test_init(int *argc, char ***argv)
{
    test_init(argc, argv);
    /* a socket has no clones */
    g_log_set_handler("sluicefs", G_LOG_LEVEL_MESSAGE, wire_drop_message, NULL);
    null_userdata = fs_null_new();
}

int wire_test_run(void)
{
    int status = g_test_run();
    fs_null_free(null_userdata);
    return status;
}

static void wire_ready(FsSession *session, void *opaque)
{
    Wire *wire = opaque;
    wire->ready = true;
}

static void wire_ended(FsSession *session, int error, void *opaque)
{
    Wire *wire = opaque;
    wire->ended = true;
    wire->error = error;
}

void wire_open(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads)
{
    const struct timeval limit = {.tv_sec = 20};
    int fds[2];
    GError *error = NULL;
    FsSessionParams params;

    *wire = (Wire){.unique = 2};
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
    wire->fd = fds[0];
    g_assert_cmpint(setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);

    g_autofree char *mountpoint = g_strdup_printf("/dev/fd/%d", fds[1]);
    fs_session_params_init(&params);
    test_context_params(&params.context);
    params.filesystem = filesystem;
    params.userdata = userdata;
    params.mountpoint = mountpoint;
    params.threads = threads;
    params.ready = wire_ready;
    params.ended = wire_ended;
    params.opaque = wire;
    wire->session = fs_session_new(&params, &error);
    g_assert_no_error(error);
    g_assert_true(fs_session_mount(wire->session, &error));
    g_assert_no_error(error);
    g_assert_true(fs_session_start(wire->session, &error));
    g_assert_no_error(error);
}

void wire_open_null(Wire *wire, unsigned threads)
{
    wire_open(wire, fs_null_filesystem(), null_userdata, threads);
}

void wire_close(Wire *wire, int error)
{
    close(wire->fd);
    test_mount_until(wire->ended);
    g_assert_cmpint(wire->error, ==, error);
    fs_session_free(wire->session);
}

void wire_send_raw(Wire *wire, const void *message, size_t length)
{
    g_assert_cmpint(send(wire->fd, message, length, MSG_NOSIGNAL), ==, (ssize_t)length);
}

uint64_t wire_send(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body, size_t length)
{
    char message[64 * 1024];
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + length),
        .opcode = opcode,
        .unique = wire->unique,
        .nodeid = nodeid,
    };

    g_assert_cmpuint(sizeof(header) + length, <=, sizeof(message));
    memcpy(message, &header, sizeof(header));
    if (length > 0) {
        memcpy(message + sizeof(header), body, length);
    }
    wire_send_raw(wire, message, sizeof(header) + length);
    wire->unique += 2;
    return header.unique;
}

size_t wire_receive(Wire *wire)
{
    struct iovec iov[2] = {{&wire->header, sizeof(wire->header)}, {wire->body, sizeof(wire->body)}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t length;

    /* With a receive timeout the kernel does not restart the call by itself after task work. */
    do {
        length = recvmsg(wire->fd, &message, 0);
    } while (length < 0 && errno == EINTR);
    g_assert_cmpint(length, >=, (ssize_t)sizeof(wire->header));
    g_assert_cmpuint(wire->header.len, ==, (uint32_t)length);
    return (size_t)length - sizeof(wire->header);
}

int wire_call(Wire *wire, uint32_t opcode, uint64_t nodeid, const void *body, size_t length)
{
    uint64_t unique = wire_send(wire, opcode, nodeid, body, length);
    size_t received = wire_receive(wire);

    g_assert_cmpuint(wire->header.unique, ==, unique);
    g_assert_true(wire->header.error == 0 || received == 0);
    return -wire->header.error;
}

int wire_call_init(Wire *wire, uint32_t major, uint32_t minor)
{
    const struct fuse_init_in init = {
        .major = major,
        .minor = minor,
        .max_readahead = 131072,
        .flags = ~0u & ~(1u << 31),
        .flags2 = ~0u,
    };
    return wire_call(wire, FUSE_INIT, 0, &init, sizeof(init));
}

void wire_up(Wire *wire, const FsFilesystem *filesystem, void *userdata, unsigned threads)
{
    wire_open(wire, filesystem, userdata, threads);
    g_assert_cmpint(wire_call_init(wire, 7, 45), ==, 0);
    test_mount_until(wire->ready);
}

void wire_up_null(Wire *wire, unsigned threads)
{
    wire_up(wire, fs_null_filesystem(), null_userdata, threads);
}
