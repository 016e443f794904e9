/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** For tests of coroutines: one that the test expects to get. */
#ifndef SLUICE_TESTS_COROUTINE_UTIL_H
#define SLUICE_TESTS_COROUTINE_UTIL_H

#include <glib.h>

#include "aio/coroutine.h"

static inline AioCoroutine *new_coroutine(AioCoroutineFn *fn, void *opaque)
{
    AioCoroutine *co = aio_co_new(fn, opaque);
    g_assert_nonnull(co);
    return co;
}

static inline void run_coroutine(AioCoroutineFn *fn, void *opaque)
{
    aio_co_enter(new_coroutine(fn, opaque));
}

#endif /* SLUICE_TESTS_COROUTINE_UTIL_H */
