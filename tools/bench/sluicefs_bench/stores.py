# SPDX-License-Identifier: LGPL-2.1-or-later
"""The directories that are served: one on a disk, one on a tmpfs of our own.

Everything of a run is below one work directory:

    WORK/disk/src    WORK/tmpfs (a mount)/src    served
    WORK/mnt                                     where candidates are mounted
    WORK/tree.tar                                a real tree, packed

Each src holds "data", the file of the fio rows, and "tree", the unpacked tree of the find rows,
both made when the first row asks for them.
"""
import os
import shutil
import subprocess
import tarfile
import tempfile

from .errors import BenchError
from .mounts import mounts_now

STORES = ("disk", "tmpfs")


def tree_files(root, limit):
    """Paths of the first regular files and links below root, relative, in a fixed order."""
    found = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or os.path.isfile(path):
                found.append(os.path.relpath(path, root))
                if len(found) == limit:
                    return found
    return found


class Store:
    """One served directory."""

    def __init__(self, name, source, archive):
        self.name = name
        self.source = source
        self._archive = archive
        os.mkdir(source)

    def need_data(self, size):
        """The data file, of incompressible bytes that are on the disk and not in memory."""
        path = os.path.join(self.source, "data")
        if os.path.exists(path):
            return
        block = os.urandom(1 << 20)
        with open(path, "wb") as file:
            for start in range(0, size, len(block)):
                file.write(block[:size - start])
        self.evict("data")

    def need_tree(self):
        """The unpacked tree."""
        path = os.path.join(self.source, "tree")
        if not os.path.exists(path):
            os.mkdir(path)
            subprocess.run(["tar", "-xf", self._archive, "-C", path], check=True)
            os.sync()

    def evict(self, name):
        """Write a file out and drop it from the page cache of the file system."""
        with open(os.path.join(self.source, name), "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def clear(self, *names):
        """Remove what a workload made."""
        for name in names:
            path = os.path.join(self.source, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)


class Work:
    """A context: the work directory of a run, removed at the end with all that is mounted in it."""

    def __init__(self, parent, tree, tree_limit):
        self._parent = parent
        self._tree = tree
        self._tree_limit = tree_limit
        self._stores = {}
        self.path = None
        self.tree_count = 0

    def __enter__(self):
        try:
            self.path = os.path.realpath(tempfile.mkdtemp(prefix="sluicefs-bench-",
                                                          dir=self._parent))
        except OSError as error:
            raise BenchError(f"no work directory in {self._parent}: {error.strerror}") from error
        os.chmod(self.path, 0o755)
        os.mkdir(self.mountpoint)
        return self

    def __exit__(self, *unused):
        for path, _ in reversed(mounts_now()):
            if path.startswith(self.path + "/"):
                subprocess.run(["umount", "-l", path], check=False)
        if any(path.startswith(self.path + "/") for path, _ in mounts_now()):
            raise BenchError(f"something is still mounted below {self.path}; not removed")
        shutil.rmtree(self.path)

    @property
    def mountpoint(self):
        return os.path.join(self.path, "mnt")

    @property
    def archive(self):
        return os.path.join(self.path, "tree.tar")

    def need_archive(self):
        """Pack the tree once."""
        if os.path.exists(self.archive):
            return
        names = tree_files(self._tree, self._tree_limit)
        if not names:
            raise BenchError(f"there are no files below {self._tree}; choose another --tree")
        self.tree_count = len(names)
        with tarfile.open(self.archive, "w") as archive:
            for name in names:
                archive.add(os.path.join(self._tree, name), name, recursive=False)

    def store(self, name):
        """The store, made when first asked for."""
        if name not in self._stores:
            place = os.path.join(self.path, name)
            os.mkdir(place)
            if name == "tmpfs":
                mounted = subprocess.run(["mount", "-t", "tmpfs", "sluicefs-bench", place],
                                         stderr=subprocess.PIPE, text=True, check=False)
                if mounted.returncode != 0:
                    raise BenchError(f"no tmpfs at {place}: {mounted.stderr.strip()}")
            self._stores[name] = Store(name, os.path.join(place, "src"), self.archive)
        return self._stores[name]
