# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What cases share. A case is tests/cases/NAME.sh; that it exists registers it:
#
#   #!/bin/bash
#   # SPDX-License-Identifier: LGPL-2.1-or-later
#   #
#   # One sentence: the behaviour that this case proves.
#   #
#   # limit: 30        seconds it may take (default 60)
#   # matrix: once     threads and engine do not matter (default: all)
#   # quick: no        left out of run-tests --quick
#   # alone: yes       nothing else may run meanwhile
#   . "$(dirname "$0")/functions.sh"
#
#   mount_passthrough
#   echo hello >"$MNT/file"
#   assert_eq "$(cat "$SRC/file")" hello
#   unmount
#
# It runs in an empty work directory of its own ($CASE_DIR), with $SRC and $MNT
# made below it, and ends at the first command that fails (set -e). THREADS (1,
# 4) and ENGINE (ring, threads, denied, uring) in the environment are the
# configuration; uring is the ring with requests over io_uring. To run one by
# hand: sudo tests/cases/NAME.sh

if [ -z "${CASE_DIR-}" ]; then
    exec "$(dirname "$(readlink -f "$0")")/../runner/run-case" --keep "$0"
fi

set -Eeuo pipefail
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND (status $?)"' ERR

SRC=$CASE_DIR/src
MNT=$CASE_DIR/mnt
HELPERS=$BUILD/tests
DAEMON_LOG=$CASE_DIR/daemon.log
FUSE_URING=/sys/module/fuse/parameters/enable_uring
FUSE_URING_LOCK='' # descriptor, while the parameter is held
FUSE_URING_TRAP='' # of the case's exit, meanwhile
declare -A DAEMON=() # mountpoint -> process id of its daemon, a child of the case
mkdir "$SRC" "$MNT"

# note TEXT...: a line for the log.
note() {
    echo "$*"
}

# fail TEXT...: the case has failed.
fail() {
    echo "FAIL: $*"
    if [ -s "$DAEMON_LOG" ]; then
        echo "daemon log:"
        tail -n 20 "$DAEMON_LOG"
    fi
    exit 1
}

# skip REASON...: the case cannot run here.
skip() {
    echo "SKIP: $*"
    exit 77
}

# require_command NAME...: skip unless the programs exist.
require_command() {
    local name
    for name; do
        command -v "$name" >/dev/null || skip "no command '$name'"
    done
}

# require_root: skip unless root.
require_root() {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
}

# require_watch: skip unless $SRC can be watched here.
require_watch() {
    local refusal=$CASE_DIR/refusal
    if "$SLUICEFS" passthrough "$SRC" "$MNT" --watch >"$refusal" 2>&1; then
        "$SLUICEFS" umount "$MNT"
    elif grep -qE 'cannot watch the source.*(not permitted|not implemented|Invalid argument|max_user_)' "$refusal"; then
        skip "$(grep 'cannot watch the source' "$refusal")"
    else
        fail "$(cat "$refusal")"
    fi
}

# assert_eq ACTUAL EXPECTED [WHAT]
assert_eq() {
    [ "$1" = "$2" ] || fail "${3:-value}: got '$1', expected '$2'"
}

# expect_fail TEXT COMMAND...: the command fails and says TEXT (an extended regex; '' for any).
expect_fail() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        fail "succeeded, should not: $*"
    fi
    [[ $output =~ $text ]] || fail "'$*' said '$output', expected '$text'"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1 * CASE_SCALE))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# has_ended PID: whether the process has ended; its parent need not have noticed.
has_ended() {
    [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null || true)" = "" ] ||
        grep -q '^State:.[ZX]' "/proc/$1/status" 2>/dev/null
}

