# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rounds of a run.

How it works: the outermost loop is the round, then the workload, then the candidate in
rotated order, so that what is compared was measured within seconds, and every row is
spread over the whole run. Each measurement has a fresh mount. System calls are
counted in a round of their own at the end, because counting slows. The results are written after
each workload, so an interrupted run keeps what it has.
"""
import os
import platform
import subprocess
from collections import namedtuple
from fnmatch import fnmatchcase

from . import document as results
from .candidates import missing
from .errors import BenchError, CandidateError, UsageError
from .meter import CpuMeter, SyscallMeter
from .mounts import CONNECTIONS, Mount, connections_available
from .ratios import rotated
from .stores import STORES, Work
from .workloads import WORKLOADS, Place, row_name

Settings = namedtuple("Settings", "rounds seconds size files max_background directory tree "
                      "tree_files syscalls time_limit places output")


def select(patterns):
    """(store, workload) pairs of which a row, the workload or its store matches a pattern."""
    chosen = []
    used = set()
    for store in STORES:
        for workload in WORKLOADS:
            full = {f"{store}/{workload.name}", store, workload.name}
            full |= {row_name(store, workload, step) for step in workload.steps}
            hits = {pattern for pattern in patterns
                    if any(fnmatchcase(name, pattern) for name in full)}
            used |= hits
            if hits or not patterns:
                chosen.append((store, workload))
    for pattern in patterns:
        if pattern not in used:
            raise UsageError(f"no row is named '{pattern}' (see run --list)")
    return chosen


def _first_line(words):
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10,
                              check=False).stdout.split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return None


def describe_host(places):
    """What the figures depend on, without names of machines."""
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {"kernel": platform.release(), "processors": os.cpu_count(), "memory_mib": memory,
            "fio": _first_line(["fio", "--version"]),
            "sluicefs": _first_line([places["sluicefs"], "--version"])}


class Run:
    """One run of the benchmark."""

    def __init__(self, candidates, chosen, settings, progress):
        self._settings = settings
        self._chosen = chosen
        self._progress = progress
        self._candidates = []
        self.document = {
            "format": results.FORMAT,
            "host": describe_host(settings.places),
            "settings": {key: value for key, value in settings._asdict().items()
                         if key not in ("places", "output", "directory")},
            "candidates": [],
            "rows": [],
            "complete": False,
        }
        for one in candidates:
            reason = missing(one, settings.places)
            if reason:
                progress.say(f"left out: {one.name}: {reason}")
                continue
            self._candidates.append(one)
            self.document["candidates"].append(
                {"name": one.name, "kind": one.kind, "command": one.command,
                 "max_background": None})
        if not self._candidates:
            raise BenchError("no candidate can run here")
        self._rows = {}
        for store, workload in chosen:
            for step in workload.steps:
                row = {"name": row_name(store, workload, step), "unit": step.unit,
                       "about": step.about, "samples": {}, "errors": {}, "syscalls": {}}
                self._rows[row["name"]] = row
                self.document["rows"].append(row)

    @staticmethod
    def measurements(candidates, chosen, settings):
        """How many mounts a run makes at most."""
        rounds = settings.rounds + (1 if settings.syscalls else 0)
        return rounds * len(chosen) * len(candidates)

    def execute(self):
        """All rounds. The document is whole, and in its file, also if this is interrupted."""
        own_connections = connections_available()
        try:
            with Work(self._settings.directory, self._settings.tree,
                      self._settings.tree_files) as work:
                for turn in range(self._settings.rounds):
                    self._round(work, turn)
                if self._settings.syscalls:
                    self._round(work, None)
            self.document["complete"] = True
        finally:
            results.write(self.document, self._settings.output)
            if own_connections:
                subprocess.run(["umount", CONNECTIONS], check=False)

    def _late(self, turn):
        limit = self._settings.time_limit
        return turn != 0 and limit and self._progress.elapsed() > limit

    def _round(self, work, turn):
        """One round, or the counting of system calls if turn is None."""
        for number, (store, workload) in enumerate(self._chosen):
            if self._late(turn):
                self._progress.say("the time is over: the rest of the rounds is left out")
                return
            if "archive" in workload.needs or "tree" in workload.needs:
                work.need_archive()
            place = work.store(store)
            if "data" in workload.needs:
                place.need_data(self._settings.size)
            if "tree" in workload.needs:
                place.need_tree()
            for candidate in rotated(self._candidates, number + (turn or 0)):
                if turn is None and candidate.kind == "raw":
                    self._progress.skip(1)
                    continue
                pass_name = "system calls" if turn is None else f"round {turn + 1}"
                self._progress.next(f"{pass_name} {store}/{workload.name} {candidate.name}")
                try:
                    self._measure(work, place, workload, candidate, turn)
                finally:
                    place.clear(*workload.clear)
            results.write(self.document, self._settings.output)
        self._progress.milestone("system calls counted" if turn is None else
                                 f"round {turn + 1} of {self._settings.rounds} done")

    def _measure(self, work, store, workload, candidate, turn):
        """All steps of a workload on one mount; a failed step ends it and is noted."""
        settings = self._settings
        if turn is None:
            settings = settings._replace(seconds=min(1.0, settings.seconds))
        name = None
        try:
            name = row_name(store.name, workload, workload.steps[0])
            with Mount(candidate, settings.places, store.source, work.mountpoint,
                       os.path.join(work.path, "daemon.log"), settings.max_background) as mount:
                self._note_background(candidate, mount.max_background)
                place = Place(mount.directory, store, work, settings, turn or 0)
                for step in workload.steps:
                    name = row_name(store.name, workload, step)
                    step.prepare(place)
                    self._step(step, place, mount, name, candidate, turn)
        except (CandidateError, OSError) as error:
            text = str(error)
            if candidate.name not in self._rows[name]["errors"]:
                self._progress.say(f"{name}: {candidate.name}: {text}")
            self._rows[name]["errors"][candidate.name] = text

    def _step(self, step, place, mount, name, candidate, turn):
        row = self._rows[name]
        if turn is None:
            meter = SyscallMeter(mount, place.work.path)
            meter.start()
            try:
                outcome = step.run(place)
            finally:
                calls = meter.stop()
            if calls is not None:
                row["syscalls"][candidate.name] = calls / outcome.operations
            return
        meter = CpuMeter(mount)
        meter.start()
        outcome = step.run(place)
        cpu = meter.stop()
        row["samples"].setdefault(candidate.name, []).append(
            results.sample(turn, step.unit, outcome, cpu, os.getloadavg()[0]))

    def _note_background(self, candidate, value):
        for one in self.document["candidates"]:
            if one["name"] == candidate.name:
                one["max_background"] = value
