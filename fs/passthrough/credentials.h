/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The calling thread acts as the client while it creates something. */
#ifndef SLUICE_FS_PASSTHROUGH_CREDENTIALS_H
#define SLUICE_FS_PASSTHROUGH_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct FsCredentials {
    bool can_switch;       /**< the daemon is root with CAP_SETUID and CAP_SETGID */
    bool trust_kernel;     /**< the kernel has checked the caller's permission already */
    uint32_t effective[2]; /**< capabilities of the daemon's threads, as capget(2) tells */
    uint32_t permitted[2];
    uint32_t inheritable[2];
} FsCredentials;

/** Whom to act as. */
typedef struct FsIdentity {
    uid_t uid;
    gid_t gid;
    bool has_group;   /**< group counts */
    gid_t group;      /**< the one supplementary group that matters */
    bool no_fsetid;   /**< without CAP_FSETID, also if uid is 0 */
    bool no_override; /**< the host decides by mode and owner, also if uid is 0 */
} FsIdentity;

typedef struct FsCredentialsSaved {
    bool switched_uid, switched_gid, switched_groups, lowered;
} FsCredentialsSaved;

/** Look at what the calling process may do. @trust_kernel: the mount has default_permissions. */
void fs_credentials_init(FsCredentials *credentials, bool trust_kernel);

/**
 * Take over @identity in file system calls; the calling thread only. Where the
 * daemon may not switch, nothing happens. 0 or negative errno (nothing changed).
 */
int fs_credentials_enter(const FsCredentials *credentials, const FsIdentity *identity,
                         FsCredentialsSaved *saved);

/**
 * Do without CAP_FSETID, then with it again; the calling thread only. What is opened meanwhile
 * loses its set-id bits when it is written to.
 */
void fs_credentials_drop_fsetid(const FsCredentials *credentials);
void fs_credentials_restore_fsetid(const FsCredentials *credentials);

/** Be the daemon again. Always succeeds or aborts: going on as someone else is not an option. */
void fs_credentials_leave(const FsCredentials *credentials, const FsCredentialsSaved *saved);

#endif /* SLUICE_FS_PASSTHROUGH_CREDENTIALS_H */