# is_mounted [MOUNTPOINT]: without touching it.
is_mounted() {
    awk -v dir="${1:-$MNT}" '$5 == dir { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# connection_of [MOUNTPOINT]: number of the FUSE connection.
connection_of() {
    awk -v dir="${1:-$MNT}" '$5 == dir { split($3, dev, ":"); print dev[2] }' /proc/self/mountinfo
}

# abort_connection [MOUNTPOINT]: cut the FUSE connection by force.
abort_connection() {
    echo 1 >"/sys/fs/fuse/connections/$(connection_of "${1:-$MNT}")/abort"
}

# hold_fuse_uring Y|N: from now on the kernel offers FUSE over io_uring to new mounts, or does not,
# and nobody else changes that; until release_fuse_uring, or the end of the case.
hold_fuse_uring() {
    [ -e "$FUSE_URING" ] || skip "this kernel has no FUSE over io_uring"
    exec {FUSE_URING_LOCK}>/tmp/fuse-param.lock
    flock "$FUSE_URING_LOCK"
    FUSE_URING_TRAP=$(trap -p EXIT)
    trap release_fuse_uring EXIT
    FUSE_URING_BEFORE=$(cat "$FUSE_URING")
    { echo "$1" >"$FUSE_URING"; } 2>/dev/null || skip "cannot write to $FUSE_URING"
}

release_fuse_uring() {
    [ -n "$FUSE_URING_LOCK" ] || return 0
    { echo "$FUSE_URING_BEFORE" >"$FUSE_URING"; } 2>/dev/null || true
    exec {FUSE_URING_LOCK}>&-
    FUSE_URING_LOCK=''
    trap - EXIT
    eval "$FUSE_URING_TRAP" # what the case itself wants done at its end
}

# without_fuse_lock COMMAND...: what stays must not keep the lock.
without_fuse_lock() {
    if [ -n "$FUSE_URING_LOCK" ]; then
        exec {FUSE_URING_LOCK}>&-
    fi
    exec "$@"
}

# transport_of [MOUNTPOINT]: how its requests come.
transport_of() {
    "$SLUICEFS" status --json "${1:-$MNT}" | sed -n 's/^ *"transport" : "\(.*\)",*$/\1/p'
}

# engine_options: sets OPTIONS and WRAPPER for the configuration.
engine_options() {
    OPTIONS=(--threads="$THREADS")
    WRAPPER=(${SLUICEFS_PRELOAD:+env LD_PRELOAD="$SLUICEFS_PRELOAD"})
    case $ENGINE in
    ring) OPTIONS+=(--io-engine=uring) ;;
    uring) OPTIONS+=(--io-engine=uring --transport=uring) ;;
    threads) OPTIONS+=(--io-engine=threads) ;;
    denied)
        [ -x "$HELPERS/runner/deny-uring" ] || skip "deny-uring was not built (libseccomp)"
        WRAPPER+=("$HELPERS/runner/deny-uring")
        ;;
    *) fail "unknown ENGINE '$ENGINE'" ;;
    esac
}

# serve MOUNTPOINT SUBCOMMAND ARGUMENT...: start a daemon in the foreground, a
# child of the case, and wait until it serves. An ARGUMENT wins against the configuration.
serve() {
    local mountpoint=$1 fifo=$CASE_DIR/ready.$RANDOM ready pid
    shift
    mkfifo "$fifo"
    exec {ready}<>"$fifo"
    rm "$fifo"
    engine_options
    [ "$ENGINE" != uring ] || hold_fuse_uring Y
    # What a shell runs beside itself ignores SIGINT, and the daemon leaves that as it is.
    without_fuse_lock env --default-signal=INT "${WRAPPER[@]}" "$SLUICEFS" "$1" -f \
        --ready-fd=$ready "${OPTIONS[@]}" "${@:2}" >>"$DAEMON_LOG" 2>&1 &
    pid=$!
    # Time that runs out while the line is read takes what was read away from the next read.
    until read -r -t 0.1 -u $ready || [ -n "${REPLY-}" ]; do
        kill -0 $pid 2>/dev/null || fail "the daemon ended: sluicefs $*"
    done
    exec {ready}>&-
    is_mounted "$mountpoint" || fail "ready, but not mounted: $mountpoint"
    DAEMON[$mountpoint]=$pid
    if [ "$ENGINE" = uring ]; then
        release_fuse_uring
        assert_eq "$(transport_of "$mountpoint")" uring 'transport'
    fi
}

# mount_passthrough [OPTION...]: serve $SRC at $MNT.
mount_passthrough() {
    serve "$MNT" passthrough "$SRC" "$MNT" "$@"
}

# mount_passthrough_at SOURCE MOUNTPOINT [OPTION...]
mount_passthrough_at() {
    local source=$1 mountpoint=$2
    shift 2
    serve "$mountpoint" passthrough "$source" "$mountpoint" "$@"
}

