#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Hard links share one inode: numbers, counts, contents and open files stay right while names
# come and go.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
os.chdir(mnt)
write_file("one", b"data")
os.link("one", "two")
os.mkdir("dir")
os.link("two", "dir/three")
inodes = {os.stat(name).st_ino for name in ("one", "two", "dir/three")}
equal(len(inodes), 1, "distinct inode numbers")
equal(os.stat("one").st_nlink, 3)
with open("dir/three", "ab") as file:
    file.write(b" more")
equal(read_file("one"), b"data more")
expect_errno(errno.EEXIST, os.link, "one", "two")
expect_errno(errno.ENOENT, os.link, "none", "x")
expect_errno(errno.EPERM, os.link, "dir", "dirlink")

# A rename onto another link of the same file does nothing.
os.rename("one", "two")
equal(os.path.exists("one") and os.path.exists("two"), True)

held = open("one", "rb")
os.unlink("one")
equal(os.fstat(held.fileno()).st_nlink, 2)
os.unlink("two")
equal(os.stat("dir/three").st_nlink, 1)
write_file("one", b"another file")
equal(read_file("one"), b"another file")
equal(held.read(), b"data more")
os.unlink("dir/three")
held.seek(0)
equal(held.read(), b"data more", "the file without a name")
equal(os.fstat(held.fileno()).st_nlink, 0)
held.close()

# Look up, forget and look up again through many names of few inodes.
for number in range(50):
    write_file(f"f{number}", b"%d" % number)
    for link in range(20):
        os.link(f"f{number}", f"l{number}-{link}")
for round in range(3):
    for number in range(50):
        for link in range(20):
            name = f"l{number}-{link}"
            equal(os.stat(name).st_nlink, 21)
            if round == 1:
                os.unlink(name)
                os.link(f"f{number}", name)
    if os.geteuid() == 0:
        write_file("/proc/sys/vm/drop_caches", b"2")
for number in range(50):
    equal(read_file(f"l{number}-7"), b"%d" % number)
    equal(os.stat(f"{src}/f{number}").st_nlink, 21)
PYTHON
unmount
