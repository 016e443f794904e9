#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs check prints what this system offers, for people and as JSON.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

"$SLUICEFS" check | tee "$CASE_DIR/text"
grep -qi uring "$CASE_DIR/text"
grep -qi fuse "$CASE_DIR/text"
"$SLUICEFS" check --json >"$CASE_DIR/json"
python3 -m json.tool "$CASE_DIR/json" >/dev/null
"$HELPERS/runner/deny-uring" "$SLUICEFS" check --json | python3 -m json.tool >/dev/null
