/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Switching fibers under the eyes of the sanitizers.
 *
 * How it works: AddressSanitizer must know the bounds of the stack in use (to
 * tell a stack overflow, and to clean the shadow when a function does not
 * return) and keeps a list of fake frames for each fiber. It is told before a
 * switch where the new stack lies, and after it that the switch happened; the
 * second call returns the bounds of the stack just left, which is how the
 * thread's own stack becomes known. A NULL instead of the place for the fake
 * frames says that the fiber ends. ThreadSanitizer keeps a history and a vector
 * clock for each fiber; it is told before the switch. A switch orders what was
 * done before it with what is done after it, as it does for real.
 */
#include "aio/coroutine-fiber.h"

#include <stdlib.h>

#if AIO_CO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if AIO_CO_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Inline: ThreadSanitizer must not see it entered on one fiber and left on the other. */
static inline __attribute__((always_inline)) void fiber_announce_leave(AioCoFiber *from,
                                                                       AioCoFiber *to,
                                                                       bool for_ever)
{
#if AIO_CO_ASAN
    to->previous = from;
    __sanitizer_start_switch_fiber(for_ever ? NULL : &from->fake_stack, to->stack, to->stack_size);
#endif
#if AIO_CO_TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    (void)from;
    (void)to;
    (void)for_ever;
}

static inline void fiber_announce_arrival(AioCoFiber *self)
{
#if AIO_CO_ASAN
    __sanitizer_finish_switch_fiber(self->fake_stack, &self->previous->stack,
                                    &self->previous->stack_size);
#endif
    (void)self;
}

static void fiber_start(void *opaque)
{
    AioCoFiber *self = opaque;
    fiber_announce_arrival(self);
    self->entry(self->opaque);
    abort();
}

void aio_co_fiber_init_thread(AioCoFiber *fiber)
{
#if AIO_CO_ASAN
    fiber->fake_stack = NULL;
    fiber->previous = NULL;
#endif
#if AIO_CO_TSAN
    fiber->tsan_fiber = __tsan_get_current_fiber();
#endif
    (void)fiber;
}

void aio_co_fiber_init(AioCoFiber *fiber, void *stack, size_t size, void (*entry)(void *opaque),
                       void *opaque)
{
    fiber->entry = entry;
    fiber->opaque = opaque;
#if AIO_CO_ASAN
    fiber->stack = stack;
    fiber->stack_size = size;
    fiber->fake_stack = NULL;
    fiber->previous = NULL;
#endif
#if AIO_CO_TSAN
    fiber->tsan_fiber = __tsan_create_fiber(0);
    __tsan_set_fiber_name(fiber->tsan_fiber, "coroutine");
#endif
    aio_co_registers_prepare(&fiber->registers, stack, size, fiber_start, fiber);
}

void aio_co_fiber_fini(AioCoFiber *fiber)
{
#if AIO_CO_ASAN
    /* The frames left by aio_co_fiber_exit() are still marked. */
    ASAN_UNPOISON_MEMORY_REGION(fiber->stack, fiber->stack_size);
#endif
#if AIO_CO_TSAN
    __tsan_destroy_fiber(fiber->tsan_fiber);
#endif
    (void)fiber;
}

void aio_co_fiber_switch(AioCoFiber *from, AioCoFiber *to)
{
    fiber_announce_leave(from, to, false);
    aio_co_registers_switch(&from->registers, &to->registers);
    fiber_announce_arrival(from);
}

void aio_co_fiber_exit(AioCoFiber *from, AioCoFiber *to)
{
    fiber_announce_leave(from, to, true);
    aio_co_registers_switch(&from->registers, &to->registers);
    abort();
}
