#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Processes that create, link, rename, exchange and remove the same few names at once cause no
# error but the expected ones, and both sides agree in the end.
#
# limit: 60
# quick: no
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" <<'PYTHON'
mnt = sys.argv[1]
expected = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EINVAL,
            errno.ELOOP, errno.EPERM, errno.ESTALE}


def play(seed):
    rng = random.Random(seed)
    os.chdir(mnt)
    ends = time.monotonic() + 6
    names = [f"{d}n{n}" for d in ("", "d0/", "d1/", "d0/d2/") for n in range(4)]
    dirs = ["d0", "d1", "d0/d2", "d1/d3"]
    done = 0
    while time.monotonic() < ends:
        a, b = rng.choice(names), rng.choice(names)
        d, e = rng.choice(dirs), rng.choice(dirs)
        action = rng.randrange(14)
        try:
            if action <= 2:
                write_file(a, b"x" * rng.randrange(5000))
            elif action == 3:
                read_file(a)
            elif action == 4:
                os.unlink(a)
            elif action == 5:
                os.rename(a, b)
            elif action == 6:
                rename2(a, b, RENAME_EXCHANGE)
            elif action == 7:
                os.link(a, b)
            elif action == 8:
                os.symlink(a, b)
            elif action == 9:
                os.mkdir(d)
            elif action == 10:
                os.rename(d, e)
            elif action == 11:
                os.rmdir(d)
            elif action == 12:
                list(os.scandir(d))
            else:
                os.stat(a)
            done += 1
        except OSError as error:
            if error.errno not in expected:
                print(f"action {action} on {a}, {b}, {d}, {e}: {error}", flush=True)
                return 1
    print(f"{done} operations", flush=True)
    return 0


children = []
for seed in range(6):
    child = os.fork()
    if child == 0:
        os._exit(play(seed))
    children.append(child)
for child in children:
    equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
PYTHON
sleep 1.5
diff <(describe_tree "$MNT") <(describe_tree "$SRC")
rm -rf "${MNT:?}"/* # there may be none
assert_eq "$(ls -A "$SRC")" ''
unmount
