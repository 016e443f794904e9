/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that a server shows by NBD.
 *
 * How it works: libnbd's state machine for a connection is driven by whoever has requests on it.
 * The first one's context becomes the connection's owner: the socket is a handler of that loop,
 * for the direction that libnbd wants, until no request is left; then anybody can be the next
 * owner. So a connection that nobody uses belongs to no thread. Requests of other threads
 * meanwhile travel to the owner by a bottom half, and their answers back. A server that allows
 * several connections gets one for each worker, and then nothing travels.
 *
 * libnbd calls back from inside of its calls, with its lock held: command_done() only
 * puts requests that have no command under way on the list "finished". settle(), after each call
 * into libnbd, goes on with those that are not done and completes the others, at
 * its very end: what a completion does may find the connection with another owner.
 *
 * When the server is gone libnbd fails all commands under way, and those to come: EIO.
 */
#include "fs/block/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <gio/gio.h>

#include "aio/bh.h"
#include "aio/handler.h"
#include "fs/block/nbd-connect.h"

#define COMMAND_MAX     (32u * 1024 * 1024)   /* bytes of data, which every server takes */
#define RANGE_MAX       (1024u * 1024 * 1024) /* without data; less than 32 bits can say */
#define ZERO_BUFFER     (64 * 1024)
#define CONNECTIONS_MAX 16u

typedef struct BlockNbd BlockNbd;

typedef struct NbdConnection {
    BlockNbd *nbd;
    struct nbd_handle *handle;
    int fd; /* a duplicate: libnbd closes its own when the server is gone */
    pthread_mutex_t lock;
    _Atomic(AioContext *) owner; /* NULL: nobody; changes under the lock */
    unsigned users;              /* requests on this connection; under the lock */
    /* the owner's */
    unsigned watched;       /* directions that the loop looks at */
    BlockRequest *finished; /* without a command under way */
    bool dead;
} NbdConnection;

struct BlockNbd {
    BlockNode node;
    NbdServer server;
    _Atomic(bool) told;                       /* that the server is gone */
    _Atomic(uint64_t) writes, flushed_writes; /* how many are done; of them durable */
    unsigned count;
    NbdConnection connections[CONNECTIONS_MAX];
};

static const char zeros[ZERO_BUFFER];

static BlockNbd *nbd_of(BlockNode *node)
{
    return aio_container_of(node, BlockNbd, node);
}

static NbdConnection *connection_of(const BlockRequest *request)
{
    return request->remote.connection;
}

/* --- commands --- */

/* One command less is under way. */
static void command_ended(BlockRequest *request, int error)
{
    NbdConnection *connection = connection_of(request);

    if (error != 0 && request->result == 0) {
        request->result = -error;
    }
    request->remote.pending--;
    if (request->remote.pending == 0) {
        request->remote.next = connection->finished;
        connection->finished = request;
    }
}

/* From inside of libnbd. */
static int command_done(void *opaque, int *error)
{
    command_ended(opaque, *error);
    return 1; /* libnbd may forget the command */
}

/* Begin a command; @cookie is what libnbd says to it. */
static void command_begun(BlockRequest *request, int64_t cookie)
{
    if (cookie < 0) {
        const int number = nbd_get_errno();

        command_ended(request, number == 0 ? EIO : number);
    }
}

static nbd_completion_callback completion(BlockRequest *request)
{
    request->remote.pending++;
    return (nbd_completion_callback){.callback = command_done, .user_data = request};
}

/* All of the request's memory at once, in as many commands as it has pieces. */
static void send_data(struct nbd_handle *handle, BlockRequest *request, uint32_t flags)
{
    uint64_t at = (uint64_t)request->offset;

    for (unsigned i = 0; i < request->iov_count; i++) {
        char *base = request->iov[i].iov_base;

        for (size_t left = request->iov[i].iov_len; left > 0;) {
            const size_t bytes = MIN(left, COMMAND_MAX);
            const nbd_completion_callback done = completion(request);

            command_begun(request, request->op == BLOCK_READ
                                       ? nbd_aio_pread(handle, base, bytes, at, done, 0)
                                       : nbd_aio_pwrite(handle, base, bytes, at, done, flags));
            base += bytes;
            at += bytes;
            left -= bytes;
        }
    }
    request->remote.progress = request->length;
}

