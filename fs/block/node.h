/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * BlockNode: an array of bytes that is read and written asynchronously, from
 * any worker: an image file, a part of one, a format on top of one.
 *
 * See docs/design/block.md. Offsets and lengths are in bytes, with no
 * alignment to care for.
 */
#ifndef SLUICE_FS_BLOCK_NODE_H
#define SLUICE_FS_BLOCK_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <glib.h>

#include "aio/io.h"

typedef struct BlockNode BlockNode;
typedef struct BlockRequest BlockRequest;

/** On the thread that submitted; may free or reuse the request. */
typedef void BlockDoneFn(BlockRequest *request);

typedef enum BlockOp {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,   /**< make durable what completed before */
    BLOCK_DISCARD, /**< the range is not needed any more: a hint */
    BLOCK_ZERO,    /**< make it read as zeros */
    BLOCK_STATUS,  /**< ask what the range is */
    BLOCK_GROW,    /**< make the node offset bytes long; the new part reads as zeros */
} BlockOp;

typedef enum BlockFlags {
    BLOCK_FUA = 1u << 0,       /**< write, zero: durable when done */
    BLOCK_MAY_UNMAP = 1u << 1, /**< zero: the space may be given back */
} BlockFlags;

/** What BLOCK_STATUS tells; 0: a hole without anything below. */
typedef enum BlockStatusFlags {
    BLOCK_STATUS_DATA = 1u << 0,      /**< may hold other bytes than zeros */
    BLOCK_STATUS_ALLOCATED = 1u << 1, /**< takes space in this node, not one below it */
} BlockStatusFlags;

/** One request; the caller's until submitted and from done() on. */
struct BlockRequest {
    BlockOp op;
    unsigned flags; /**< BlockFlags */
    int64_t offset; /**< a driver may change it while the request is under way */
    uint64_t length;
    const struct iovec *iov; /**< read, write: sums up to length; borrowed until done */
    unsigned iov_count;
    BlockDoneFn *done;
    void *opaque; /**< the caller's */
    /* the answer */
    int result;      /**< 0 or negative errno */
    unsigned status; /**< of BLOCK_STATUS: BlockStatusFlags ... */
    uint64_t run;    /**< ... of this many bytes from the offset, 1..length */
    /* private */
    struct iovec single;
    BlockNode *node; /**< the one that works on it */
    AioIo io;
    struct BlockRange { /* serialize.h */
        BlockRequest *next, *prev;
        AioContext *ctx;
        int64_t start, end;
        bool exclusive, waiting;
        void (*go)(BlockRequest *request);
    } range;
    struct BlockRemote { /* nbd.c */
        struct NbdConnection *connection;
        AioContext *home; /* where it was submitted */
        BlockRequest *next;
        uint64_t progress; /* bytes that commands have been sent for */
        uint64_t writes;   /* that its flush makes durable */
        unsigned pending;  /* commands under way */
        bool flushed;      /* a flush has been sent */
    } remote;
};

typedef struct BlockDriver {
    const char *name;
    /**
     * Work on a request that has been checked, and end with block_complete().
     * Any thread with a context.
     */
    void (*submit)(BlockNode *node, BlockRequest *request);
    /** Read while nothing else happens (opening). 0 or negative errno. NULL: by submit. */
    int (*read_now)(BlockNode *node, void *buffer, size_t length, int64_t offset);
    /** The image's descriptor, for fstat(2) only; -1: none. NULL: -1. */
    int (*fd)(const BlockNode *node);
    /** Free the driver's state. Nothing is under way. */
    void (*close)(BlockNode *node);
} BlockDriver;

/** The common part; a driver embeds it. Constant once the node is open, but for the size. */
struct BlockNode {
    const BlockDriver *driver;
    _Atomic(int64_t) size; /**< bytes; never less than before */
    bool read_only;
    char *name; /**< for messages */
    _Atomic(unsigned) references;
};

/** For drivers: set up the common part, with one reference. @name is copied. */
void block_node_init(BlockNode *node, const BlockDriver *driver, const char *name, int64_t size,
                     bool read_only);

/** Any thread. The last unref closes the node; nothing may be under way then. */
BlockNode *block_node_ref(BlockNode *node);
void block_node_unref(BlockNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockNode, block_node_unref)

static inline int64_t block_node_size(const BlockNode *node)
{
    return node->size;
}

/** The descriptor of the image at the bottom of @node, for fstat(2) only; -1: there is none. */
int block_node_fd(const BlockNode *node);

/** Initialise a request; set flags, and the vector of a scattered one, afterwards. */
void block_request_init(BlockRequest *request, BlockOp op, void *buffer, uint64_t length,
                        int64_t offset);
void block_request_init_vector(BlockRequest *request, BlockOp op, const struct iovec *iov,
                               unsigned iov_count, int64_t offset);

/**
 * Start @request. On a thread with an AioContext; done() is called there,
 * possibly before this returns.
 *
 * -EINVAL: a read or status outside of the node, or growing to less than its size; -ENOSPC: a
 * write, discard or zero outside of it; -EROFS: read-only; -EOPNOTSUPP: it cannot grow; otherwise
 * the store's own error.
 */
void block_submit(BlockNode *node, BlockRequest *request, BlockDoneFn *done);

/** For drivers: the request is done. On the thread that submitted it. */
void block_complete(BlockRequest *request, int result);

/** For drivers: pass @request on to the node below, which completes it. */
void block_forward(BlockNode *below, BlockRequest *request);

/** Run an initialised request in a coroutine, which yields meanwhile. Its result. */
int block_co_run(BlockNode *node, BlockRequest *request);

/** The same, for one buffer. 0 or negative errno. */
int block_co_read(BlockNode *node, void *buffer, uint64_t length, int64_t offset);
int block_co_write(BlockNode *node, const void *buffer, uint64_t length, int64_t offset,
                   unsigned flags);
int block_co_flush(BlockNode *node);

/**
 * Read and wait, for opening: on a thread without other work. Makes itself a
 * context if the thread has none and the driver needs one. 0 or negative errno.
 */
int block_read_now(BlockNode *node, void *buffer, size_t length,
                   int64_t offset) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Run @function in a coroutine on a thread without other work, and wait for its end; makes itself a
 * context if the thread has none. 0; -ENOMEM or another negative errno: it did not run.
 */
int block_co_now(void (*function)(void *opaque), void *opaque) G_GNUC_WARN_UNUSED_RESULT;

/** Run any initialised request, or a flush, and wait, also when no worker runs any more. */
int block_run_now(BlockNode *node, BlockRequest *request);
int block_flush_now(BlockNode *node);

#endif /* SLUICE_FS_BLOCK_NODE_H */
