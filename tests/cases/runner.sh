#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# run-tests runs what it is asked for or fails, also when a part of it is ended halfway, and can be
# interrupted; run-case leaves nothing behind then.
#
# limit: 300
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

# A tree with the real scripts and programs that only pretend.
tree=$CASE_DIR/tree
mkdir -p "$tree"/{tools/dev,tests/{unit,bench,fuzz,cases}} programs
cp "$TESTS/../tools/run-tests" "$tree/tools/"
cp -r "$TESTS/runner" "$tree/tests/"
touch "$tree"/tests/unit/test-{one,two}.c
for name in floors format style scripts docs names behaviours lint; do
    printf '#!/bin/sh\necho %s >>"$CASE_DIR/ran"\n' $name >"$tree/tools/dev/check-$name"
done
printf '#!/bin/sh\n' >"$tree/tools/dev/install-packages"
cat >programs/meson <<'MESON'
#!/bin/bash
case $1 in
setup) mkdir -p "$2/meson-logs" && touch "$2/build.ninja" ;;
introspect) cat "$CASE_DIR/registered" ;;
test)
    cp "$CASE_DIR/log" "$3/meson-logs/testlog.json"
    exit "$(cat "$CASE_DIR/status")"
    ;;
esac
MESON
cat >programs/ninja <<'NINJA'
#!/bin/sh
[ ! -e "$CASE_DIR/slow" ] || {
    echo $$ >"$CASE_DIR/builds"
    exec sleep 1000
}
NINJA
chmod +x programs/* "$tree"/tools/dev/*
both='[{"name": "one", "cmd": ["test-one"], "suite": ["a:unit"]},
{"name": "two", "cmd": ["test-two"], "suite": ["a:unit"]}]'
one='{"name": "unit / one", "stdout": "1..1\nok 1 /one\n", "result": "OK", "duration": 1}'
two='{"name": "unit / two", "stdout": "1..1\nok 1 /two\n", "result": "OK", "duration": 1}'

pretended=(env -u SOURCE -u LOGS -u RESULTS PATH="$CASE_DIR/programs:$PATH" TMPDIR="$CASE_DIR"
    SLUICEFS_TEST_BUILD="$CASE_DIR/build" "$tree/tools/run-tests")

# run_tests ARGUMENT...: what it said is in $CASE_DIR/said.
run_tests() {
    rm -rf ran build
    "${pretended[@]}" "$@" >said 2>&1
}

# passes NAMES ARGUMENT...: it passes with just these results.
passes() {
    local names=$1
    shift
    run_tests "$@" || fail "run-tests $*: $(cat said)"
    assert_eq "$(sed -n '/setup/d; s/^passed *\([^ ]*\) (.*/\1/p' said | sort | xargs)" "$names" "$*"
}

# fails TEXT ARGUMENT...: it fails and says so.
fails() {
    local text=$1
    shift
    if run_tests "$@"; then
        fail "run-tests $* passed: $(cat said)"
    fi
    grep -qF -- "$text" said || fail "run-tests $* said: $(cat said)"
}

note "what is named is run"
passes 'build/gcc check/lint' check/lint
assert_eq "$(cat ran)" lint
passes build/asan build/asan
passes build/tsan build/tsan
passes 'build/asan build/clang build/gcc build/tsan' build
passes 'build/gcc check/behaviours check/docs check/floors check/format check/lint check/names check/scripts check/style' \
    check
passes 'build/gcc check/names' --variant=asan check/names
fails 'setup/nothing-ran' --quick check/lint

note "unit tests without a result"
echo "$both" >registered
printf '%s\n' "$one" "$two" >log
echo 0 >status
passes 'build/gcc unit/one/one unit/two/two' unit
echo 137 >status
fails 'failed  unit (0 s): status 137' unit
printf '%s\n' "$one" >log
fails 'failed  unit/two (0.0 s)' unit
printf '%s\n%.20s' "$one" "$two" >log
fails 'failed  unit/two (0.0 s)' unit
: >log
fails 'failed  unit (0 s)' unit
echo '[]' >registered
fails 'the build has none of these tests' unit
echo 'nonsense' >registered
fails 'meson does not tell' unit

note "a case whose runner is ended"
printf '#!/bin/sh\nkill -KILL $PPID\n' >"$tree/tests/runner/run-case"
touch "$tree/tests/cases/example.sh"
require_root
THREADS=1 ENGINE=ring fails 'failed  cases/example [threads=1 ring] (0 s): it gave no result' \
    cases/example

note "a case that fails: its last words are among those of the run"
printf '#!/bin/sh\nexpr "$3" : --log= >/dev/null && echo the cause >"${3#--log=}"\nexit 1\n' \
    >"$tree/tests/runner/run-case"
THREADS=1 ENGINE=ring fails '    | the cause' cases/example
assert_eq "$(sed -n '/^The last words/,/^Failed:/p' said)" \
    $'The last words of what failed:\n  cases/example [threads=1 ring]\n    | the cause\nFailed:'

# ends_within_reason PID: a process that was told to end does so, long before its work is done.
ends_within_reason() {
    wait_for 40 has_ended "$1" || fail "process $1 does not end"
}

note "interrupted while it builds"
rm -rf build
touch slow
"${pretended[@]}" build/gcc >said 2>&1 &
runner=$!
wait_for 40 test -s builds || fail "it does not build: $(cat said)"
kill -TERM $runner
ends_within_reason $runner
status=0
wait $runner || status=$?
assert_eq $status 1 "status"
grep -q '^0 passed, .* failed, 0 skipped' said || fail "$(cat said)"
grep -q 'failed  setup/interrupted' said || fail "$(cat said)"
wait_for 10 has_ended "$(cat builds)" || fail "what it ran still runs"

note "a case that is interrupted"
cat >mounts.sh <<'CASE'
#!/bin/bash
. "$FUNCTIONS"
mount_passthrough
touch "$TOLD"
sleep 1000
CASE
mkdir inner
FUNCTIONS=$TESTS/cases/functions.sh TOLD=$CASE_DIR/told TMPDIR=$CASE_DIR/inner \
    "$TESTS/runner/run-case" --build="$BUILD" --log="$CASE_DIR/inner.log" mounts.sh &
runner=$!
wait_for 40 test -e told || fail "it does not mount: $(cat inner.log)"
kill -TERM $runner
ends_within_reason $runner
grep -q '^FAILED: interrupted' inner.log || fail "$(cat inner.log)"
assert_eq "$(ls inner)" "" "left in the directory"
! grep -q "$CASE_DIR/inner" /proc/self/mountinfo || fail "a mount is left"
