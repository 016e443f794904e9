# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmark reads: command lines, /proc, the output of fio, perf and strace."""
import argparse
import json
import unittest

from sluicefs_bench.candidates import choose, command_line, parse, wants_uring
from sluicefs_bench.cli import parse_size, parser
from sluicefs_bench.errors import CandidateError, UsageError
from sluicefs_bench.fio import Job
from sluicefs_bench.fio import parse as parse_fio
from sluicefs_bench.meter import (parse_busy_ticks, parse_perf_count, parse_process_ticks,
                                  parse_strace_count)
from sluicefs_bench.mounts import parse_mountinfo
from sluicefs_bench.progress import bar_line, clock
from sluicefs_bench.runner import select
from sluicefs_bench.workloads import QUICK, row_name

PLACES = {"sluicefs": "/build/sluicefs", "deny_uring": "/build/deny", "files": "/build/files"}


def fio_output(**changes):
    side = {"total_ios": 4000, "io_bytes": 4000 * 4096, "runtime": 2000,
            "clat_ns": {"percentile": {"50.000000": 5000, "99.000000": 9000, "99.900000": 12500}}}
    job = {"error": 0, "job_runtime": 2000, "usr_cpu": 5.0, "sys_cpu": 15.0, "read": side,
           "write": side, "sync": {"lat_ns": {"percentile": {"50.000000": 70000}}}}
    job.update(changes)
    return b"fio: a warning\n" + json.dumps({"jobs": [job]}).encode()


class Candidates(unittest.TestCase):
    def test_words(self):
        one = parse("two=sluicefs passthrough --threads=2 {src} {mnt} -o 'fsname=a b'", "own")
        self.assertEqual(one.name, "two")
        self.assertEqual(command_line(one, PLACES, "/s p", "/m"),
                         ["/build/sluicefs", "passthrough", "--threads=2", "/s p", "/m", "-o",
                          "fsname=a b"])

    def test_word_for_uring(self):
        one = parse("hp-uring={uring} hp -o io_uring {src} {mnt}", "peer")
        self.assertTrue(wants_uring(one))
        self.assertEqual(command_line(one, PLACES, "/s", "/m"),
                         ["hp", "-o", "io_uring", "/s", "/m"])
        self.assertFalse(wants_uring(parse("hp=hp {src} {mnt}", "peer")))
        for built_in in choose(["*"], [], []):
            self.assertEqual(wants_uring(built_in), "--transport=uring" in built_in.command)

    def test_nonsense_is_refused(self):
        for text in ("nothing", "=x {src} {mnt}", "a b=x {src} {mnt}", "a=x {src}",
                     "a=x {mnt}", "a=x '{src} {mnt}"):
            with self.assertRaises(UsageError, msg=text):
                parse(text, "peer")

    def test_choice(self):
        names = [one.name for one in choose([], [], ["p=x {src} {mnt}"])]
        self.assertEqual(names, ["raw", "sluicefs", "bindfs", "p"])
        chosen = choose(["raw", "sluicefs-poll-*", "raw"], [], [])
        self.assertEqual([one.name for one in chosen],
                         ["raw", "sluicefs-poll-classic", "sluicefs-poll-weighted"])
        with self.assertRaises(UsageError):
            choose(["none"], [], [])
        with self.assertRaises(UsageError):
            choose([], ["raw=sluicefs {src} {mnt}"], [])


class Selection(unittest.TestCase):
    def names(self, *patterns):
        return [f"{store}/{workload.name}" for store, workload in select(list(patterns))]

    def test_rows(self):
        self.assertEqual(self.names("disk/find"), ["disk/find"])
        self.assertEqual(self.names("disk/find/cold"), ["disk/find"])
        self.assertEqual(self.names("find"), ["disk/find", "tmpfs/find"])
        self.assertEqual(len(self.names("tmpfs")), len(self.names("tmpfs/*")))
        with self.assertRaises(UsageError):
            self.names("disk/find", "none")

    def test_quick_rows_exist(self):
        self.assertGreater(len(self.names(*QUICK)), 5)

    def test_row_names_are_unique(self):
        rows = [row_name(store, workload, step)
                for store, workload in select([]) for step in workload.steps]
        self.assertEqual(len(rows), len(set(rows)))


