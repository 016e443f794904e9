/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A library to preload into a program that was built with -Dstalls=true: at the beginning and the
 * end of some functions the thread stops for a while, as a busy machine may stop it anywhere. What
 * then fails or hangs has a race, or counts on time.
 *
 *   LD_PRELOAD=.../libstalls.so SLUICE_STALL_SHORT=2000 SLUICE_STALL_LONG=100000 sluicefs ...
 *
 * How it works: the compiler puts a call at each of these places (-finstrument-functions). One in
 * SLUICE_STALL_SHORT sleeps up to 400 us, which lets others overtake, one in SLUICE_STALL_LONG 20
 * to 80 ms, which outlasts what somebody may take for long enough; 0: none. Each thread has a
 * generator of its own, seeded by the clock: runs differ.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SHORT_MOST_NS  400000u
#define LONG_LEAST_NS  20000000u
#define LONG_SPREAD_NS 60000000u
#define SHORT_DEFAULT  2000
#define LONG_DEFAULT   100000

/* What is called by the calls that the compiler puts in has none itself. */
#define UNCALLED __attribute__((no_instrument_function))

static unsigned short_one_in = SHORT_DEFAULT, long_one_in = LONG_DEFAULT;

UNCALLED static unsigned number_of(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

__attribute__((constructor)) UNCALLED static void read_environment(void)
{
    short_one_in = number_of("SLUICE_STALL_SHORT", SHORT_DEFAULT);
    long_one_in = number_of("SLUICE_STALL_LONG", LONG_DEFAULT);
}

/* xorshift (Marsaglia 2003). */
UNCALLED static uint64_t next_random(void)
{
    static _Thread_local uint64_t state;
    if (state == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        state = ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)gettid()) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

UNCALLED static bool is_one_in(uint64_t random, unsigned count)
{
    return count > 0 && random % count == 0;
}

UNCALLED static void maybe_stall(void)
{
    const uint64_t random = next_random();
    const uint32_t length = (uint32_t)(random >> 32);
    struct timespec pause = {0};
    if (is_one_in(random >> 8, long_one_in)) {
        pause.tv_nsec = LONG_LEAST_NS + length % LONG_SPREAD_NS;
    } else if (is_one_in(random >> 8, short_one_in)) {
        pause.tv_nsec = length % SHORT_MOST_NS;
    } else {
        return;
    }
    const int saved = errno;
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    errno = saved;
}

UNCALLED void __cyg_profile_func_enter(void *function, void *caller);
UNCALLED void __cyg_profile_func_exit(void *function, void *caller);

void __cyg_profile_func_enter(void *function, void *caller)
{
    maybe_stall();
}

void __cyg_profile_func_exit(void *function, void *caller)
{
    maybe_stall();
}
