#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Several processes that list, look up and read the files of one image at once all see what is in it.
#
# limit: 60
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command mkfs.ext4
cd "$CASE_DIR"
mkdir -p tree/many
cp -a "$TESTS"/cases "$TESTS"/unit tree
for i in $(seq 400); do echo "$i" >tree/many/number-"$i"; done
head -c 3000000 /dev/urandom >tree/random
truncate -s 40M image
mkfs.ext4 -q -F -b 1024 -d tree image
serve "$MNT" image image "$MNT" -o cache=none
python "$MNT" tree <<'PYTHON'
import multiprocessing

mnt, tree = sys.argv[1:]
files = [os.path.relpath(os.path.join(top, name), tree) for top, _, names in os.walk(tree) for name in names]


def play(seed):
    rng = random.Random(seed)
    for _ in range(150):
        name = rng.choice(files)
        with open(f"{tree}/{name}", "rb") as expected, open(f"{mnt}/{name}", "rb") as found:
            size = os.fstat(found.fileno()).st_size
            at = rng.randrange(size + 1)
            os.posix_fadvise(found.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(found.fileno(), 70000, at) == os.pread(expected.fileno(), 70000, at), name
        directory = os.path.dirname(name)
        assert {*os.listdir(f"{tree}/{directory}")} == {*os.listdir(f"{mnt}/{directory}")} - {"lost+found"}, name
        assert not os.path.lexists(f"{mnt}/{directory}/absent-{rng.randrange(1000)}")


with multiprocessing.get_context("fork").Pool(4) as pool:
    pool.map(play, range(4))
PYTHON
unmount
