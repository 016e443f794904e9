#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The bash completion offers commands, the options of a command, their values, and words of -o.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

# shellcheck source=/dev/null
. "$BUILD/tools/sluicefs.bash"
compopt() {
    :
}

# offers EXPECTED WORD...: what is offered for the last of WORD... (EXPECTED: all of it).
offers() {
    local expected=$1
    shift
    COMP_WORDS=(sluicefs "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _sluicefs || true # compgen fails where nothing matches
    assert_eq "${COMPREPLY[*]}" "$expected" "completion of 'sluicefs $*'"
}
offers passthrough pa
offers --threads= passthrough --th
offers 'auto off classic weighted' passthrough --poll =
offers weighted passthrough --poll = w
offers 'ro,nosuid ro,nosymfollow ro,nostrictatime' passthrough -o ro,nos
offers --json check --j
offers '' check --th
