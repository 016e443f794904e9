# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a step costs: CPU time of the daemon and of the system, the daemon's system calls.

The daemon's time is utime + stime of its processes in /proc, which includes threads that
ended and io_uring's worker threads; the system's is everything but idle, waiting and stolen
time in /proc/stat, and so includes interrupts, kernel threads and whatever else runs. Both
come in clock ticks (10 ms), so a step should take a second.
"""
import os
import re
import shutil
import signal
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def parse_process_ticks(text):
    """utime + stime in a /proc/PID/stat; the name in parentheses may hold anything."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def parse_busy_ticks(text):
    """Ticks that the processors were busy, from /proc/stat."""
    for line in text.splitlines():
        if line.startswith("cpu "):
            user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
            return user + nice + system + irq + softirq
    raise ValueError("no line 'cpu' in /proc/stat")


def parse_perf_count(text):
    """The count in the output of perf stat -x, ; None if it did not count."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and "sys_enter" in fields[2]:
            return int(fields[0]) if fields[0].isdigit() else None
    return None


def parse_strace_count(text):
    """Number of calls in the summary of strace -c; None if there is none."""
    for line in text.splitlines():
        match = re.match(r"\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total\s*$", line)
        if match:
            return int(match.group(1))
    return None


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def process_ticks(process):
    try:
        return parse_process_ticks(_read(f"/proc/{process}/stat"))
    except (OSError, IndexError):
        return 0  # has ended


class CpuMeter:
    """Between start() and stop(): seconds of CPU of the daemon and of the system."""

    def __init__(self, mount):
        self._mount = mount
        self._daemon = {}
        self._system = 0

    def start(self):
        self._daemon = {process: process_ticks(process) for process in self._mount.processes()}
        self._system = parse_busy_ticks(_read("/proc/stat"))

    def stop(self):
        system = parse_busy_ticks(_read("/proc/stat")) - self._system
        daemon = sum(max(0, process_ticks(process) - before)
                     for process, before in self._daemon.items())
        return {"daemon": daemon / TICKS, "system": system / TICKS}


class SyscallMeter:
    """Between start() and stop(): system calls of the daemon, by perf or strace."""

    def __init__(self, mount, work):
        self._mount = mount
        self._output = os.path.join(work, "syscalls")
        self._tool = SyscallMeter.available()
        self._counter = None

    @staticmethod
    def available():
        """The tool that can count here, or None."""
        if shutil.which("perf"):
            probe = subprocess.run(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"],
                                   capture_output=True, text=True, check=False)
            if probe.returncode == 0 and parse_perf_count(probe.stderr) is not None:
                return "perf"
        return "strace" if shutil.which("strace") else None

    def start(self):
        processes = self._mount.processes()
        if not processes or not self._tool:
            return
        if self._tool == "perf":
            words = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", self._output,
                     "-p", ",".join(map(str, processes))]
        else:
            words = ["strace", "-c", "-f", "-o", self._output]
            words += [word for process in processes for word in ("-p", str(process))]
        self._counter = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True)
        time.sleep(0.3)  # until it has attached itself

    def stop(self):
        """The count, or None if nothing could be counted."""
        if self._counter is None:
            return None
        self._counter.send_signal(signal.SIGINT)
        try:
            self._counter.wait(timeout=20)
            text = _read(self._output)
            os.unlink(self._output)
        except subprocess.TimeoutExpired:
            self._counter.kill()
            self._counter.wait()
            return None
        except OSError:
            return None
        finally:
            self._counter = None
        return parse_perf_count(text) if self._tool == "perf" else parse_strace_count(text)
