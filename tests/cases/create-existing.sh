#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Creating a file that somebody else has just made opens it only for whom its mode allows it.
. "$(dirname "$0")/functions.sh"

require_root
chmod 755 "$CASE_DIR"
chmod 777 "$SRC"
mount_passthrough -o allow_other --cache=always
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
USER, GROUP, OTHER_GROUP = 1000, 1000, 3000
count = 0


def create(owner, mode, flags, groups=(), caller_is_root=False):
    """
    The kernel is told that a name is free, then the source gets a file of that name: the errno
    of creating it on the mount (0: none) and what is in the file then.
    """
    global count
    count += 1
    name = f"/file{count}"
    expect_errno(errno.ENOENT, os.stat, mnt + name)
    write_file(src + name, b"secret")
    os.chown(src + name, *owner)
    os.chmod(src + name, mode)

    def open_it():
        try:
            os.close(os.open(mnt + name, flags | os.O_CREAT, 0o644))
        except OSError as error:
            return error.errno
        return 0

    result = open_it() if caller_is_root else as_user(USER, open_it, gid=GROUP, groups=groups)
    return result, read_file(src + name)


ROOT, OWN = (0, 0), (USER, GROUP)
kept, emptied = b"secret", b""
for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND:
    equal(create(ROOT, 0o600, flags), (errno.EACCES, kept), f"root's, flags {flags:#o}")
equal(create(ROOT, 0o644, os.O_RDONLY), (0, kept), "readable")
equal(create(ROOT, 0o644, os.O_RDWR), (errno.EACCES, kept), "readable only")
equal(create(ROOT, 0o666, os.O_RDWR | os.O_TRUNC), (0, emptied), "everybody's")
equal(create(ROOT, 0o600, os.O_RDWR | os.O_EXCL), (errno.EEXIST, kept), "O_EXCL")
equal(create(OWN, 0o600, os.O_RDWR | os.O_EXCL), (errno.EEXIST, kept), "O_EXCL, one's own")
equal(create(OWN, 0o600, os.O_RDWR), (0, kept), "one's own")
equal(create(OWN, 0o600, os.O_RDWR | os.O_TRUNC), (0, emptied), "one's own, truncated")
equal(create(OWN, 0o466, os.O_RDWR), (errno.EACCES, kept), "one's own, read-only")
equal(create((0, OTHER_GROUP), 0o660, os.O_RDWR, [OTHER_GROUP]), (0, kept), "the group's")
equal(create((0, OTHER_GROUP), 0o606, os.O_RDWR, [OTHER_GROUP]), (errno.EACCES, kept),
      "not the group's")
equal(create(OWN, 0o000, os.O_RDWR, caller_is_root=True), (0, kept), "root opens all")
equal(create(ROOT, 0o000, os.O_RDWR, caller_is_root=True), (0, kept), "root opens its own")


# While somebody makes and removes it on the source all the time, creating it always works.
def race():
    def remove(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    churn = os.fork()
    while churn == 0:
        write_file(src + "/race", b"")
        remove(src + "/race")
    try:
        for _ in range(300):
            os.close(os.open(mnt + "/race", os.O_RDWR | os.O_CREAT, 0o644))
            remove(mnt + "/race")
    except OSError as error:
        return error.errno
    finally:
        os.kill(churn, signal.SIGKILL)
        os.waitpid(churn, 0)
        remove(src + "/race")
    return 0


equal(race(), 0, "errno while it comes and goes")
equal(as_user(USER, race, gid=GROUP), 0, "errno while it comes and goes, as a user")
PYTHON
unmount
