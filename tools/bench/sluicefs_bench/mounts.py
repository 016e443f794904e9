# SPDX-License-Identifier: LGPL-2.1-or-later
"""One mount of a candidate: started, equalised, and surely ended.

All that a mount's command starts carries a mark in its environment and is found by it in
/proc, whether it went into the background or not. Nothing here touches a mount point
from this process before the mount has answered another one: a hung daemon must not hang the
benchmark.
"""
import os
import re
import signal
import subprocess
import time

from . import uring
from .candidates import command_line, wants_uring
from .errors import CandidateError

MARK = "SLUICEFS_BENCH_MOUNT"
CONNECTIONS = "/sys/fs/fuse/connections"


def parse_mountinfo(text):
    """(mount point, minor device number) of each line of /proc/self/mountinfo."""
    mounts = []
    for line in text.splitlines():
        fields = line.split()
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])
        mounts.append((path, int(fields[2].split(":")[1])))
    return mounts


def mounts_now():
    """(mount point, minor device number) of all mounts, oldest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def marked_processes(mark):
    """Ids of the live processes that a mount's command started."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue  # ended meanwhile, or a kernel thread
    return found


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _read_number(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def connections_available():
    """Have the FUSE control file system; True if it was mounted here."""
    if os.path.isdir(CONNECTIONS) and not any(path == CONNECTIONS for path, _ in mounts_now()):
        return subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0
    return False


class Mount:
    """A context: inside of it the candidate serves source at mountpoint.

    For the candidate "raw" nothing is mounted and the directory is the source itself.
    """

    def __init__(self, candidate, places, source, mountpoint, log, max_background=0):
        self.candidate = candidate
        self.places = places
        self.source = source
        self.mountpoint = mountpoint
        self.log = log
        self.wanted_background = max_background
        self.max_background = None  # what the kernel has
        self.directory = source if candidate.kind == "raw" else mountpoint
        self._starter = None
        self._minor = None

    def processes(self):
        """Ids of the daemon's processes."""
        return [] if self.candidate.kind == "raw" else marked_processes(self.mountpoint)

    def __enter__(self):
        if self.candidate.kind == "raw":
            return self
        words = command_line(self.candidate, self.places, self.source, self.mountpoint)
        environment = dict(os.environ, **{MARK: self.mountpoint})
        try:
            with uring.offered(wants_uring(self.candidate)):
                with open(self.log, "wb") as log:
                    self._starter = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log,
                                                     stderr=log, env=environment,
                                                     start_new_session=True)
                self._wait_until_mounted()
                self._wait_until_answering()
            self._set_background()
        except OSError as error:
            self.end()
            raise CandidateError(f"{words[0]}: {error.strerror}") from error
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *unused):
        self.end()

    def _said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = " ".join(file.read().split())
        return f": {text[-300:]}" if text else ""

    def _wait_until_mounted(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for path, minor in mounts_now():
                if path == self.mountpoint:
                    self._minor = minor
                    return
            if self._starter.poll() not in (None, 0):
                raise CandidateError(
                    f"could not mount, status {self._starter.returncode}{self._said()}")
            time.sleep(0.005)
        raise CandidateError(f"did not mount within 30 s{self._said()}")

    def _wait_until_answering(self):
        try:
            answer = subprocess.run(["stat", "--", self.mountpoint], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    timeout=30, check=False)
        except subprocess.TimeoutExpired as error:
            raise CandidateError("the mount does not answer") from error
        if answer.returncode != 0:
            raise CandidateError(f"the mount answers with an error{self._said()}")

    def _set_background(self):
        folder = f"{CONNECTIONS}/{self._minor}"
        if not os.path.isdir(folder):
            return
        if self.wanted_background:
            _write(f"{folder}/max_background", str(self.wanted_background))
            _write(f"{folder}/congestion_threshold", str(max(1, self.wanted_background * 3 // 4)))
        self.max_background = _read_number(f"{folder}/max_background")

    def _mounted(self):
        return any(path == self.mountpoint for path, _ in mounts_now())

    def _ended(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            if self._starter is not None:
                self._starter.poll()  # reaps it
            if not self._mounted() and not self.processes():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)

    def end(self):
        """Unmount and wait for the daemon; by force if it does not end. Never raises."""
        if self._starter is None:
            return
        deadline = time.monotonic() + 10
        while self._mounted() and time.monotonic() < deadline:
            try:
                if subprocess.run(["umount", self.mountpoint], stderr=subprocess.DEVNULL,
                                  timeout=15, check=False).returncode != 0:
                    time.sleep(0.05)  # busy: a client has just ended
            except subprocess.TimeoutExpired:
                break
        if not self._mounted() and self._ended(10):
            self._starter = None
            return
        self._end_by_force()
        self._starter = None

    def _end_by_force(self):
        if self._mounted() and self._minor is not None:
            try:
                _write(f"{CONNECTIONS}/{self._minor}/abort", "1")
            except OSError:
                pass  # gone, or no such control file system
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                pass  # ended meanwhile
        if self._mounted():
            subprocess.run(["umount", "-l", self.mountpoint], stderr=subprocess.DEVNULL,
                           check=False)
        self._ended(5)