class CommandLine(unittest.TestCase):
    def test_sizes(self):
        self.assertEqual([parse_size(text) for text in ("5", "4K", "3m", "2G")],
                         [5, 4096, 3 << 20, 2 << 30])
        for text in ("", "0", "-1", "1T", "1.5G"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                parse_size(text)

    def test_values_given_stay(self):
        arguments = parser().parse_args(["run", "--quick", "--rounds=3", "--rows=a,b"])
        self.assertEqual((arguments.rounds, arguments.seconds), (3, None))
        self.assertEqual(arguments.rows, ["a", "b"])


class Proc(unittest.TestCase):
    def test_process_with_an_odd_name(self):
        text = "7 (a) b (c)) S " + " ".join(str(number) for number in range(4, 30))
        self.assertEqual(parse_process_ticks(text), 14 + 15)

    def test_busy(self):
        self.assertEqual(parse_busy_ticks("cpu  1 2 4 8 16 32 64 128 0 0\ncpu0 9 9 9\n"), 103)
        with self.assertRaises(ValueError):
            parse_busy_ticks("intr 1\n")

    def test_mountinfo(self):
        text = ("24 1 0:52 / /var/tmp/a\\040b rw,relatime shared:1 - fuse.x src rw\n"
                "25 1 254:0 / / rw - ext4 /dev/vda rw\n")
        self.assertEqual(parse_mountinfo(text), [("/var/tmp/a b", 52), ("/", 0)])


class Counters(unittest.TestCase):
    def test_perf(self):
        self.assertEqual(parse_perf_count("# started\n\n12345,,raw_syscalls:sys_enter,99,100.00,,\n"),
                         12345)
        self.assertIsNone(parse_perf_count("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"))
        self.assertIsNone(parse_perf_count("No permission\n"))

    def test_strace(self):
        table = ("% time     seconds  usecs/call     calls    errors syscall\n"
                 "------ ----------- ----------- --------- --------- ----------------\n"
                 " 90.00    0.001000          10       100         5 read\n"
                 "------ ----------- ----------- --------- --------- ----------------\n")
        self.assertEqual(parse_strace_count(table + "100.00    0.001100          10       107"
                                            "         5 total\n"), 107)
        self.assertEqual(parse_strace_count(table + "100.00    0.001100                   107"
                                            "           total\n"), 107)
        self.assertIsNone(parse_strace_count(table))


class Fio(unittest.TestCase):
    def test_outcome(self):
        outcome = parse_fio(fio_output(), Job("randread", "4k", "psync"), 0.9)
        self.assertEqual((outcome.operations, outcome.bytes, outcome.seconds),
                         (4000, 16384000, 2.0))
        self.assertEqual(outcome.latency, {"p50": 5.0, "p99": 9.0, "p999": 12.5})
        self.assertAlmostEqual(outcome.client_cpu, 0.4)
        self.assertAlmostEqual(outcome.overhead_cpu, 0.5)

    def test_sync_time_counts(self):
        outcome = parse_fio(fio_output(), Job("randwrite", "4k", "psync", sync=True), 0.9)
        self.assertEqual(outcome.latency, {"p50": 70.0})

    def test_nonsense(self):
        job = Job("randread", "4k", "psync")
        for output in (b"", b"{}", b'{"jobs": []}', b"no JSON", fio_output(error=5),
                       fio_output(read={"total_ios": 0})):
            with self.assertRaises(CandidateError, msg=output[:20]):
                parse_fio(output, job, 1)

    def test_words(self):
        words = Job("read", "1m", "psync", direct=False, timed=False).words("/m/data", 5, 2, 1)
        self.assertIn("--direct=0", words)
        self.assertNotIn("--time_based", words)
        self.assertIn("--runtime=250ms", Job("read", "1m", "psync").words("/m", 5, 0.25, 1))


class Progress(unittest.TestCase):
    def test_clock(self):
        self.assertEqual([clock(5), clock(65.9), clock(3725)], ["0:05", "1:05", "1:02:05"])

    def test_bar(self):
        self.assertEqual(bar_line(5, 10, 60, "row", 200),
                         "[##########          ] 5/10  1:00, 1:00 left  row")
        self.assertEqual(len(bar_line(5, 10, 60, "x" * 500, 79)), 79)
        self.assertIn("? left", bar_line(0, 10, 1, "row", 79))
