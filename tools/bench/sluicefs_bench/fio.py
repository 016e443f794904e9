# SPDX-License-Identifier: LGPL-2.1-or-later
"""fio: its command line and its JSON."""
import json
from collections import namedtuple

from .errors import CandidateError

# What a step achieved. seconds: that the operations took; latencies in microseconds or None;
# client_cpu: seconds of CPU of the clients; overhead_cpu: of them outside of the operations.
Outcome = namedtuple("Outcome", "operations bytes seconds latency client_cpu overhead_cpu")


class Job(namedtuple("Job", "rw block engine depth jobs direct timed sync end_sync",
                     defaults=(1, 1, True, True, False, False))):
    """One kind of load: rw, block size, engine, queue depth of each of the jobs; direct or
    through the page cache; for a time or once over the file; fdatasync after each write; one
    fsync at the end."""
    __slots__ = ()

    def words(self, path, size, seconds, seed):
        """The command line."""
        words = ["fio", "--name=bench", f"--filename={path}", f"--rw={self.rw}",
                 f"--bs={self.block}", f"--size={size}", f"--ioengine={self.engine}",
                 f"--iodepth={self.depth}", f"--numjobs={self.jobs}",
                 f"--direct={int(self.direct)}", f"--randseed={seed}", "--norandommap", "--thread",
                 "--group_reporting", "--fallocate=none", "--invalidate=0",
                 "--percentile_list=50:99:99.9", "--output-format=json"]
        if self.timed:
            words += ["--time_based", f"--runtime={max(1, round(seconds * 1000))}ms"]
        if self.sync:
            words.append("--fdatasync=1")
        if self.end_sync:
            words.append("--end_fsync=1")
        return words


def parse(output, job, cpu_seconds):
    """The Outcome in fio's JSON; cpu_seconds is what the whole program took."""
    text = output.decode(errors="replace")
    try:
        result = json.loads(text[text.index("{"):])["jobs"][0]
        side = result["read" if "read" in job.rw else "write"]
        if result["error"] or not side["total_ios"]:
            raise CandidateError(f"fio did nothing, error {result['error']}")
        # With fdatasync it is the sync that a program waits for.
        times = result["sync"]["lat_ns"] if job.sync else side["clat_ns"]
        points = times.get("percentile", {})
        latency = {name: points[key] / 1000 for name, key in (
            ("p50", "50.000000"), ("p99", "99.000000"), ("p999", "99.900000")) if key in points}
        cpu = (result["usr_cpu"] + result["sys_cpu"]) / 100 * result["job_runtime"] / 1000
        return Outcome(side["total_ios"], side["io_bytes"], side["runtime"] / 1000,
                       latency or None, cpu, max(0.0, cpu_seconds - cpu))
    except (ValueError, KeyError, IndexError) as error:
        raise CandidateError(f"fio's output is not understood ({error!r})") from error
