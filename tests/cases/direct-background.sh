#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Asynchronous direct writes beside readers of the same pages go on where the kernel has no more
# background requests than those writes.
#
# limit: 120
# matrix: once
# quick: no
# alone: yes
. "$(dirname "$0")/functions.sh"

require_command fio
UNTESTED=''

# lower_meanwhile FILE: to the least, while writes wait.
lower_meanwhile() {
    sleep 0.$((RANDOM % 5 + 1))
    echo 1 >"$1"
}

# contend MAX_BACKGROUND [LOWERED|meanwhile]: an administrator lowers it afterwards.
contend() {
    local status=0 lowering=
    mount_passthrough --max-background="$1"
    if [ $# -eq 2 ]; then
        local limit
        limit=/sys/fs/fuse/connections/$(connection_of "$MNT")/max_background
        if [ ! -w "$limit" ]; then
            note "NOT TESTED: lowering max-background, fusectl is not mounted, or not root"
            UNTESTED='lowering max-background'
            unmount
            return
        fi
        if [ "$2" = meanwhile ]; then
            lower_meanwhile "$limit" &
            lowering=$!
        else
            echo "$2" >"$limit"
        fi
    fi
    python "$MNT" <<'PYTHON' || status=$?
path = sys.argv[1] + "/file"
SIZE, STEP = 16 << 20, 128 << 10
write_file(path, bytes(SIZE))


def read_on_and_on():
    child = os.fork()
    if child == 0:
        fd = os.open(path, os.O_RDONLY)
        while True:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            for offset in range(0, SIZE, STEP):
                os.pread(fd, STEP, offset)
    return child


children = [read_on_and_on() for _ in range(3)]
try:
    subprocess.run(["fio", "--name=direct", f"--filename={path}", "--rw=randwrite", "--bs=64k",
                    "--direct=1", "--ioengine=libaio", "--iodepth=16", f"--size={SIZE}",
                    "--io_size=32m", "--norandommap", "--overwrite=1", "--fallocate=none"],
                   stdout=subprocess.DEVNULL, check=True,
                   timeout=40 * int(os.environ["CASE_SCALE"]))
except subprocess.TimeoutExpired:
    sys.exit(3)
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
PYTHON
    [ -z "$lowering" ] || wait $lowering
    [ $status -eq 0 ] || fail "writers and readers wait for each other (max-background=$*)"
    unmount
}

contend 1
contend 4
contend 256 4
contend 256 meanwhile
[ -z "$UNTESTED" ] || note "passed without: $UNTESTED"
