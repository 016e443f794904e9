# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the head of a case says about it; sourced by run-case and run-tests.

# case_header FILE KEY DEFAULT: the value of a "# KEY: value" line.
case_header() {
    local value
    value=$(sed -n "/^[^#]/q;s/^# $2: *\([^ ]*\).*/\1/p" "$1")
    echo "${value:-$3}"
}
