/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Model of the wake-up protocol of aio/notifier.c (items B31, B32), for spin.
 *
 * Wakers publish work and notify; the sleeper takes turns until all work is
 * done. A lost wake-up is an invalid end state: the sleeper blocks in `wait`
 * while work is left and nobody will write. Statements are atomic and in
 * program order, which is what the sequentially consistent operations of the
 * code promise; what the model shows is that the order of the steps is right,
 * and that each of them is needed: the variants below must fail.
 *
 *     -DNO_LOOK      the sleeper does not look at the flag after announcing
 *     -DLATE_PUBLISH the waker publishes after it has notified
 *     -DLATE_ACCEPT  the sleeper looks at the work before it clears the flag
 *     -DEARLY_CHECK  the waker looks for sleepers before it sets the flag
 */
#define WAKERS 2
#define EVENTS 2 /* of each waker */

byte work;      /* published and not yet taken */
byte done;      /* taken */
byte sleepers;
bool notified;
byte eventfd;   /* its counter, cut at 2 */

inline write_eventfd()
{
    if
    :: eventfd < 2 -> eventfd++
    :: else -> skip
    fi
}

inline publish()
{
    atomic { work++ }
}

inline notify(was, asleep)
{
#ifdef EARLY_CHECK
    asleep = sleepers > 0;
    atomic { was = notified; notified = true };
#else
    atomic { was = notified; notified = true };
    asleep = sleepers > 0;
#endif
    if
    :: !was && asleep -> atomic { write_eventfd() }
    :: else -> skip
    fi
}

proctype waker()
{
    byte i = 0;
    bool was, asleep;

    do
    :: i < EVENTS ->
#ifdef LATE_PUBLISH
        notify(was, asleep);
        publish();
#else
        publish();
        notify(was, asleep);
#endif
        i++
    :: else -> break
    od
}

inline take()
{
    atomic { done = done + work; work = 0 }
}

inline accept()
{
    if
    :: notified -> notified = false
    :: else -> skip
    fi
}

proctype sleeper()
{
    do
    :: done == WAKERS * EVENTS -> break
    :: else ->
        if
        :: skip -> /* a turn that may sleep */
            sleepers = sleepers + 2;
#ifndef NO_LOOK
            if
            :: notified -> skip
            :: else ->
#endif
wait:           atomic { eventfd > 0 -> eventfd = 0 }
#ifndef NO_LOOK
            fi;
#else
            ;
#endif
            sleepers = sleepers - 2
        :: skip -> /* a turn that does not wait */
            if
            :: eventfd > 0 -> eventfd = 0
            :: else -> skip
            fi
        fi;
#ifdef LATE_ACCEPT
        take();
        accept()
#else
        accept();
        take()
#endif
    od
}

init
{
    byte i = 0;
    atomic {
        run sleeper();
        do
        :: i < WAKERS -> run waker(); i++
        :: else -> break
        od
    }
}