/* The next part of a range without data. */
static void send_range(const BlockNbd *nbd, struct nbd_handle *handle, BlockRequest *request,
                       uint32_t flags)
{
    const uint64_t left = request->length - request->remote.progress;
    const uint64_t at = (uint64_t)request->offset + request->remote.progress;
    const nbd_completion_callback done = completion(request);
    uint64_t bytes = MIN(left, RANGE_MAX);

    if (request->op == BLOCK_DISCARD) {
        command_begun(request, nbd_aio_trim(handle, bytes, at, done, 0));
    } else if (nbd->server.can_zero) {
        flags |= request->flags & BLOCK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
        command_begun(request, nbd_aio_zero(handle, bytes, at, done, flags));
    } else {
        bytes = MIN(left, sizeof(zeros));
        command_begun(request, nbd_aio_pwrite(handle, zeros, bytes, at, done, flags));
    }
    request->remote.progress += bytes;
}

/* From inside of libnbd: what the range is, from its beginning on. Entries: length, flags. */
static int extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                   size_t count, int *error)
{
    BlockRequest *request = opaque;

    for (size_t i = 0; i + 1 < count; i += 2) {
        const unsigned status = (entries[i + 1] & LIBNBD_STATE_ZERO ? 0 : BLOCK_STATUS_DATA) |
                                (entries[i + 1] & LIBNBD_STATE_HOLE ? 0 : BLOCK_STATUS_ALLOCATED);

        if (request->run > 0 && status != request->status) {
            break;
        }
        request->status = status;
        request->run = MIN(request->run + entries[i], request->length);
    }
    return 0;
}

/* Send what comes next for @request. On the owner's thread. */
static void send_next(NbdConnection *connection, BlockRequest *request)
{
    const BlockNbd *nbd = connection->nbd;
    struct nbd_handle *handle = connection->handle;
    const bool fua = (request->flags & BLOCK_FUA) != 0;
    const uint32_t flags = fua && nbd->server.can_fua ? LIBNBD_CMD_FLAG_FUA : 0;

    request->remote.pending = 1; /* until all are sent */
    if (request->remote.progress == request->length || request->op == BLOCK_FLUSH) {
        request->remote.flushed = true;
        request->remote.writes = atomic_load(&nbd->writes);
        command_begun(request, nbd_aio_flush(handle, completion(request), 0));
    } else if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
        send_data(handle, request, flags);
    } else if (request->op == BLOCK_STATUS) {
        const nbd_extent_callback extent = {.callback = extents, .user_data = request};

        request->remote.progress = request->length;
        command_begun(request, nbd_aio_block_status(handle, MIN(request->length, RANGE_MAX),
                                                    (uint64_t)request->offset, extent,
                                                    completion(request), 0));
    } else {
        send_range(nbd, handle, request, flags);
    }
    command_ended(request, 0);
}

/* Whether @request, without an error so far, is done. */
static bool is_complete(const BlockNbd *nbd, const BlockRequest *request)
{
    if (request->op == BLOCK_FLUSH) {
        return request->remote.flushed;
    }
    /* Where the server knows no FUA, a flush comes last. */
    return request->remote.progress == request->length &&
           (request->remote.flushed || !(request->flags & BLOCK_FUA) || nbd->server.can_fua ||
            !nbd->server.can_flush);
}

/* --- connections --- */

static void check_dead(NbdConnection *connection)
{
    BlockNbd *nbd = connection->nbd;

    if (connection->dead ||
        (nbd_aio_is_dead(connection->handle) <= 0 && nbd_aio_is_closed(connection->handle) <= 0)) {
        return;
    }
    connection->dead = true;
    if (!atomic_exchange(&nbd->told, true)) {
        g_warning("'%s': the server is gone: what is read and written from now on fails",
                  nbd->node.name);
    }
}

static void on_readable(void *opaque);
static void on_writable(void *opaque);

/* Let the owner's loop look for @directions. On the owner's thread. */
static void watch(NbdConnection *connection, unsigned directions)
{
    static const AioFdOps ops[] = {
        [LIBNBD_AIO_DIRECTION_READ] = {.read = on_readable},
        [LIBNBD_AIO_DIRECTION_WRITE] = {.write = on_writable},
        [LIBNBD_AIO_DIRECTION_BOTH] = {.read = on_readable, .write = on_writable},
    };

    directions &= LIBNBD_AIO_DIRECTION_BOTH;
    if (directions != connection->watched) {
        aio_set_fd_handler(aio_context_current(), connection->fd,
                           directions == 0 ? NULL : &ops[directions], connection);
        connection->watched = directions;
    }
}

