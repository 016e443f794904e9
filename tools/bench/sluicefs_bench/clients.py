# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that use a mount: started in a group of their own, ended with the benchmark."""
import os
import signal
import subprocess
import time
from collections import namedtuple

from .errors import CandidateError

# cpu_seconds: user and system time of the program and of all it waited for.
Ended = namedtuple("Ended", "output seconds cpu_seconds")


def run(words, limit, directory=None, environment=None):
    """Run a program to its end; CandidateError if it fails or takes more than limit seconds."""
    start = time.monotonic()
    before = os.times()
    process = subprocess.Popen(words, cwd=directory, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True,
                               env=dict(os.environ, LC_ALL="C", **(environment or {})))
    try:
        output, errors = process.communicate(timeout=limit)
    except BaseException as error:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass  # has ended
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CandidateError(f"{words[0]} took more than {limit:.0f} s") from error
        raise
    seconds = time.monotonic() - start
    after = os.times()
    if process.returncode != 0:
        said = " ".join(errors.decode(errors="replace").split())
        raise CandidateError(f"{os.path.basename(words[0])} failed, status {process.returncode}"
                             f"{': ' + said[:300] if said else ''}")
    cpu = (after.children_user - before.children_user
           + after.children_system - before.children_system)
    return Ended(output, seconds, cpu)
