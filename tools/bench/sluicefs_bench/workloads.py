# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done on each mount.

A workload is a list of steps on one fresh mount; each step is a row of the results. What a
step needs is made by its preparation, which is not measured. The unit says what an operation
is; a row's throughput is operations, or bytes, in a second.
"""
import json
import os
from collections import namedtuple

from . import clients
from .fio import Job, Outcome, parse

# prepare(place) and run(place) -> Outcome; unit: "ops" or "bytes".
Step = namedtuple("Step", "name unit about prepare run")
Workload = namedtuple("Workload", "name steps needs clear")

LIMIT = 600  # seconds that a client may take


class Place:
    """Where a workload runs: the directory through the candidate, and the store below it."""

    def __init__(self, directory, store, work, settings, turn):
        self.directory = directory
        self.store = store
        self.work = work
        self.settings = settings
        self.turn = turn  # the round: the same random numbers for all candidates

    def path(self, name):
        return os.path.join(self.directory, name)


def nothing(_place):
    """No preparation."""


def _fio(job, name="data"):
    def run(place):
        words = job.words(place.path(name), place.settings.size, place.settings.seconds,
                          1000 + place.turn)
        ended = clients.run(words, LIMIT + place.settings.seconds)
        return parse(ended.output, job, ended.cpu_seconds)
    return run


def _evict(place):
    place.store.evict("data")


def _read_through(place):
    """Have the data file in the page cache of the mount."""
    clients.run(["cat", place.path("data")], LIMIT)


def _data_row(name, unit, about, job, prepare=_evict):
    return Workload(name, [Step("", unit, about, prepare, _fio(job))], ("data",), ())


def _files_step(operation, count):
    def run(place):
        settings = place.settings
        ended = clients.run([settings.places["files"], operation, place.path("files"),
                             str(settings.files), str(count), "4096"], LIMIT)
        result = json.loads(ended.output)
        latency = {name: result[name + "_us"] for name in ("p50", "p99", "p999")}
        return Outcome(result["operations"], 0, result["seconds"], latency,
                       result["cpu_seconds"], max(0.0, ended.cpu_seconds - result["cpu_seconds"]))

    def prepare(place):
        if operation == "create":
            os.mkdir(place.path("files"))

    about = {"create": "open, write 4 KiB, close", "stat": "fstatat", "read": "open, read, close",
             "unlink": "unlinkat"}[operation]
    return Step(operation, "ops", f"{about}; clients: {count}", prepare, run)


def _files(count):
    steps = [_files_step(name, count) for name in ("create", "stat", "read", "unlink")]
    return Workload(f"files-{count}", steps, (), ("files",))


def _program(words, operations, directory=""):
    """A step that runs one program; operations(place, output) says how much it did."""
    def run(place):
        values = {"dir": place.directory, "archive": place.work.archive}
        ended = clients.run([word.format(**values) for word in words], LIMIT,
                            directory=place.path(directory) if directory else None,
                            environment={"GIT_CONFIG_GLOBAL": "/dev/null",
                                         "GIT_CONFIG_SYSTEM": "/dev/null"})
        return Outcome(operations(place, ended.output), 0, ended.seconds, None,
                       ended.cpu_seconds, 0.0)
    return run


def _lines(_place, output):
    return max(1, output.count(b"\n"))


def _tree_size(place, _output):
    return place.work.tree_count


def _drop_names(_place):
    """Forget the names, inodes and clean pages of every file system."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def _make_folder(name):
    return lambda place: os.mkdir(place.path(name))


def _git_init(place):
    clients.run(["git", "init", "-q", place.path("unpacked")], LIMIT)


_FIND = ["find", "{dir}/tree", "-printf", "%p %i %M %u %s %T@\n"]
_GIT = ["git", "-c", "gc.auto=0", "-c", "core.safecrlf=false", "-c", "core.autocrlf=false"]


def _all():
    rows = []
    for rw in ("read", "write"):
        rows.append(_data_row(f"rand{rw}-4k-qd1", "ops", "psync, direct",
                              Job(f"rand{rw}", "4k", "psync")))
    for engine in ("libaio", "io_uring"):
        for rw in ("read", "write"):
            rows.append(_data_row(
                f"rand{rw}-4k-qd32-{engine}", "ops", f"2 jobs of depth 32, {engine}, direct",
                Job(f"rand{rw}", "4k", engine, depth=32, jobs=2)))
    for rw in ("read", "write"):
        rows.append(_data_row(f"seq{rw}-1m-direct", "bytes", "psync, direct",
                              Job(rw, "1m", "psync")))
    once = Job("read", "1m", "psync", direct=False, timed=False)
    rows.append(Workload("seqread-1m", [
        Step("cold", "bytes", "psync, buffered, not in memory", _evict, _fio(once)),
        Step("warm", "bytes", "psync, buffered, in the page cache", _read_through,
             _fio(once._replace(timed=True))),
    ], ("data",), ()))
    write = Job("write", "1m", "psync", direct=False, timed=False, end_sync=True)
    rows.append(Workload("seqwrite-1m", [
        Step("new", "bytes", "psync, buffered, a new file, one fsync", nothing, _fio(write, "new")),
        Step("again", "bytes", "psync, buffered, the same file, one fsync", nothing,
             _fio(write, "new")),
    ], (), ("new",)))
    rows.append(_data_row("write-4k-fdatasync", "ops",
                          "psync, buffered random write and fdatasync; time of the fdatasync",
                          Job("randwrite", "4k", "psync", direct=False, sync=True)))
    rows += [_files(1), _files(4)]
    rows.append(Workload("find", [
        Step("cold", "ops", "find -printf, entries, nothing in memory", _drop_names,
             _program(_FIND, _lines)),
        Step("warm", "ops", "find -printf, entries, the second time", nothing,
             _program(_FIND, _lines)),
    ], ("tree",), ()))
    rows.append(Workload("tree", [
        Step("tar", "ops", "tar x, files", _make_folder("unpacked"),
             _program(["tar", "-xf", "{archive}", "-C", "{dir}/unpacked"], _tree_size)),
        Step("add", "ops", "git add, files", _git_init,
             _program(_GIT + ["add", "-A"], _tree_size, "unpacked")),
        Step("status", "ops", "git status, files", nothing,
             _program(_GIT + ["status", "--short"], _tree_size, "unpacked")),
    ], ("archive",), ("unpacked",)))
    return rows


WORKLOADS = tuple(_all())

# Enough to see whether something is wrong, in a few minutes.
QUICK = ("disk/rand*-qd1", "disk/rand*-io_uring", "disk/write-4k-fdatasync", "disk/seqread-1m",
         "disk/files-1", "disk/find", "tmpfs/randread-4k-qd1", "tmpfs/randread-4k-qd32-io_uring")


def row_name(store, workload, step):
    """The name of a row in the results."""
    return "/".join(part for part in (store, workload.name, step.name) if part)
