/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Ids between the mount and the source: owners that are shown, callers that act. */
#include "fs/passthrough/operations.h"

void fs_show_ids(const FsPassthrough *pt, uid_t *uid, gid_t *gid)
{
    *uid = fs_id_map_show_uid(&pt->id_map, *uid);
    *gid = fs_id_map_show_gid(&pt->id_map, *gid);
}

/* The caller @uid, @gid, of the mount, as somebody of the source. 0 or -EOVERFLOW. */
static int become(const FsPassthrough *pt, uid_t uid, gid_t gid, FsIdentity *identity)
{
    *identity = (FsIdentity){
        .uid = fs_id_map_store_uid(&pt->id_map, uid),
        .gid = fs_id_map_store_gid(&pt->id_map, gid),
    };
    /* one who is root on the source only owns what root does, without root's capabilities */
    identity->no_fsetid = identity->uid == 0 && uid != 0;
    return identity->uid == FS_ID_NONE || identity->gid == FS_ID_NONE ? -EOVERFLOW : 0;
}

int fs_creator(fuse_req_t req, FsIdentity *identity)
{
    const FsPassthrough *pt = fs_passthrough_of(req);
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    gid_t group;
    int error = become(pt, caller->uid, caller->gid, identity);
    if (!error && fs_request_supplementary_group(fs_request_current(), &group)) {
        identity->group = fs_id_map_store_gid(&pt->id_map, group);
        identity->has_group = identity->group != FS_ID_NONE;
    }
    return error;
}

int fs_caller_identity(const FsPassthrough *pt, const struct fuse_ctx *caller, FsIdentity *identity)
{
    uid_t uid;
    gid_t gid;
    fs_caller_ids(caller, &uid, &gid);
    return become(pt, uid, gid, identity);
}
