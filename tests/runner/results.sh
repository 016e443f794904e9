# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Results of a test run, one line each in $RESULTS:
#
#   STATUS <tab> NAME <tab> SECONDS <tab> REASON
#
# STATUS is passed, failed or skipped; a skipped test never counts as passed.
# Sourced by run-tests, which sets RESULTS, FAILURES, LOGS and QUIET.

# result_add STATUS NAME SECONDS [REASON]: note a result and tell the reader.
result_add() {
    local status=$1 name=$2 seconds=$3 reason=${4-}
    printf '%s\t%s\t%s\t%s\n' "$status" "$name" "$seconds" "${reason//[$'\t\n']/ }" >>"$RESULTS"
    result_show "$status" "$name" "$seconds" "$reason"
}

# result_show STATUS NAME SECONDS [REASON]: print one result.
result_show() {
    local status=$1 name=$2 seconds=$3 reason=${4-} color='' plain=''
    if [ -t 1 ]; then
        plain=$'\e[0m'
        case $status in
        passed) color=$'\e[32m' ;;
        failed) color=$'\e[31m' ;;
        skipped) color=$'\e[33m' ;;
        esac
    fi
    printf '%s%-7s%s %s (%s s)%s\n' "$color" "$status" "$plain" "$name" "$seconds" \
        "${reason:+: $reason}"
}

# result_count STATUS: how many results have it.
result_count() {
    awk -F'\t' -v status="$1" '$1 == status { n++ } END { print n + 0 }' "$RESULTS"
}

# results_json: every result as one JSON document on standard output.
results_json() {
    python3 - "$RESULTS" <<'PYTHON'
import json
import sys

results = []
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    status, name, seconds, reason = line.rstrip("\n").split("\t")
    results.append({"name": name, "status": status, "seconds": float(seconds), "reason": reason})
count = {s: sum(r["status"] == s for r in results) for s in ("passed", "failed", "skipped")}
json.dump({"results": results, **count}, sys.stdout, indent=1)
print()
PYTHON
}

# run_child LOG COMMAND...: run a program with its output in a log. The shell obeys its traps
# meanwhile, as it would not for a program in the foreground; SIGINT and SIGQUIT are to the program
# what they would be there. (A redirection of this function would be one of the traps, too.)
run_child() {
    local log=$1 status=0
    shift
    env --default-signal=INT,QUIT "$@" >"$log" 2>&1 </dev/null &
    wait $! || status=$?
    return $status
}

# end_children: end what this shell has started and wait until it is over.
end_children() {
    local pid
    for pid in $(jobs -pr); do
        kill -TERM "$pid" 2>/dev/null
    done
    wait
}

# step NAME LIMIT COMMAND...: run a command as one result, its output in a log.
step() {
    local name=$1 limit=$2 log start status=0 seconds
    shift 2
    log=$LOGS/${name//\//-}.log
    start=$EPOCHREALTIME
    run_child "$log" timeout -k 10 "$limit" "$@" || status=$?
    seconds=$(seconds_since "$start")
    case $status in
    0) result_add passed "$name" "$seconds" ;;
    77) result_add skipped "$name" "$seconds" "$(tail -n 1 "$log")" ;;
    *)
        [ $status -ne 124 ] || echo "step: time limit of $limit s reached" >>"$log"
        result_add failed "$name" "$seconds" "status $status, see $log"
        show_log_tail "$name" "$log"
        return 1
        ;;
    esac
}

# show_log_tail NAME FILE: the end of the log of what failed, indented; now, and once more before
# the last lines of the run: who is given the end of its output only can see the cause.
show_log_tail() {
    local text
    text=$(tail -n 25 "$2" | sed 's/^/    | /')
    printf '%s\n' "$text"
    printf '  %s\n%s\n' "$1" "$text" >>"$FAILURES"
}

# seconds_since EPOCHREALTIME: elapsed time with one decimal.
seconds_since() {
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'
}
