# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Builds and their unit tests; sourced by run-tests, which sets SOURCE and BUILD.

# build NAME [MESON_OPTION...]: configure (once) and compile into $BUILD/NAME.
build() {
    local name=$1
    shift
    if [ ! -f "$BUILD/$name/build.ninja" ]; then
        rm -rf "${BUILD:?}/$name"
        meson setup "$BUILD/$name" "$SOURCE" -Dwerror=true "$@" || return
    fi
    ninja -C "$BUILD/$name"
}
export -f build

# build_step NAME CC [MESON_OPTION...]: a build as one result; once in a run.
declare -A built=()
build_step() {
    local name=$1 compiler=$2
    shift 2
    if [ -z "${built[$name]-}" ]; then
        built[$name]=failed
        if CC=$compiler step "build/$name" 900 bash -c 'build "$@"' build "$name" "$@"; then
            built[$name]=passed
        fi
    fi
    [ "${built[$name]}" = passed ]
}

# build_variant VARIANT: the build that a variant of the tests runs on.
build_variant() {
    case $1 in
    plain) build_step gcc gcc ;;
    asan) build_step asan gcc -Db_sanitize=address,undefined ;;
    tsan) build_step tsan gcc -Db_sanitize=thread -Db_lundef=false ;;
    esac
}

# variant_build VARIANT: its directory.
variant_build() {
    case $1 in
    plain) echo "$BUILD/gcc" ;;
    *) echo "$BUILD/$1" ;;
    esac
}

# unit_steps VARIANT [SUITE]: the wanted unit test programs; each TAP point is a result.
unit_steps() {
    local variant=$1 suite=${2-} build names programs lines log wrapper='' scale=1 suffix=''
    local status=0 result name seconds reason
    [ ${#wanted_units[@]} -gt 0 ] || return 0
    [ "$variant" = plain ] || { scale=4 suffix=" [$variant]"; }
    build=$(variant_build "$variant")
    # A program test-NAME may be registered several times (NAME, NAME-epoll, ...).
    if ! names=$(
        set -o pipefail
        meson introspect --tests "$build" | python3 "$SOURCE/tests/runner/select-tests" "$suite" \
            "$build" "${wanted_units[@]}"
    ); then
        result_add failed "unit$suffix" 0 "meson does not tell which tests there are"
        return
    fi
    if [ -z "$names" ]; then
        # Of a suite there may be none among those that are wanted.
        [ -n "$suite" ] || result_add failed "unit$suffix" 0 "the build has none of these tests"
        return
    fi
    if [ "$quick" = yes ]; then
        # With io_uring only; the other monitors and transports run the same points.
        names=$(grep -vE -- '-(epoll|poll|denied|over-uring)$' <<<"$names") || return 0
    fi
    mapfile -t programs <<<"$names"
    log=$build/meson-logs/testlog.json
    if [ "$variant" = tsan ]; then
        wrapper="env LD_PRELOAD=$build/tests/runner/libtsan-glib.so"
        log=$build/meson-logs/testlog-env.json # meson adds the wrapper's name
    fi
    rm -f "$log"
    run_child "$LOGS/unit-$variant.log" \
        ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
        TSAN_OPTIONS=second_deadlock_stack=1 \
        timeout -k 10 1200 meson test -C "$build" --no-rebuild --num-processes "$JOBS" \
        --timeout-multiplier $scale ${wrapper:+--wrapper "$wrapper"} "${programs[@]}" ||
        status=$?
    if [ ! -s "$log" ]; then
        result_add failed "unit$suffix" 0 "meson test ran nothing, see $LOGS/unit-$variant.log"
        show_log_tail "unit$suffix" "$LOGS/unit-$variant.log"
        return
    fi
    lines=$("$SOURCE/tests/runner/tap-results" "$log" "$suffix" "${programs[@]}") || status=$?
    while IFS=$'\t' read -r result name seconds reason; do
        result_add "$result" "$name" "$seconds" "$reason"
    done <<<"$lines"
    if [ $status -ne 0 ] && ! grep -q '^failed' <<<"$lines"; then
        result_add failed "unit$suffix" 0 "status $status, see $LOGS/unit-$variant.log"
        show_log_tail "unit$suffix" "$LOGS/unit-$variant.log"
    fi
}
