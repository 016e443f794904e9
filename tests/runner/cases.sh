# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Cases in their configurations; sourced by run-tests.

# Where a case runs in each variant: "threads engine", the first also for "matrix: once".
configurations() {
    case $1 in
    plain)
        if [ "$quick" = yes ]; then
            echo '2 ring'
        else
            printf '%s\n' '1 ring' '4 ring' '1 denied' '4 threads'
        fi
        ;;
    asan) printf '%s\n' '4 ring' '2 denied' ;;
    tsan) printf '%s\n' '4 ring' '4 threads' ;;
    esac
}

# Cases that load several threads at once: what ThreadSanitizer is for.
tsan_cases=(abort-under-load exercise fio-verify flock-one-cpu fsync image-load kill-clients
    lazy-unmount metadata-stress posix-locks sigterm sqlite-wal steady-state)

# Cases that run with requests over io_uring, too, in the variants plain and asan.
uring_cases=(abort-under-load exercise flock-one-cpu kill-clients kill-daemon lazy-unmount
    posix-locks sigterm)
# And in the variant plain only.
uring_plain_cases=(cp-doc fsync git-clone large-io mmap-coherence sqlite-wal xattr)

# over_uring VARIANT NAME: whether the case also runs so.
over_uring() {
    [ "$quick" = no ] || return 1
    case $1 in
    plain) [[ " ${uring_cases[*]} ${uring_plain_cases[*]} " == *" $2 "* ]] ;;
    asan) [[ " ${uring_cases[*]} " == *" $2 "* ]] ;;
    tsan) [[ " abort-under-load exercise " == *" $2 "* ]] ;;
    esac
}

# case_tasks VARIANT: "name threads engine", one line for each wanted run.
case_tasks() {
    local variant=$1 name file first threads engine
    for name in "${wanted_cases[@]}"; do
        file=$SOURCE/tests/cases/$name.sh
        if [ "$quick" = yes ] && [ "$(case_header "$file" quick yes)" = no ]; then
            continue
        fi
        if [ "$variant" = tsan ] && [[ " ${tsan_cases[*]} " != *" $name "* ]]; then
            continue
        fi
        if [ -n "${THREADS-}${ENGINE-}" ]; then
            echo "$name ${THREADS:-1} ${ENGINE:-ring}"
            continue
        fi
        first=yes
        while read -r threads engine; do
            if [ $first = yes ] || [ "$(case_header "$file" matrix all)" = all ]; then
                echo "$name $threads $engine"
            fi
            first=no
        done < <(configurations "$variant")
        if over_uring "$variant" "$name"; then
            echo "$name 4 uring"
        fi
    done
}

# case_title VARIANT NAME THREADS ENGINE: the name of its result.
case_title() {
    local suffix=''
    [ "$1" = plain ] || suffix=" $1"
    echo "cases/$2 [threads=$3 $4$suffix]"
}

# run_one VARIANT NAME THREADS ENGINE: one case as one result.
run_one() {
    local variant=$1 name=$2 threads=$3 engine=$4 scale=1 status=0 seconds start log reason title
    title=$(case_title "$@")
    [ "$variant" = plain ] || scale=4
    log=$LOGS/case-$name-$threads-$engine-$variant.log
    start=$EPOCHREALTIME
    if [ "$variant" = tsan ]; then
        export SLUICEFS_PRELOAD=$BUILD/tsan/tests/runner/libtsan-glib.so
    fi
    THREADS=$threads ENGINE=$engine "$SOURCE/tests/runner/run-case" \
        --build="$(variant_build "$variant")" --scale=$scale --log="$log" \
        "$SOURCE/tests/cases/$name.sh" </dev/null &
    wait $! || status=$?
    seconds=$(seconds_since "$start")
    case $status in
    0) result_add passed "$title" "$seconds" ;;
    77)
        reason=$(sed -n 's/^SKIP: //p' "$log" | tail -n 1)
        result_add skipped "$title" "$seconds" "${reason:-no reason given}"
        ;;
    *)
        reason=$(sed -n 's/^FAILED: //p' "$log" | tail -n 1)
        [ -n "$reason" ] || reason=$(sed -n 's/^FAIL: //p' "$log" | tail -n 1)
        result_add failed "$title" "$seconds" "$reason"
        show_log_tail "$title" "$log"
        ;;
    esac
}

# run_beside VARIANT NAME THREADS ENGINE: run_one in a shell of its own that can be ended.
run_beside() {
    trap 'trap "" TERM; end_children; exit 143' TERM
    run_one "$@"
}

# case_steps VARIANT: all wanted cases of a variant, as many at once as there are processors;
# those that must be alone come last. A case without a result, because who ran it was
# ended, has failed.
case_steps() {
    local variant=$1 name threads engine running=0
    local alone=() titles=()
    local -A seen=()
    while read -r name threads engine; do
        titles+=("$(case_title "$variant" "$name" "$threads" "$engine")")
        if [ "$(case_header "$SOURCE/tests/cases/$name.sh" alone no)" = yes ]; then
            alone+=("$name $threads $engine")
            continue
        fi
        if [ $running -ge "$JOBS" ]; then
            wait -n
            running=$((running - 1))
        fi
        run_beside "$variant" "$name" "$threads" "$engine" &
        running=$((running + 1))
    done < <(case_tasks "$variant")
    wait
    for name in "${alone[@]}"; do
        read -r name threads engine <<<"$name"
        run_one "$variant" "$name" "$threads" "$engine"
    done
    while IFS=$'\t' read -r _ name _; do
        seen[$name]=yes
    done <"$RESULTS"
    for name in "${titles[@]}"; do
        [ -n "${seen[$name]-}" ] || result_add failed "$name" 0 "it gave no result"
    done
}

# leftovers: what a run must not leave behind, one line each.
leftovers() {
    local exe
    awk -v dir="$TMPDIR/" 'index($5, dir) == 1 { print "mount " $5 }' /proc/self/mountinfo
    grep -lF "$TMPDIR/" /sys/block/loop*/loop/backing_file 2>/dev/null | sed 's/^/loop device /'
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe") in
        "$BUILD"/*/tools/sluicefs*) echo "process ${exe//[!0-9]/}" ;;
        esac
    done
    find "$TMPDIR" -mindepth 1 -maxdepth 1 -printf 'directory %p\n'
}
