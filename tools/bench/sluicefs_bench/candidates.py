# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is compared: the file system itself, sluicefs with options, other daemons.

A candidate is a name and a command in which {src} and {mnt} stand for the directory
served and the mount point. The word "sluicefs" at its start stands for the program
under test. A command may go into the background or stay in the foreground. The word {uring} is
left out of the command; it says that the kernel shall offer FUSE over io_uring to this mount, which it
does not do for the others.
"""
import re
import shlex
import shutil
from collections import namedtuple
from fnmatch import fnmatchcase

from . import uring
from .errors import UsageError

# kind: "raw" (no mount), "own" (sluicefs) or "peer".
Candidate = namedtuple("Candidate", "name kind command")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

_OWN = "sluicefs passthrough --foreground "
BUILT_IN = (
    Candidate("raw", "raw", ""),
    Candidate("sluicefs", "own", _OWN + "{src} {mnt}"),
    Candidate("sluicefs-2-workers", "own", _OWN + "--threads=2 {src} {mnt}"),
    Candidate("sluicefs-io-threads", "own", _OWN + "--io-engine=threads {src} {mnt}"),
    Candidate("sluicefs-denied", "own", "{deny_uring} " + _OWN + "{src} {mnt}"),
    Candidate("sluicefs-cache-none", "own", _OWN + "--cache=none {src} {mnt}"),
    Candidate("sluicefs-cache-always", "own", _OWN + "--cache=always {src} {mnt}"),
    Candidate("sluicefs-writeback", "own", _OWN + "--cache=always --writeback {src} {mnt}"),
    Candidate("sluicefs-uring", "own", "{uring} " + _OWN
              + "--transport=uring {src} {mnt}"),
    Candidate("sluicefs-kernel-io", "own", _OWN + "--passthrough-io=on {src} {mnt}"),
    Candidate("sluicefs-poll-classic", "own", _OWN + "--poll=classic {src} {mnt}"),
    Candidate("sluicefs-poll-weighted", "own", _OWN + "--poll=weighted {src} {mnt}"),
    Candidate("bindfs", "peer", "bindfs -f {src} {mnt}"),
)
DEFAULT = ("raw", "sluicefs", "bindfs")


def parse(text, kind):
    """A candidate from 'name=command with {src} {mnt}'."""
    name, separator, command = text.partition("=")
    name, command = name.strip(), command.strip()
    if not separator or not NAME.fullmatch(name):
        raise UsageError(f"'{text}' is not of the form 'name=command with {{src}} {{mnt}}'")
    for word in ("{src}", "{mnt}"):
        if word not in command:
            raise UsageError(f"the command of '{name}' lacks {word}: {command}")
    try:
        shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the command of '{name}': {error}: {command}") from error
    return Candidate(name, kind, command)


def choose(patterns, own, peers):
    """The candidates of a run: built-in ones whose name a pattern matches, then the given ones."""
    chosen = []
    for pattern in patterns or DEFAULT:
        matching = [one for one in BUILT_IN if fnmatchcase(one.name, pattern)]
        if not matching:
            names = ", ".join(one.name for one in BUILT_IN)
            raise UsageError(f"no candidate is named '{pattern}'; there are: {names}")
        chosen += [one for one in matching if one not in chosen]
    chosen += [parse(text, "own") for text in own]
    chosen += [parse(text, "peer") for text in peers]
    names = [one.name for one in chosen]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two candidates are named '{name}'")
    return chosen


def wants_uring(candidate):
    """Whether FUSE over io_uring is to be offered to its mount."""
    return "{uring}" in shlex.split(candidate.command)


def command_line(candidate, places, source, mountpoint):
    """The words to execute; places maps "sluicefs" and "deny_uring" to programs."""
    words = []
    for word in shlex.split(candidate.command):
        if word == "{uring}":
            continue
        if word == "sluicefs":
            word = places["sluicefs"]
        for name, value in (("{src}", source), ("{mnt}", mountpoint),
                            ("{deny_uring}", places["deny_uring"] or "")):
            word = word.replace(name, value)
        words.append(word)
    return words


def missing(candidate, places):
    """Why a candidate cannot run here, or None."""
    if candidate.kind == "raw":
        return None
    if "{deny_uring}" in candidate.command and not places["deny_uring"]:
        return "deny-uring is not built (libseccomp)"
    if wants_uring(candidate) and not uring.available():
        return "this kernel has no FUSE over io_uring"
    program = command_line(candidate, places, "/", "/")[0]
    if not shutil.which(program):
        return f"there is no program '{program}'"
    return None