/* @count requests are done with the connection, which after that may be somebody else's. */
static void leave(NbdConnection *connection, unsigned count)
{
    pthread_mutex_lock(&connection->lock);
    connection->users -= count;
    if (connection->users == 0) {
        watch(connection, 0);
        atomic_store(&connection->owner, NULL);
    } else {
        watch(connection, connection->dead ? 0 : nbd_aio_get_direction(connection->handle));
    }
    pthread_mutex_unlock(&connection->lock);
}

/* On the thread that submitted. */
static void complete(void *opaque)
{
    BlockRequest *request = opaque;

    block_complete(request, request->result);
}

static void note_writes(BlockNbd *nbd, const BlockRequest *request)
{
    if (request->result < 0) {
        return;
    }
    if (request->op == BLOCK_WRITE || request->op == BLOCK_ZERO) {
        atomic_fetch_add(&nbd->writes, 1);
    }
    if (request->remote.flushed) {
        uint64_t known = atomic_load(&nbd->flushed_writes);

        while (
            known < request->remote.writes &&
            !atomic_compare_exchange_weak(&nbd->flushed_writes, &known, request->remote.writes)) {
        }
    }
}

/* Deal with what the last call into libnbd has finished. The last thing that is done with it. */
static void settle(NbdConnection *connection)
{
    BlockRequest *complete_list = NULL, *request;
    unsigned count = 0;

    check_dead(connection);
    while ((request = connection->finished) != NULL) {
        connection->finished = request->remote.next;
        if (request->result == 0 && !is_complete(connection->nbd, request)) {
            send_next(connection, request);
            check_dead(connection);
            continue;
        }
        if (request->op == BLOCK_STATUS && request->result == 0 && request->run == 0) {
            request->result = -EIO;
        }
        if (request->result < 0 && (connection->dead || request->result == -ESHUTDOWN)) {
            request->result = -EIO;
        }
        note_writes(connection->nbd, request);
        request->remote.next = complete_list;
        complete_list = request;
        count++;
    }
    leave(connection, count);
    while ((request = complete_list) != NULL) {
        complete_list = request->remote.next;
        if (request->remote.home == aio_context_current()) {
            complete(request);
        } else {
            aio_bh_call_once(request->remote.home, complete, request);
        }
    }
}

static void on_readable(void *opaque)
{
    NbdConnection *connection = opaque;

    /* An error is a connection that is dead then, which settle() sees. */
    if (nbd_aio_get_direction(connection->handle) & LIBNBD_AIO_DIRECTION_READ) {
        nbd_aio_notify_read(connection->handle);
    }
    settle(connection);
}

static void on_writable(void *opaque)
{
    NbdConnection *connection = opaque;

    if (nbd_aio_get_direction(connection->handle) & LIBNBD_AIO_DIRECTION_WRITE) {
        nbd_aio_notify_write(connection->handle);
    }
    settle(connection);
}

/* On the owner's thread. */
static void begin(void *opaque)
{
    BlockRequest *request = opaque;
    NbdConnection *connection = connection_of(request);

    send_next(connection, request);
    settle(connection);
}

/* The caller's own connection, else one that nobody uses, else any. */
static NbdConnection *choose_connection(BlockNbd *nbd, const AioContext *ctx)
{
    const unsigned first = (unsigned)(g_direct_hash(ctx) / 64) % nbd->count;
    NbdConnection *unused = NULL;

    for (unsigned i = 0; i < nbd->count; i++) {
        NbdConnection *connection = &nbd->connections[(first + i) % nbd->count];
        const AioContext *owner = atomic_load_explicit(&connection->owner, memory_order_relaxed);

        if (owner == ctx) {
            return connection;
        }
        if (owner == NULL && unused == NULL) {
            unused = connection;
        }
    }
    return unused != NULL ? unused : &nbd->connections[first];
}

static void start(BlockNbd *nbd, BlockRequest *request)
{
    AioContext *ctx = aio_context_current(), *owner;
    NbdConnection *connection = choose_connection(nbd, ctx);

    request->result = 0;
    request->run = 0;
    request->remote = (struct BlockRemote){.connection = connection, .home = ctx};
    pthread_mutex_lock(&connection->lock);
    connection->users++;
    owner = atomic_load(&connection->owner);
    if (owner == NULL) {
        owner = ctx;
        atomic_store(&connection->owner, ctx);
    }
    pthread_mutex_unlock(&connection->lock);
    if (owner == ctx) {
        begin(request);
    } else {
        aio_bh_call_once(owner, begin, request);
    }
}

/* --- the node --- */

