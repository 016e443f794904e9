/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Tells ThreadSanitizer about GLib's locks: LD_PRELOAD=libtsan-glib.so PROGRAM.
 *
 * GLib is not built with the sanitizer and its locks are futexes of its own, so
 * that the sanitizer does not see that they order anything: all data under a
 * GMutex looks like a race. These functions stand in front of GLib's, call them,
 * and announce the order: what happened before an unlock happens before the
 * next lock of the same object. The same is done for the hand-over of a source
 * to a main context.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include <glib.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* The function of that name that this one stands in front of. */
static void *next_function(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) {
        abort();
    }
    return function;
}

/* Look the real function up once; a race here finds the same address twice. */
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&(name)) real;                                                           \
        __typeof__(&(name)) found = __atomic_load_n(&real, __ATOMIC_ACQUIRE);                      \
        if (!found) {                                                                              \
            found = (__typeof__(&(name)))next_function(#name);                                     \
            __atomic_store_n(&real, found, __ATOMIC_RELEASE);                                      \
        }                                                                                          \
        found;                                                                                     \
    })

#define LOCK(function, type)                                                                       \
    void function(type *lock)                                                                      \
    {                                                                                              \
        REAL(function)(lock);                                                                      \
        __tsan_acquire(lock);                                                                      \
    }

#define TRYLOCK(function, type)                                                                    \
    gboolean function(type *lock)                                                                  \
    {                                                                                              \
        gboolean locked = REAL(function)(lock);                                                    \
        if (locked) {                                                                              \
            __tsan_acquire(lock);                                                                  \
        }                                                                                          \
        return locked;                                                                             \
    }

#define UNLOCK(function, type)                                                                     \
    void function(type *lock)                                                                      \
    {                                                                                              \
        __tsan_release(lock);                                                                      \
        REAL(function)(lock);                                                                      \
    }

LOCK(g_mutex_lock, GMutex)
TRYLOCK(g_mutex_trylock, GMutex)
UNLOCK(g_mutex_unlock, GMutex)
LOCK(g_rec_mutex_lock, GRecMutex)
TRYLOCK(g_rec_mutex_trylock, GRecMutex)
UNLOCK(g_rec_mutex_unlock, GRecMutex)
LOCK(g_rw_lock_writer_lock, GRWLock)
TRYLOCK(g_rw_lock_writer_trylock, GRWLock)
UNLOCK(g_rw_lock_writer_unlock, GRWLock)
LOCK(g_rw_lock_reader_lock, GRWLock)
TRYLOCK(g_rw_lock_reader_trylock, GRWLock)
UNLOCK(g_rw_lock_reader_unlock, GRWLock)

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(g_cond_wait)(cond, mutex);
    __tsan_acquire(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    __tsan_release(mutex);
    gboolean signalled = REAL(g_cond_wait_until)(cond, mutex, end_time);
    __tsan_acquire(mutex);
    return signalled;
}

/* What was written before a source is attached is seen when it is dispatched. */
guint g_source_attach(GSource *source, GMainContext *context)
{
    __tsan_release(context ? context : g_main_context_default());
    return REAL(g_source_attach)(source, context);
}

void g_main_context_wakeup(GMainContext *context)
{
    __tsan_release(context ? context : g_main_context_default());
    REAL(g_main_context_wakeup)(context);
}

gboolean g_main_context_iteration(GMainContext *context, gboolean may_block)
{
    gboolean dispatched = REAL(g_main_context_iteration)(context, may_block);
    __tsan_acquire(context ? context : g_main_context_default());
    return dispatched;
}
