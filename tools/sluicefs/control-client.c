/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The asking side of the control socket: one blocking question with a time
 * limit. The daemon may be another user's, so its answer is not trusted:
 * limited in length, parsed, and every member checked by who uses it.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gio/gio.h>

#include "tools/sluicefs/control.h"
#include "tools/sluicefs/instance.h"

#define ANSWER_MAX (4 * 1024 * 1024)

static bool fail(GError **error, int number)
{
    if (number == ENOENT || number == ECONNREFUSED) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "it has no daemon that listens");
    } else if (number == EACCES) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    "its daemon belongs to another user (ask as that user or as root)");
    } else {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(number),
                    "cannot talk to its daemon: %s", g_strerror(number));
    }
    return false;
}

/* Wait until @fd has one of @events. */
static bool wait_for(int fd, short events, gint64 deadline_us, GError **error)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = events};
        gint64 left = deadline_us - g_get_monotonic_time();
        int ready = left <= 0 ? 0 : poll(&poll_fd, 1, (int)(left / 1000 + 1));

        if (ready > 0) {
            return true;
        }
        if (left <= 0) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT, "its daemon does not answer");
            return false;
        }
        if (ready < 0 && errno != EINTR) {
            return fail(error, errno);
        }
    }
}

static int connect_to(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        fail(error, ENAMETOOLONG);
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        fail(error, errno);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* Until the daemon hangs up. */
static GString *read_answer(int fd, gint64 deadline_us, GError **error)
{
    g_autoptr(GString) answer = g_string_new(NULL);
    char buffer[16384];

    for (;;) {
        ssize_t length;

        if (!wait_for(fd, POLLIN, deadline_us, error)) {
            return NULL;
        }
        length = read(fd, buffer, sizeof(buffer));
        if (length == 0) {
            return g_steal_pointer(&answer);
        }
        if (length < 0 && errno != EAGAIN && errno != EINTR) {
            fail(error, errno);
            return NULL;
        }
        if (length > 0) {
            g_string_append_len(answer, buffer, length);
        }
        if (answer->len > ANSWER_MAX) {
            fail(error, EMSGSIZE);
            return NULL;
        }
    }
}

/* The member @command of an answer that says "ok". */
static JsonObject *parse_answer(const GString *answer, const char *command, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = NULL;
    JsonNode *member;

    if (json_parser_load_from_data(parser, answer->str, (gssize)answer->len, NULL) &&
        json_parser_get_root(parser) != NULL &&
        JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
        object = json_node_get_object(json_parser_get_root(parser));
        member = json_object_get_member(object, command);
        if (member != NULL && JSON_NODE_HOLDS_OBJECT(member)) {
            return json_object_ref(json_node_get_object(member));
        }
        member = json_object_get_member(object, "error");
        if (member != NULL && JSON_NODE_HOLDS_VALUE(member) && json_node_get_string(member)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "its daemon says: %s",
                        json_node_get_string(member));
            return NULL;
        }
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "its daemon's answer makes no sense");
    return NULL;
}

JsonObject *control_ask(dev_t device, uid_t owner, const char *command, unsigned timeout_ms,
                        GError **error)
{
    g_auto(GStrv) paths = instance_sockets(owner, device);
    g_autofree char *question = g_strdup_printf("{\"command\": \"%s\"}\n", command);
    const gint64 deadline_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
    g_autoptr(GString) answer = NULL;
    g_autoptr(GError) first = NULL;
    int fd = -1;

    for (char **path = paths; *path != NULL && fd < 0; path++) {
        fd = connect_to(*path, first == NULL ? &first : NULL);
    }
    if (fd < 0) {
        g_propagate_error(error, g_steal_pointer(&first));
        return NULL;
    }
    /* It fits the empty buffer of a new socket. */
    if (send(fd, question, strlen(question), MSG_NOSIGNAL) != (ssize_t)strlen(question)) {
        fail(error, errno);
    } else {
        answer = read_answer(fd, deadline_us, error);
    }
    close(fd);
    return answer == NULL ? NULL : parse_answer(answer, command, error);
}
