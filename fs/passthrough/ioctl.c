/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * IOCTL: inode flags, project ids, trimming, the label.
 *
 * How it works: a short list passes, on the descriptor that the client has open;
 * everything else answers ENOTTY, also what would end the host's file system
 * (shutdown). The kernel turns chattr(1) and lsattr(1) into an open of its own and
 * one of these numbers, and has checked owner and capabilities by then; it sends
 * the flags as 32 bits, whatever size the number says.
 *
 * Reading is done on the worker. What changes something may wait for a journal
 * and runs on a helper, as the caller, who has CAP_LINUX_IMMUTABLE and
 * CAP_SYS_RESOURCE only if that is root.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/fs.h>

#include "fs/passthrough/operations.h"

typedef struct IoctlCall {
    FsHandle *handle; /* referenced */
    unsigned command;
    const void *in; /* lies in the request */
    FsIdentity identity;
} IoctlCall;

/* What a command takes from the client and gives back. */
typedef union IoctlData {
    uint32_t flags;
    struct fsxattr attributes;
    struct fstrim_range range;
    char label[FSLABEL_MAX];
} IoctlData;

typedef struct IoctlRule {
    unsigned command;
    size_t in, out; /* bytes */
    bool changes;   /* on a helper, as the caller */
    bool root_only; /* the host asks for a capability that only the daemon has to show */
} IoctlRule;

static const IoctlRule rules[] = {
    {FS_IOC_GETFLAGS, 0, sizeof(uint32_t), false, false},
    {FS_IOC_SETFLAGS, sizeof(uint32_t), 0, true, false},
    {FS_IOC_FSGETXATTR, 0, sizeof(struct fsxattr), false, false},
    {FS_IOC_FSSETXATTR, sizeof(struct fsxattr), 0, true, false},
    {FS_IOC_GETFSLABEL, 0, FSLABEL_MAX, false, false},
    {FITRIM, sizeof(struct fstrim_range), sizeof(struct fstrim_range), true, true},
};

static const IoctlRule *find_rule(unsigned command)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i].command == command) {
            return &rules[i];
        }
    }
    return NULL;
}

static void ioctl_and_reply(FsRequest *request, IoctlCall *call)
{
    fuse_req_t req = fs_request_fuse(request);
    FsPassthrough *pt = fs_passthrough_of(req);
    const IoctlRule *rule = find_rule(call->command);
    IoctlData data = {0};
    if (rule->in > 0) {
        memcpy(&data, call->in, rule->in);
    }
    FsCredentialsSaved saved = {0};
    int error = rule->changes ? fs_credentials_enter(&pt->credentials, &call->identity, &saved) : 0;
    if (!error) {
        error = ioctl(call->handle->fd, call->command, &data) < 0 ? -errno : 0;
        fs_credentials_leave(&pt->credentials, &saved);
    }
    if (!error && rule->changes && pt->session) {
        /* the time of the change is new, and the answer tells the kernel nothing of it */
        fuse_lowlevel_notify_inval_inode(fs_session_fuse(pt->session),
                                         fs_inode_id(call->handle->inode), -1, 0);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fuse_reply_ioctl(req, 0, rule->out > 0 ? &data : NULL, rule->out);
    }
    fs_handle_put(call->handle);
}

static void ioctl_on_helper(FsRequest *request, void *opaque)
{
    ioctl_and_reply(request, opaque);
    g_free(opaque);
}

void fs_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
                 struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                 size_t out_size)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    const IoctlRule *rule = find_rule(command);
    int error = 0;
    if (!rule) {
        error = ENOTTY;
    } else if (rule->root_only &&
               (!fs_caller_is_root(fuse_req_ctx(req)) || !fs_caller_is_admin(fuse_req_ctx(req)))) {
        error = EPERM;
    } else if (command == FITRIM && pt->params.no_trim) {
        error = EROFS;
    } else if (in_size < rule->in || out_size < rule->out) {
        error = EINVAL;
    }
    FsHandle *handle = NULL;
    if (!error) {
        error = -fs_dir_handle_get(pt, ino, fi->fh, &handle);
    }
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    IoctlCall call = {
        .handle = handle,
        .command = command,
        .in = in,
    };
    error = rule->changes ? fs_caller_identity(pt, fuse_req_ctx(req), &call.identity) : 0;
    if (error) {
        fuse_reply_err(req, -error);
        fs_handle_put(handle);
        return;
    }
    if (!rule->changes) {
        ioctl_and_reply(request, &call);
        return;
    }
    IoctlCall *copy = g_new(IoctlCall, 1);
    *copy = call;
    fs_request_offload(request, fs_session_pool(fs_request_session(request)), ioctl_on_helper,
                       copy);
}
