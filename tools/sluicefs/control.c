/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The daemon's side of the control socket.
 *
 * How it works: everything happens on the main thread, in its GLib main loop;
 * the workers notice nothing. A client has CLIENT_TIMEOUT_S for all of it, and
 * a line of limited length for its question, and only so many clients are
 * served at once, so none can hold up the daemon or another for long.
 */
#include "tools/sluicefs/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>

#include "tools/sluicefs/instance.h"

#define CLIENTS_MAX      16
#define CLIENT_TIMEOUT_S 5
#define QUESTION_MAX     4096

struct Control {
    char *path;
    ino_t inode; /* of the socket */
    GSocketService *service;
    GCancellable *cancellable;
    ControlAnswer *answer;
    void *opaque;
    unsigned clients;
};

typedef struct Client {
    Control *control;
    GSocketConnection *connection;
    GCancellable *cancellable;
    GString *question;
    char *answer;
    guint timer; /* a source; 0 once the time is over */
    char buffer[512];
} Client;

static void client_free(Client *client)
{
    client->control->clients--;
    if (client->timer != 0) {
        g_source_remove(client->timer);
    }
    g_io_stream_close(G_IO_STREAM(client->connection), NULL, NULL);
    g_object_unref(client->connection);
    g_object_unref(client->cancellable);
    g_string_free(client->question, TRUE);
    g_free(client->answer);
    g_free(client);
}

/* The call that is under way ends with an error, and with it the client. */
static gboolean client_late(gpointer opaque)
{
    Client *client = opaque;

    client->timer = 0;
    g_socket_shutdown(g_socket_connection_get_socket(client->connection), TRUE, TRUE, NULL);
    return G_SOURCE_REMOVE;
}

static char *object_to_line(JsonObject *object)
{
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_node_take_object(node, object);
    json_generator_set_root(generator, node);
    text = json_generator_to_data(generator, NULL);
    return g_strconcat(text, "\n", NULL);
}

static char *refusal(const char *reason)
{
    JsonObject *object = json_object_new();

    json_object_set_boolean_member(object, "ok", FALSE);
    json_object_set_string_member(object, "error", reason);
    return object_to_line(object);
}

/* The command that @question asks for, or NULL. */
static char *parse_question(const char *question)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root, *command;

    if (!json_parser_load_from_data(parser, question, -1, NULL)) {
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        return NULL;
    }
    command = json_object_get_member(json_node_get_object(root), "command");
    if (command == NULL || !JSON_NODE_HOLDS_VALUE(command) ||
        json_node_get_value_type(command) != G_TYPE_STRING) {
        return NULL;
    }
    return json_node_dup_string(command);
}

static char *answer_to(Control *control, const char *question)
{
    g_autofree char *command = parse_question(question);
    JsonObject *answer, *object;

    if (command == NULL) {
        return refusal("not an object with a member \"command\"");
    }
    answer = control->answer(command, control->opaque);
    if (answer == NULL) {
        g_autofree char *reason = g_strdup_printf("unknown command \"%s\"", command);

        return refusal(reason);
    }
    object = json_object_new();
    json_object_set_boolean_member(object, "ok", TRUE);
    json_object_set_object_member(object, command, answer);
    return object_to_line(object);
}

static void client_answered(GObject *source, GAsyncResult *result, gpointer opaque)
{
    g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL);
    client_free(opaque);
}

static void client_read(GObject *source, GAsyncResult *result, gpointer opaque)
{
    Client *client = opaque;
    GInputStream *input = G_INPUT_STREAM(source);
    gssize length = g_input_stream_read_finish(input, result, NULL);
    char *end;

    if (length <= 0 || g_cancellable_is_cancelled(client->cancellable)) {
        client_free(client);
        return;
    }
    g_string_append_len(client->question, client->buffer, length);
    end = memchr(client->question->str, '\n', client->question->len);
    if (end == NULL && client->question->len < QUESTION_MAX) {
        g_input_stream_read_async(input, client->buffer, sizeof(client->buffer), G_PRIORITY_DEFAULT,
                                  client->cancellable, client_read, client);
        return;
    }
    if (end == NULL) {
        client->answer = refusal("the question is too long");
    } else {
        *end = '\0';
        client->answer = answer_to(client->control, client->question->str);
    }
    g_output_stream_write_all_async(g_io_stream_get_output_stream(G_IO_STREAM(client->connection)),
                                    client->answer, strlen(client->answer), G_PRIORITY_DEFAULT,
                                    client->cancellable, client_answered, client);
}

