/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Acting as the caller.
 *
 * How it works: setfsuid(2) and setfsgid(2) change the identity of the
 * calling thread in file system calls only. Leaving fsuid 0 takes the file
 * capabilities out of the effective set, returning to it restores them.
 * Where the kernel has already checked the caller (default_permissions),
 * CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_MKNOD are raised again meanwhile: the host
 * does not know all of the caller's groups and would refuse what is allowed.
 * CAP_SYS_RESOURCE goes as well: it overrules quotas and reserved blocks.
 * CAP_FSETID stays away, so the host drops set-group-id as for any user, unless
 * the file gets a group that the caller is in: its own, or the supplementary one that
 * the kernel names. The daemon itself has no supplementary groups.
 *
 * setgroups(2) as a bare system call concerns the calling thread; the
 * library's function would change every thread.
 *
 * setfsuid and setfsgid report no error; asking for an impossible id returns
 * the current one, which is how success is checked.
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

/* what setfsuid() drops and restores, and the right to the last blocks of a file system */
static const unsigned file_capabilities[] = {
    CAP_CHOWN, CAP_DAC_OVERRIDE,    CAP_DAC_READ_SEARCH, CAP_FOWNER,       CAP_FSETID,
    CAP_MKNOD, CAP_LINUX_IMMUTABLE, CAP_MAC_OVERRIDE,    CAP_SYS_RESOURCE,
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

static void lower_to_user(const FsCredentials *credentials, bool no_override)
{
    uint32_t effective[2] = {credentials->effective[0], credentials->effective[1]};
    for (unsigned i = 0; i < G_N_ELEMENTS(file_capabilities); i++) {
        unsigned capability = file_capabilities[i];
        bool trusted =
            credentials->trust_kernel && !no_override &&
            (capability == CAP_DAC_OVERRIDE || capability == CAP_FOWNER || capability == CAP_MKNOD);
        if (!trusted) {
            effective[CAP_TO_INDEX(capability)] &= ~(uint32_t)CAP_TO_MASK(capability);
        }
    }
    set_effective(credentials, effective);
}

void fs_credentials_drop_fsetid(const FsCredentials *credentials)
{
    uint32_t effective[2] = {credentials->effective[0], credentials->effective[1]};
    if (has_capability(effective, CAP_FSETID)) {
        effective[CAP_TO_INDEX(CAP_FSETID)] &= ~(uint32_t)CAP_TO_MASK(CAP_FSETID);
        set_effective(credentials, effective);
    }
}

void fs_credentials_restore_fsetid(const FsCredentials *credentials)
{
    if (has_capability(credentials->effective, CAP_FSETID)) {
        set_effective(credentials, credentials->effective);
    }
}

/* Of the calling thread only. */
static int set_groups(size_t count, const gid_t *groups)
{
#ifdef SYS_setgroups32
    return syscall(SYS_setgroups32, count, groups) < 0 ? -errno : 0;
#else
    return syscall(SYS_setgroups, count, groups) < 0 ? -errno : 0;
#endif
}

static int enter(const FsCredentials *credentials, const FsIdentity *identity,
                 FsCredentialsSaved *saved)
{
    if (identity->has_group) {
        int error = set_groups(1, &identity->group);
        if (error) {
            return error;
        }
        saved->switched_groups = true;
    }
    if (identity->gid != 0) {
        setfsgid(identity->gid);
        saved->switched_gid = true;
        if (setfsgid((gid_t)-1) != (int)identity->gid) {
            return -EINVAL;
        }
    }
    if (identity->uid != 0) {
        setfsuid(identity->uid);
        saved->switched_uid = true;
        if (setfsuid((uid_t)-1) != (int)identity->uid) {
            return -EINVAL;
        }
    }
    if (identity->no_fsetid || identity->no_override || identity->uid != 0) {
        lower_to_user(credentials, identity->no_override);
        saved->lowered = true;
    }
    return 0;
}

int fs_credentials_enter(const FsCredentials *credentials, const FsIdentity *identity,
                         FsCredentialsSaved *saved)
{
    *saved = (FsCredentialsSaved){0};
    if (!credentials->can_switch) {
        return 0;
    }
    int error = enter(credentials, identity, saved);
    if (error) {
        fs_credentials_leave(credentials, saved);
    }
    return error;
}

void fs_credentials_leave(const FsCredentials *credentials, const FsCredentialsSaved *saved)
{
    int keep = errno;
    if (saved->switched_uid) {
        setfsuid(0);
        if (setfsuid((uid_t)-1) != 0) {
            g_error("cannot return to fsuid 0");
        }
    }
    if (saved->lowered) {
        set_effective(credentials, credentials->effective);
    }
    if (saved->switched_gid) {
        setfsgid(0);
        if (setfsgid((gid_t)-1) != 0) {
            g_error("cannot return to fsgid 0");
        }
    }
    if (saved->switched_groups && set_groups(0, NULL) < 0) {
        g_error("cannot give up a supplementary group");
    }
    errno = keep;
}