static void nbd_submit(BlockNode *node, BlockRequest *request)
{
    BlockNbd *nbd = nbd_of(node);

    if (request->op == BLOCK_FLUSH &&
        (!nbd->server.can_flush ||
         atomic_load(&nbd->writes) == atomic_load(&nbd->flushed_writes))) {
        block_complete(request, 0);
    } else if (request->op == BLOCK_DISCARD && !nbd->server.can_trim) {
        block_complete(request, 0);
    } else if (request->op == BLOCK_GROW) {
        block_complete(request, -EOPNOTSUPP); /* the protocol knows no such thing */
    } else if (request->op == BLOCK_STATUS && !nbd->server.can_status) {
        request->status = BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED;
        request->run = request->length;
        block_complete(request, 0);
    } else {
        start(nbd, request);
    }
}

static int nbd_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    struct nbd_handle *handle = nbd_of(node)->connections[0].handle;

    for (size_t done = 0; done < length;) {
        const size_t bytes = MIN(length - done, COMMAND_MAX);

        if (nbd_pread(handle, (char *)buffer + done, bytes, (uint64_t)offset + done, 0) < 0) {
            const int number = nbd_get_errno();

            return number == 0 ? -EIO : -number;
        }
        done += bytes;
    }
    return 0;
}

static void nbd_node_close(BlockNode *node)
{
    BlockNbd *nbd = nbd_of(node);

    for (unsigned i = 0; i < nbd->count; i++) {
        NbdConnection *connection = &nbd->connections[i];

        g_assert(connection->users == 0);
        nbd_aio_disconnect(connection->handle, 0); /* says so to the server and does not wait */
        nbd_close(connection->handle);
        close(connection->fd);
        pthread_mutex_destroy(&connection->lock);
    }
    g_free(nbd);
}

static const BlockDriver nbd_driver = {
    .name = "nbd",
    .submit = nbd_submit,
    .read_now = nbd_read_now,
    .close = nbd_node_close,
};

/* Takes @handle over. */
static void add_connection(BlockNbd *nbd, struct nbd_handle *handle)
{
    const int fd = fcntl(nbd_aio_get_fd(handle), F_DUPFD_CLOEXEC, 0);
    NbdConnection *connection = &nbd->connections[nbd->count];

    if (fd < 0) {
        nbd_close(handle);
        return;
    }
    *connection = (NbdConnection){.nbd = nbd, .handle = handle, .fd = fd};
    pthread_mutex_init(&connection->lock, NULL);
    nbd->count++;
}

static bool check_access(const char *uri, const NbdServer *server, const BlockOpenParams *params,
                         GError **error)
{
    if (params->direct) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "'%s': cache=none is for files; how the server reads is its own option", uri);
        return false;
    }
    if (server->read_only && params->access == BLOCK_ACCESS_READ_WRITE) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_READ_ONLY,
                    "'%s' cannot be written to: the server says that it is read-only (without rw "
                    "it is served so)",
                    uri);
        return false;
    }
    if (server->read_only && params->access == BLOCK_ACCESS_AUTO) {
        g_message("'%s' is read-only: so says the server", uri);
    }
    return true;
}

BlockNode *block_nbd_open(const char *uri, const BlockOpenParams *params, GError **error)
{
    struct nbd_handle *first = block_nbd_connect(uri, params->wait_seconds, error),
                      *more[CONNECTIONS_MAX];
    const unsigned wanted = params->connections > 0 ? params->connections : g_get_num_processors();
    unsigned count = 0;
    NbdServer server;
    BlockNbd *nbd;

    if (first == NULL) {
        return NULL;
    }
    if (!block_nbd_ask(first, &server, error) || !check_access(uri, &server, params, error)) {
        nbd_close(first);
        return NULL;
    }
    nbd = g_new0(BlockNbd, 1);
    nbd->server = server;
    block_node_init(&nbd->node, &nbd_driver, uri, server.size,
                    server.read_only || params->access == BLOCK_ACCESS_READ_ONLY);
    add_connection(nbd, first);
    if (server.can_multi_conn && wanted > 1) {
        count = block_nbd_connect_more(uri, MIN(wanted, CONNECTIONS_MAX) - 1, more);
    }
    for (unsigned i = 0; i < count; i++) {
        add_connection(nbd, more[i]);
    }
    if (nbd->count == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_TOO_MANY_OPEN_FILES,
                    "cannot open '%s': no descriptor is left", uri);
        block_node_unref(&nbd->node);
        return NULL;
    }
    return &nbd->node;
}