static gboolean control_incoming(GSocketService *service, GSocketConnection *connection,
                                 GObject *source, gpointer opaque)
{
    Control *control = opaque;
    Client *client;

    if (control->clients >= CLIENTS_MAX) {
        return TRUE; /* hang up */
    }
    control->clients++;
    client = g_new0(Client, 1);
    client->control = control;
    client->connection = g_object_ref(connection);
    client->cancellable = g_object_ref(control->cancellable);
    client->question = g_string_new(NULL);
    client->timer = g_timeout_add_seconds(CLIENT_TIMEOUT_S, client_late, client);
    g_input_stream_read_async(g_io_stream_get_input_stream(G_IO_STREAM(connection)), client->buffer,
                              sizeof(client->buffer), G_PRIORITY_DEFAULT, client->cancellable,
                              client_read, client);
    return TRUE;
}

/* A listening socket at @path that only its owner may connect to; -1 with @error. */
static int listen_at(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FILENAME_TOO_LONG,
                    "cannot listen at '%s': the path is too long for a socket", path);
        return -1;
    }
    strcpy(address.sun_path, path);
    unlink(path); /* of a dead daemon */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Nobody can connect before listen(): the mode is right from the first moment. */
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, CLIENTS_MAX) < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                    "cannot listen at '%s': %s", path, g_strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

Control *control_new(dev_t device, ControlAnswer *answer, void *opaque, GError **error)
{
    g_autofree char *path = instance_own_socket(device);
    g_autoptr(GSocket) socket = NULL;
    int lock_fd = instance_lock(), fd = listen_at(path, error);
    Control *control;
    struct stat st;
    const ino_t inode = fd >= 0 && lstat(path, &st) == 0 ? st.st_ino : 0;

    instance_unlock(lock_fd);
    if (fd < 0) {
        return NULL;
    }
    socket = g_socket_new_from_fd(fd, error);
    if (socket == NULL) {
        close(fd);
        unlink(path);
        return NULL;
    }
    control = g_new0(Control, 1);
    control->inode = inode;
    control->path = g_steal_pointer(&path);
    control->answer = answer;
    control->opaque = opaque;
    control->cancellable = g_cancellable_new();
    control->service = g_socket_service_new();
    g_signal_connect(control->service, "incoming", G_CALLBACK(control_incoming), control);
    if (!g_socket_listener_add_socket(G_SOCKET_LISTENER(control->service), socket, NULL, error)) {
        control_free(control);
        return NULL;
    }
    return control;
}

/*
 * Unless the device number, and with it the path, already belong to another mount. Before it is
 * closed: then nobody else's has this inode number.
 */
static void remove_socket(const Control *control)
{
    int lock_fd = instance_lock();
    struct stat st;

    if (lstat(control->path, &st) == 0 && st.st_ino == control->inode) {
        unlink(control->path);
    }
    instance_unlock(lock_fd);
}

void control_free(Control *control)
{
    if (control == NULL) {
        return;
    }
    remove_socket(control);
    g_socket_service_stop(control->service);
    g_socket_listener_close(G_SOCKET_LISTENER(control->service));
    /* Clients that are still there free themselves when their call ends, cancelled. */
    g_cancellable_cancel(control->cancellable);
    while (control->clients > 0) {
        g_main_context_iteration(NULL, TRUE);
    }
    g_signal_handlers_disconnect_by_data(control->service, control);
    g_object_unref(control->service);
    g_object_unref(control->cancellable);
    g_free(control->path);
    g_free(control);
}
