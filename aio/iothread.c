/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread around a context.
 *
 * The creator waits until the context exists, so its pointer is valid from the
 * return of aio_iothread_new() to aio_iothread_free(). Stopping is a bottom
 * half, so everything handed over before is still done. The context is freed
 * by its own thread, which drains it.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "aio/bh.h"
#include "aio/error.h"
#include "aio/iothread.h"

struct AioIoThread {
    pthread_t thread;
    AioContextParams params;
    int cpu;
    AioContext *ctx;
    GError *error;
    bool stop; /* home thread */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool started;  /* locked: ctx or error is set */
    bool may_free; /* locked: the stopper has let go of the context */
};

static void iothread_stop(void *opaque)
{
    AioIoThread *thread = opaque;
    thread->stop = true;
}

static void iothread_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    int ret = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    if (ret != 0) {
        g_warning("cannot pin a thread to CPU %d: %s", cpu, g_strerror(ret));
    }
}

static void *iothread_main(void *opaque)
{
    AioIoThread *thread = opaque;

    if (thread->cpu >= 0) {
        iothread_pin(thread->cpu);
    }
    AioContext *ctx = aio_context_new(&thread->params, &thread->error);
    pthread_mutex_lock(&thread->lock);
    thread->ctx = ctx;
    thread->started = true;
    pthread_cond_signal(&thread->cond);
    pthread_mutex_unlock(&thread->lock);
    if (!ctx) {
        return NULL;
    }
    while (!thread->stop) {
        aio_context_poll(ctx, true);
    }
    /* The stopper's wake-up may still be on its way through the context. */
    pthread_mutex_lock(&thread->lock);
    while (!thread->may_free) {
        pthread_cond_wait(&thread->cond, &thread->lock);
    }
    pthread_mutex_unlock(&thread->lock);
    aio_context_free(ctx);
    return NULL;
}

/* Start with every signal blocked, so that the main thread gets them all. */
static int iothread_create(AioIoThread *thread)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int ret = pthread_create(&thread->thread, NULL, iothread_main, thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ret;
}

static void iothread_release(AioIoThread *thread)
{
    pthread_mutex_destroy(&thread->lock);
    pthread_cond_destroy(&thread->cond);
    g_free((char *)thread->params.name);
    g_free(thread);
}

AioIoThread *aio_iothread_new(const AioContextParams *params, int cpu, GError **error)
{
    AioIoThread *thread = g_new0(AioIoThread, 1);
    thread->params = *params;
    thread->params.name = g_strdup(params->name ? params->name : "iothread");
    thread->cpu = cpu;
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->cond, NULL);

    int ret = iothread_create(thread);
    if (ret != 0) {
        g_set_error(error, AIO_ERROR, ret, "cannot start thread '%s': %s", thread->params.name,
                    g_strerror(ret));
        iothread_release(thread);
        return NULL;
    }
    char name[16];
    g_strlcpy(name, thread->params.name, sizeof(name));
    pthread_setname_np(thread->thread, name);

    pthread_mutex_lock(&thread->lock);
    while (!thread->started) {
        pthread_cond_wait(&thread->cond, &thread->lock);
    }
    pthread_mutex_unlock(&thread->lock);
    if (!thread->ctx) {
        pthread_join(thread->thread, NULL);
        g_propagate_error(error, thread->error);
        iothread_release(thread);
        return NULL;
    }
    return thread;
}

AioContext *aio_iothread_context(AioIoThread *thread)
{
    return thread->ctx;
}

typedef struct IoThreadCall {
    void (*fn)(void *opaque);
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done; /* locked */
} IoThreadCall;

static void iothread_run_call(void *opaque)
{
    IoThreadCall *call = opaque;
    call->fn(call->opaque);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->cond);
    pthread_mutex_unlock(&call->lock);
}

void aio_iothread_call(AioIoThread *thread, void (*fn)(void *opaque), void *opaque)
{
    IoThreadCall call = {.fn = fn, .opaque = opaque};

    g_assert(!aio_context_is_home(thread->ctx));
    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.cond, NULL);
    aio_bh_call_once(thread->ctx, iothread_run_call, &call);
    pthread_mutex_lock(&call.lock);
    while (!call.done) {
        pthread_cond_wait(&call.cond, &call.lock);
    }
    pthread_mutex_unlock(&call.lock);
    pthread_mutex_destroy(&call.lock);
    pthread_cond_destroy(&call.cond);
}

void aio_iothread_free(AioIoThread *thread)
{
    if (!thread) {
        return;
    }
    g_assert(!aio_context_is_home(thread->ctx));
    aio_bh_call_once(thread->ctx, iothread_stop, thread);
    pthread_mutex_lock(&thread->lock);
    thread->may_free = true;
    pthread_cond_signal(&thread->cond);
    pthread_mutex_unlock(&thread->lock);
    pthread_join(thread->thread, NULL);
    iothread_release(thread);
}
