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
    local variant=$1 suite=${2-} build programs=() lines log wrapper='' scale=1 suffix=''
    build=$(variant_build "$variant")
    # A program test-NAME may be registered several times (NAME, NAME-epoll, ...).
    mapfile -t programs < <(
        meson introspect --tests "$build" | python3 "$SOURCE/tests/runner/select-tests" "$suite" \
            "$build" "${wanted_units[@]}"
    )
    [ ${#programs[@]} -gt 0 ] || return 0
    [ "$variant" = plain ] || { scale=4 suffix=" [$variant]"; }
    log=$build/meson-logs/testlog.json
    if [ "$variant" = tsan ]; then
        wrapper="env LD_PRELOAD=$build/tests/runner/libtsan-glib.so"
        log=$build/meson-logs/testlog-env.json # meson adds the wrapper's name
    fi
    rm -f "$log"
    (
        export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
        export TSAN_OPTIONS=second_deadlock_stack=1
        timeout -k 10 1200 meson test -C "$build" --no-rebuild --num-processes "$JOBS" \
            --timeout-multiplier $scale ${wrapper:+--wrapper "$wrapper"} "${programs[@]}"
    ) >"$LOGS/unit-$variant.log" 2>&1 </dev/null
    if [ ! -s "$log" ]; then
        result_add failed "unit$suffix" 0 "meson test ran nothing, see $LOGS/unit-$variant.log"
        show_log_tail "$LOGS/unit-$variant.log"
        return
    fi
    lines=$("$SOURCE/tests/runner/tap-results" "$log" "$suffix")
    while IFS=$'\t' read -r status name seconds reason; do
        result_add "$status" "$name" "$seconds" "$reason"
    done <<<"$lines"
}
