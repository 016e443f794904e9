/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How a worker takes and answers the requests of one wake-up: pure policy.
 *
 * How it works
 *
 * A burst is what a worker reads from the device before it looks at other
 * events. Two choices are made, both from what earlier bursts brought:
 *
 * Hold. Answers that operations give at once can be written one by one, or be
 * held and go out together with the worker's next submission. Writing at once
 * is best for a client that works alone: it may run, on the same CPU, and ask
 * again before the worker has gone to sleep, which saves both wake-ups (3 to 5
 * times the rate). Holding is best for many requests in flight: one system
 * call answers all, and the client wakes up once (4 times the rate). A burst
 * of several proves concurrency only while answers are held, so answers are
 * held once every BURST_PROBE requests to find out, and as long as held
 * bursts bring more than one request.
 *
 * Read again. The burst ends with a read that finds nothing. That read is left
 * out after a request that is not answered yet where bursts have been of one
 * request for a while: the re-armed poll looks at the queue just as well, and
 * costs no system call of its own.
 */
#ifndef SLUICE_FS_TRANSPORT_BURST_H
#define SLUICE_FS_TRANSPORT_BURST_H

#include <stdbool.h>

/** Requests read in one go before other events get their turn. */
#define FS_BURST_MAX 64
/** Answers are held for one burst in so many requests. */
#define FS_BURST_PROBE 256
/** Held bursts of one request in a row that end the holding. */
#define FS_BURST_PATIENCE 8
/** Bursts of one request in a row after which the last read is left out ... */
#define FS_BURST_LONELY 8
/** ... except once in so many bursts. */
#define FS_BURST_LONELY_PROBE 16

/** All zero at the start. */
typedef struct FsBurst {
    bool hold;            /**< answers of this burst wait for the next submission */
    unsigned patience;    /**< held bursts of one request until hold ends */
    unsigned since_probe; /**< requests since answers were last held */
    unsigned lonely;      /**< bursts of one request in a row */
} FsBurst;

/**
 * Whether to read once more after @requests (at least one) of this burst.
 * @answered: the last one's answer has been written already
 */
bool fs_burst_read_again(const FsBurst *burst, unsigned requests, bool answered);

/** The burst is over, with @requests. */
void fs_burst_end(FsBurst *burst, unsigned requests);

#endif /* SLUICE_FS_TRANSPORT_BURST_H */
