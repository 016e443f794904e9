/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Static trace points (USDT) for bpftrace, perf and SystemTap; without
 * <sys/sdt.h> they are nothing. One costs a no-op instruction until somebody
 * attaches to it. docs/design/statistics.md lists them.
 */
#ifndef SLUICE_AIO_TRACE_H
#define SLUICE_AIO_TRACE_H

#ifdef SLUICE_USDT
#include <sys/sdt.h>

#define AIO_TRACE2(name, a, b)       DTRACE_PROBE2(sluicefs, name, a, b)
#define AIO_TRACE3(name, a, b, c)    DTRACE_PROBE3(sluicefs, name, a, b, c)
#define AIO_TRACE4(name, a, b, c, d) DTRACE_PROBE4(sluicefs, name, a, b, c, d)
#else
#define AIO_TRACE2(name, a, b)       ((void)0)
#define AIO_TRACE3(name, a, b, c)    ((void)0)
#define AIO_TRACE4(name, a, b, c, d) ((void)0)
#endif

#endif /* SLUICE_AIO_TRACE_H */