# unmount [MOUNTPOINT]: unmount, wait for the daemon, which must end with status 0.
unmount() {
    local mountpoint=${1:-$MNT}
    "$SLUICEFS" umount "$mountpoint" --timeout=$((60 * CASE_SCALE))
    if is_mounted "$mountpoint"; then
        fail "still mounted: $mountpoint"
    fi
    expect_daemon_status 0 "$mountpoint"
}

# expect_daemon_status STATUS [MOUNTPOINT]: wait for the daemon's end; its exit
# status must match (an extended regex).
expect_daemon_status() {
    local mountpoint=${2:-$MNT} status=0
    local pid=${DAEMON[$mountpoint]}
    wait_for 20 has_ended "$pid" || fail "the daemon (process $pid) does not end"
    wait "$pid" || status=$?
    unset "DAEMON[$mountpoint]"
    [[ $status =~ ^($1)$ ]] || fail "the daemon ended with status $status, expected $1"
}

# describe_tree DIRECTORY: a line of attributes for each file.
describe_tree() {
    (cd "$1" && find . -mindepth 1 \( -type d -printf '%p %M %U %G %T@\n' \) -o \
        -printf '%p %M %U %G %T@ %s %n %l\n' | sort)
}

# same_tree A B: both directories hold the same names, contents, modes, owners, times, links.
same_tree() {
    diff -r --no-dereference "$1" "$2" || fail "contents differ: $1 $2"
    diff <(describe_tree "$1") <(describe_tree "$2") || fail "attributes differ: $1 $2"
}

# python [ARGUMENT...]: run the Python program on standard input; tests/cases/check.py
# is imported.
python() {
    PYTHONPATH=$TESTS/cases PYTHONDONTWRITEBYTECODE=1 python3 -c \
        'import sys; from check import *; exec(compile(sys.stdin.read(), "case", "exec"))' "$@"
}

# own_mounts COMMAND [ARGUMENT...]: run it in a mount namespace of its own.
own_mounts() {
    "$TESTS/runner/own-mounts" "$@"
}

# is_detached IMAGE: whether no loop device is left of it.
is_detached() {
    [ -z "$(losetup -j "$1")" ]
}

# own_mkfs_settings: from now on the host's mke2fs.conf does not matter; blocks have 1 KiB.
own_mkfs_settings() {
    export MKE2FS_CONFIG=$CASE_DIR/mke2fs.conf
    cat >"$MKE2FS_CONFIG" <<'CONFIG'
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    blocksize = 1024
    inode_size = 256
    inode_ratio = 4096
[fs_types]
    ext3 = {
        features = has_journal
    }
    ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }
CONFIG
}

# in_loop IMAGE OPTIONS COMMAND...: run it while the kernel has the image mounted on the directory inner; in a
# mount namespace of its own, so that nobody else's namespace gets a copy of the mount and keeps it.
in_loop() {
    local image=$1 status=0
    shift
    losetup -f >/dev/null 2>&1 || skip "no loop devices here"
    # shellcheck disable=SC2016
    own_mounts bash -c 'mount -o "loop,$2" "$1" inner || exit; shift 2; "$@" && umount inner' - "$image" "$@" ||
        status=$?
    wait_for 30 is_detached "$image" || fail "the loop device stays: $(losetup -j "$image")"
    return $status
}

# same_walk IMAGE OTHER NAME: the files that we show in IMAGE are those that the kernel shows in OTHER, and IMAGE
# stays as it is; by turns with one and several threads and each engine. Leaves the walks in kernel and ours.
SAME_WALK_TURN=0
same_walk() {
    local image=$1 other=$2 name=$3 before configurations=('1 ring' '4 ring' '1 denied' '4 threads')
    in_loop "$other" ro python3 "$TESTS/cases/image-walk.py" inner >kernel || fail "$name cannot be walked"
    before=$(sha256sum "$image")
    read -r THREADS ENGINE <<<"${configurations[SAME_WALK_TURN++ % 4]}"
    serve "$MNT" image "$image" "$MNT"
    python3 "$TESTS/cases/image-walk.py" "$MNT" >ours
    unmount
    if ! cmp -s kernel ours; then
        diff kernel ours >difference || cut -c 1-300 difference | sed -n 1,20p
        fail "$name is not what the kernel shows"
    fi
    assert_eq "$(sha256sum "$image")" "$before" "$name after the mount"
    note "$name: $(wc -l <ours) files are the same ($THREADS $ENGINE)"
}
