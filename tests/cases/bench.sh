#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A tiny run of the benchmark gives whole results, tables and plots; an interrupted one leaves no
# mount.
#
# limit: 240
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command fio git
BENCH=$TESTS/../tools/bench/sluicefs-bench
WORK=$CASE_DIR/work
TREE=$CASE_DIR/tree
mkdir -p "$WORK" "$TREE/sub"
for number in {1..20}; do
    echo "$number" >"$TREE/sub/file-$number"
done

# bench_run OUTPUT OPTION...
bench_run() {
    local output=$1
    shift
    "$BENCH" run --build="$BUILD" --directory="$WORK" --output="$output" --tree="$TREE" \
        --candidates=raw,sluicefs --size=1M --files=20 "$@"
}

# is_serving: a candidate is mounted and fio reads from it.
is_serving() {
    grep -q " $WORK/[^ ]*/mnt " /proc/self/mountinfo && grep -qs '^fio$' /proc/[0-9]*/comm
}

note "two rounds of two candidates"
bench_run "$CASE_DIR/a.json" --rounds=2 --seconds=0.5 \
    --rows='tmpfs/randread-4k-qd1,tmpfs/files-1,tmpfs/tree' >"$CASE_DIR/a.md"
python "$CASE_DIR/a.json" "$CASE_DIR/a.md" <<'PYTHON'
import json

document = json.load(open(sys.argv[1]))
assert document["complete"], document
equal([one["name"] for one in document["candidates"]], ["raw", "sluicefs"], "candidates")
equal(document["candidates"][1]["max_background"], 256, "max_background")
equal(sorted(row["name"] for row in document["rows"]), sorted(
    ["tmpfs/randread-4k-qd1", *(f"tmpfs/files-1/{step}" for step in
                                ("create", "stat", "read", "unlink")),
     *(f"tmpfs/tree/{step}" for step in ("tar", "add", "status"))]), "rows")
for row in document["rows"]:
    equal(row["errors"], {}, row["name"])
    for name in ("raw", "sluicefs"):
        samples = row["samples"][name]
        equal([sample["round"] for sample in samples], [0, 1], f"rounds of {row['name']}")
        for sample in samples:
            assert sample["operations"] > 0 and sample["throughput"] > 0, (row["name"], sample)
text = open(sys.argv[2]).read()
for row in document["rows"]:
    equal(text.count(f"| {row['name']} |"), 3 + (row["samples"]["raw"][0]["p50_us"] is not None),
          f"{row['name']} in the tables")
PYTHON
"$BENCH" compare "$CASE_DIR/a.json" >"$CASE_DIR/pairs.md"
grep -q '^| sluicefs | .* | 1 |' "$CASE_DIR/pairs.md" || fail "compare"
"$BENCH" compare --json "$CASE_DIR/a.json" "$CASE_DIR/a.json" >"$CASE_DIR/same.json"
grep -q '"change": 1.0' "$CASE_DIR/same.json" || fail "compare with itself"
"$BENCH" plot --directory="$CASE_DIR/plots" "$CASE_DIR/a.json" >/dev/null
grep -q '</svg>' "$CASE_DIR/plots/throughput-tmpfs.svg" || fail "plot"
grep -q 'tmpfs/files-1/stat' "$CASE_DIR/plots/tables.md" || fail "tables"

note "a candidate that fails is told, the others are measured"
bench_run "$CASE_DIR/b.json" --rounds=1 --seconds=0.1 --rows=tmpfs/files-1 --no-syscalls \
    --peer='broken=false {src} {mnt}' >"$CASE_DIR/b.md"
grep -q 'broken: could not mount' "$CASE_DIR/b.md" || fail "$(cat "$CASE_DIR/b.md")"

note "wrong usage"
expect_fail "no row is named 'none'" bench_run "$CASE_DIR/c.json" --rows=none
expect_fail 'lacks \{mnt\}' bench_run "$CASE_DIR/c.json" --peer='x=y {src}'
expect_fail 'No such file or directory' "$BENCH" run --build="$BUILD" --directory="$CASE_DIR/none" \
    --rows=tmpfs/files-1 --candidates=raw --output="$CASE_DIR/c.json"
expect_fail 'not a results file' "$BENCH" compare <(echo '{}')

note "interrupted"
"$BENCH" run --build="$BUILD" --directory="$WORK" --output="$CASE_DIR/d.json" --rounds=1 \
    --seconds=300 --size=1M --rows=tmpfs/randread-4k-qd1 --candidates=sluicefs \
    >"$CASE_DIR/d.md" 2>&1 &
bench=$!
wait_for 60 is_serving || fail "it did not mount: $(cat "$CASE_DIR/d.md")"
kill -TERM $bench
status=0
wait $bench || status=$?
assert_eq $status 130 "exit status"
! grep -F " $WORK/" /proc/self/mountinfo || fail "something is still mounted"
assert_eq "$(ls "$WORK")" "" "left in the work directory"
grep -q '"complete": false' "$CASE_DIR/d.json" || fail "no results of the interrupted run"
