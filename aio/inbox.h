/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Where a context gets finished helper work back; for aio/ only.
 *
 * Each context owns one inbox. Helper threads post to it, the home thread
 * calls done() of what was posted, first posted first. However much is posted
 * while the home thread is busy or asleep costs one wake-up.
 */
#ifndef SLUICE_AIO_INBOX_H
#define SLUICE_AIO_INBOX_H

#include "aio/pool.h"

typedef struct AioInbox AioInbox;

/** Home thread, at the end of the context's creation. */
AioInbox *aio_inbox_new(AioContext *ctx);

/** Turn the loop until all expected work has come back. Home thread. */
void aio_inbox_drain(AioInbox *inbox);

/** Free a drained inbox, once nobody is inside aio_inbox_post(). Home thread. */
void aio_inbox_free(AioInbox *inbox);

/** Announce work that will be posted; it keeps the context alive. Any thread. */
void aio_inbox_expect(AioInbox *inbox);

/** Take one announcement back. Any thread. */
void aio_inbox_forget(AioInbox *inbox);

/** Hand @work, which was announced, to the home thread. Any thread. */
void aio_inbox_post(AioInbox *inbox, AioPoolWork *work);

#endif /* SLUICE_AIO_INBOX_H */
