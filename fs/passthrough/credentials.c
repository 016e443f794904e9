/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Acting as the caller.
 *
 * How it works: setfsuid(2) and setfsgid(2) change the identity of the
 * calling thread in file system calls only. Leaving fsuid 0 takes the file
 * capabilities out of the effective set, returning to it restores them.
 * Where the kernel has already checked the caller (default_permissions),
 * CAP_DAC_OVERRIDE and CAP_MKNOD are raised again meanwhile: the host does not
 * know the caller's supplementary groups and would refuse what is allowed.
 * CAP_FSETID stays away, so the host drops set-group-id as for any user.
 *
 * The two calls report no error; asking for an impossible id returns the
 * current one, which is how success is checked.
 */
#include "fs/passthrough/credentials.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glib.h>
#include <linux/capability.h>

/* linux/capability.h of the kernel: what setfsuid() drops and restores */
static const unsigned file_capabilities[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
    CAP_FSETID, CAP_MKNOD,        CAP_LINUX_IMMUTABLE, CAP_MAC_OVERRIDE,
};

static bool has_capability(const uint32_t set[2], unsigned capability)
{
    return set[CAP_TO_INDEX(capability)] & CAP_TO_MASK(capability);
}

void fs_credentials_init(FsCredentials *credentials, bool trust_kernel)
{
    memset(credentials, 0, sizeof(*credentials));
    credentials->trust_kernel = trust_kernel;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &header, data) < 0) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        credentials->effective[i] = data[i].effective;
        credentials->permitted[i] = data[i].permitted;
        credentials->inheritable[i] = data[i].inheritable;
    }
    credentials->can_switch = geteuid() == 0 &&
                              has_capability(credentials->effective, CAP_SETUID) &&
                              has_capability(credentials->effective, CAP_SETGID);
}

static void set_effective(const FsCredentials *credentials, const uint32_t effective[2])
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (unsigned i = 0; i < 2; i++) {
        data[i].effective = effective[i];
        data[i].permitted = credentials->permitted[i];
        data[i].inheritable = credentials->inheritable[i];
    }
    if (syscall(SYS_capset, &header, data) < 0) {
        g_error("capset: %s", g_strerror(errno)); /* only ever asks for what is permitted */
    }
}

static void raise_trusted(const FsCredentials *credentials)
{
    uint32_t effective[2] = {credentials->effective[0], credentials->effective[1]};
    for (unsigned i = 0; i < G_N_ELEMENTS(file_capabilities); i++) {
        unsigned capability = file_capabilities[i];
        if (capability != CAP_DAC_OVERRIDE && capability != CAP_MKNOD) {
            effective[CAP_TO_INDEX(capability)] &= ~(uint32_t)CAP_TO_MASK(capability);
        }
    }
    set_effective(credentials, effective);
}

int fs_credentials_enter(const FsCredentials *credentials, uid_t uid, gid_t gid,
                         FsCredentialsSaved *saved)
{
    *saved = (FsCredentialsSaved){0};
    if (!credentials->can_switch) {
        return 0;
    }
    if (gid != 0) {
        setfsgid(gid);
        saved->switched_gid = true;
        if (setfsgid((gid_t)-1) != (int)gid) {
            fs_credentials_leave(credentials, saved);
            return -EINVAL;
        }
    }
    if (uid != 0) {
        setfsuid(uid);
        saved->switched_uid = true;
        if (setfsuid((uid_t)-1) != (int)uid) {
            fs_credentials_leave(credentials, saved);
            return -EINVAL;
        }
        if (credentials->trust_kernel) {
            raise_trusted(credentials);
        }
    }
    return 0;
}

void fs_credentials_leave(const FsCredentials *credentials, const FsCredentialsSaved *saved)
{
    int keep = errno;
    if (saved->switched_uid) {
        setfsuid(0);
        if (credentials->trust_kernel) {
            set_effective(credentials, credentials->effective);
        }
        if (setfsuid((uid_t)-1) != 0) {
            g_error("cannot return to fsuid 0");
        }
    }
    if (saved->switched_gid) {
        setfsgid(0);
        if (setfsgid((gid_t)-1) != 0) {
            g_error("cannot return to fsgid 0");
        }
    }
    errno = keep;
}
