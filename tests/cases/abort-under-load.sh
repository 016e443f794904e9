#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A forced abort of the connection under fio load: clients get errors, the daemon ends by itself
# with a status that tells.
#
# limit: 90
# quick: no
. "$(dirname "$0")/functions.sh"

require_command fio
mount_passthrough
# The daemon removes the mount, too: by its path a client that is late would find the directory below.
cd "$MNT"
fio --name=load --directory=. --size=8m --rw=randrw --ioengine=libaio --iodepth=32 --direct=1 \
    --numjobs=4 --thread --time_based --runtime=60 --fallocate=none >"$CASE_DIR/fio.log" 2>&1 &
fio=$!
"$HELPERS/stress/churn" --seconds=60 . &
churn=$!
cd "$CASE_DIR"
sleep 3
has_ended $fio && { cat "$CASE_DIR/fio.log"; fail "fio ended early"; }
abort_connection
wait_for 15 has_ended $churn || fail "a client hangs"
wait_for 20 has_ended $fio || fail "fio hangs"
wait $fio && fail "fio saw no error"
expect_daemon_status '[1-9][0-9]*'
if is_mounted; then
    timeout 10 umount "$MNT"
fi
exit 0
