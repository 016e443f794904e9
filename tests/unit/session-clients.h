/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The clients of a session's tests: they use a mount, each in a process of its own. */
#ifndef SLUICE_TEST_SESSION_CLIENTS_H
#define SLUICE_TEST_SESSION_CLIENTS_H

#include "mount-util.h"

/** By name; ends with NULL. Each returns 0, or what went wrong as its comment says. */
extern const TestClient session_clients[];

#endif /* SLUICE_TEST_SESSION_CLIENTS_H */
