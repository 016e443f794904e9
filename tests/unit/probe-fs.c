/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file system for tests: see probe-fs.h. */
#include "probe-fs.h"

#include <errno.h>
#include <string.h>

#include "fs/session/kernel-abi.h"

typedef struct StuckRead {
    Probe *probe;
    bool interrupted; /* locked by probe->lock */
} StuckRead;

static struct stat probe_attr(fuse_ino_t ino)
{
    static const mode_t modes[] = {
        [FUSE_ROOT_ID] = S_IFDIR | 0777,
        [PROBE_STUCK] = S_IFREG | 0666,
        [PROBE_SETUID] = S_IFREG | 06777,
        [PROBE_TMPFILE] = S_IFREG | 0640,
    };
    return (struct stat){.st_ino = ino, .st_mode = modes[ino], .st_nlink = 1, .st_size = 4096};
}

static void probe_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {0};

    entry.ino = strcmp(name, "stuck") == 0    ? PROBE_STUCK
                : strcmp(name, "setuid") == 0 ? PROBE_SETUID
                                              : 0;
    if (entry.ino == 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    entry.attr = probe_attr(entry.ino);
    fuse_reply_entry(req, &entry);
}

static void probe_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct stat attr = probe_attr(ino);
    fuse_reply_attr(req, &attr, 0);
}

static void probe_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void stuck_interrupted(fuse_req_t req, void *opaque)
{
    StuckRead *stuck = opaque;
    Probe *probe = stuck->probe;

    __atomic_fetch_add(&probe->interrupts, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&probe->lock);
    stuck->interrupted = true;
    pthread_cond_broadcast(&probe->interrupted_or_let_go);
    pthread_mutex_unlock(&probe->lock);
}

/* As a blocking lock: waits on a helper thread until interrupted or let go. */
static void stuck_wait(FsRequest *request, void *opaque)
{
    StuckRead stuck = {.probe = opaque};
    Probe *probe = opaque;

    fuse_req_interrupt_func(fs_request_fuse(request), stuck_interrupted, &stuck);
    __atomic_fetch_add(&probe->stuck, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&probe->lock);
    while (!stuck.interrupted && !probe->let_go) {
        pthread_cond_wait(&probe->interrupted_or_let_go, &probe->lock);
    }
    bool interrupted = stuck.interrupted;
    pthread_mutex_unlock(&probe->lock);
    fuse_req_interrupt_func(fs_request_fuse(request), NULL, NULL);
    __atomic_fetch_sub(&probe->stuck, 1, __ATOMIC_SEQ_CST);
    fs_request_reply_error(request, interrupted ? EINTR : EBUSY);
}

static void probe_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    if (ino == PROBE_STUCK) {
        fs_request_offload(fs_request_current(), NULL, stuck_wait, fuse_req_userdata(req));
    } else {
        fuse_reply_buf(req, NULL, 0);
    }
}

static void probe_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
                            struct fuse_file_info *fi)
{
    Probe *probe = fuse_req_userdata(req);

    g_assert_cmpuint(fs_request_opcode(fs_request_current()), ==, FUSE_WRITE);
    if (fs_request_kills_suidgid(fs_request_current())) {
        __atomic_fetch_add(&probe->set_id_kills, 1, __ATOMIC_SEQ_CST);
    }
    fuse_reply_write(req, fuse_buf_size(bufv));
}

static void probe_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    const struct fuse_entry_param entry = {.ino = PROBE_TMPFILE, .attr = probe_attr(PROBE_TMPFILE)};

    g_assert_cmpuint(parent, ==, FUSE_ROOT_ID);
    g_assert_cmpuint(fs_request_opcode(fs_request_current()), ==, FUSE_TMPFILE);
    fuse_reply_create(req, &entry, fi);
}

static void probe_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                           size_t size, int flags)
{
    Probe *probe = fuse_req_userdata(req);

    g_snprintf(probe->xattr, sizeof(probe->xattr), "%s=%.*s", name, (int)size, value);
    probe->xattr_flags = flags;
    probe->acl_kills_sgid = fs_request_acl_kills_sgid(fs_request_current());
    fuse_reply_err(req, 0);
}

static void probe_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    Probe *probe = fuse_req_userdata(req);

    probe->has_group = fs_request_supplementary_group(fs_request_current(), &probe->group);
    fuse_reply_err(req, EROFS);
}

const FsFilesystem probe_filesystem = {
    .name = "probe",
    .ops =
        {
            .lookup = probe_lookup,
            .getattr = probe_getattr,
            .open = probe_open,
            .read = probe_read,
            .write_buf = probe_write_buf,
            .setxattr = probe_setxattr,
            .mkdir = probe_mkdir,
        },
    .extra = {.tmpfile = probe_tmpfile},
    .want_flags = FUSE_SETXATTR_EXT | FS_FUSE_CREATE_SUPP_GROUP,
    .refuse_flags = FUSE_PARALLEL_DIROPS,
};

void probe_init(Probe *probe)
{
    *probe = (Probe){.lock = PTHREAD_MUTEX_INITIALIZER,
                     .interrupted_or_let_go = PTHREAD_COND_INITIALIZER};
}

void probe_let_go(Probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    probe->let_go = true;
    pthread_cond_broadcast(&probe->interrupted_or_let_go);
    pthread_mutex_unlock(&probe->lock);
}
