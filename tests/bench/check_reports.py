# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results files, tables, comparisons and plots, from results made up here."""
import json
import os
import tempfile
import unittest
import xml.etree.ElementTree as xml

from sluicefs_bench import compare, document, plot, table
from sluicefs_bench.errors import BenchError
from sluicefs_bench.fio import Outcome
from sluicefs_bench.merge import merge


def sample(turn, throughput):
    return {"round": turn, "operations": 100, "seconds": 1.0, "throughput": throughput,
            "p50_us": 10.0, "p99_us": 20.0, "p999_us": 30.0, "client_us": 1.0, "daemon_us": 2.0,
            "system_us": 4.0, "load": 0.5}


def made_up(raw=(100, 200), own=(50, 80), peer=(25, 160)):
    """Two rounds of three candidates."""
    def samples(values):
        return [sample(turn, value) for turn, value in enumerate(values)]

    return {
        "format": document.FORMAT,
        "host": {"kernel": "6.1", "processors": 2, "memory_mib": 100, "fio": "fio-3",
                 "sluicefs": "sluicefs 0"},
        "settings": {"rounds": 2, "seconds": 1.0, "size": 1 << 20, "files": 10},
        "candidates": [
            {"name": "raw", "kind": "raw", "command": "", "max_background": None},
            {"name": "own", "kind": "own", "command": "sluicefs {src} {mnt}",
             "max_background": 256},
            {"name": "<peer>", "kind": "peer", "command": "x {src} {mnt}", "max_background": 12}],
        "rows": [
            {"name": "disk/a", "unit": "ops", "about": "operations", "errors": {},
             "syscalls": {"own": 1.25},
             "samples": {"raw": samples(raw), "own": samples(own), "<peer>": samples(peer)}},
            {"name": "disk/b", "unit": "bytes", "about": "bytes",
             "errors": {"<peer>": "close: EBADF"}, "syscalls": {},
             "samples": {"raw": samples((5 << 20, 5 << 20)),
                         "own": samples((4 << 20, 4 << 20))}}],
        "complete": True,
    }


class Merging(unittest.TestCase):
    def test_rounds_are_numbered_on(self):
        pieces = [made_up(), made_up(own=(25, 40))]
        whole = merge(pieces)
        self.assertEqual(pieces[1], made_up(own=(25, 40)))  # left alone
        self.assertEqual(whole["settings"]["rounds"], 4)
        self.assertEqual(document.field(whole["rows"][0], "own", "throughput"),
                         {0: 50, 1: 80, 2: 25, 3: 40})
        ratio = document.throughput_ratio(whole["rows"][0], "own", "raw")
        self.assertEqual((ratio.low, ratio.high, ratio.count), (0.2, 0.5, 4))

    def test_other_rows_and_candidates(self):
        other = made_up()
        other["candidates"][2]["name"] = "another"
        for row in other["rows"]:
            row["samples"].pop("<peer>", None)
            row["errors"] = {}
        other["rows"][1]["name"] = "disk/c"
        other["complete"] = False
        whole = merge([made_up(), other])
        self.assertEqual(document.names(whole), ["raw", "own", "<peer>", "another"])
        self.assertEqual([row["name"] for row in whole["rows"]], ["disk/a", "disk/b", "disk/c"])
        self.assertEqual(whole["rows"][1]["errors"], {"<peer>": "close: EBADF"})
        self.assertFalse(whole["complete"])

    def test_refused(self):
        for change in (lambda one: one["host"].update(kernel="6.2"),
                       lambda one: one["settings"].update(size=1),
                       lambda one: one["candidates"][1].update(command="other {src} {mnt}")):
            other = made_up()
            change(other)
            with self.assertRaises(BenchError):
                merge([made_up(), other])


class Documents(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "results.json")

    def test_written_and_read_back(self):
        document.write(made_up(), self.path)
        self.assertEqual(document.read(self.path), made_up())
        self.assertEqual(os.listdir(self.folder.name), ["results.json"])

    def test_refused(self):
        with self.assertRaises(BenchError):
            document.read(self.path)
        for content in ("", "[]", "{}", '{"format": "other"}',
                        json.dumps({"format": document.FORMAT})):
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(content)
            with self.assertRaises(BenchError, msg=content):
                document.read(self.path)
        with self.assertRaises(BenchError):
            document.write({}, os.path.join(self.folder.name, "none", "results"))

    def test_sample(self):
        outcome = Outcome(1000, 4096000, 0.5, {"p50": 7.0}, 0.01, 0.2)
        made = document.sample(3, "ops", outcome, {"daemon": 0.02, "system": 0.25}, 1.5)
        self.assertEqual((made["round"], made["throughput"], made["p50_us"], made["p99_us"]),
                         (3, 2000, 7.0, None))
        self.assertAlmostEqual(made["client_us"], 10)
        self.assertAlmostEqual(made["daemon_us"], 20)
        self.assertAlmostEqual(made["system_us"], 50)  # without the client's start
        self.assertEqual(document.sample(0, "bytes", outcome, {"daemon": 0, "system": 0},
                                         0)["throughput"], 8192000)

    def test_subject(self):
        self.assertEqual(document.subject_of(made_up()), "own")
        self.assertEqual(document.subject_of(made_up(), "raw"), "raw")
        with self.assertRaises(BenchError):
            document.subject_of(made_up(), "none")


class Tables(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([table.amount(value) for value in (1.234, 999.4, 1234, 12345, 2.5e7)],
                         ["1.23", "999", "1234", "12.3k", "25M"])
        self.assertEqual(table.throughput(3 << 20, "bytes"), "3 MiB/s")

    def test_report(self):
        text = table.report(made_up())
        self.assertIn("| disk/a | 0.45 (0.40-0.50) | 1.25 (0.50-2.00) |", text)
        self.assertIn("| disk/b | 0.80 (0.80-0.80) | <peer> failed |", text)
        self.assertIn("| disk/b | 5 MiB/s | 4 MiB/s | failed |", text)
        self.assertIn("1.0 + 2.0 (4.0); 1.25", text)
        self.assertIn("- disk/b, <peer>: close: EBADF", text)
        self.assertNotIn("did not reach its end", text)
        self.assertIn("did not reach its end", table.report(dict(made_up(), complete=False)))

    def test_every_line_has_all_columns(self):
        for block in table.report(made_up()).split("\n\n"):
            lines = [line for line in block.split("\n") if line.startswith("|")]
            self.assertLessEqual(len({line.count("|") for line in lines}), 1, block)


class Comparisons(unittest.TestCase):
    def test_pairs_are_inverse(self):
        found = {(one["row"], one["candidate"], one["to"]): one for one in compare.pairs(made_up())}
        there, back = found["disk/a", "own", "raw"], found["disk/a", "raw", "own"]
        self.assertAlmostEqual(there["low"], 1 / back["high"])
        self.assertNotIn(("disk/b", "own", "<peer>"), found)
        self.assertIn("| own | 0.45 (0.40-0.50) | 1 | 1.25", compare.pairs_table(made_up()))

    def test_changes(self):
        # A machine half as fast, on which we are twice as good.
        later = made_up(raw=(50, 100), own=(50, 80))
        change = next(one for one in compare.changes(made_up(), later)
                      if (one["row"], one["candidate"]) == ("disk/a", "own"))
        self.assertAlmostEqual(change["change"], 2)
        self.assertTrue(change["certain"])
        self.assertEqual(change["reference"], "raw")
        same = compare.changes(made_up(), made_up())
        self.assertFalse(any(one["certain"] for one in same))
        self.assertTrue(all(one["change"] == 1 for one in same))
        self.assertIn("| disk/a | own |", compare.changes_table(same))

    def test_reference(self):
        with self.assertRaises(BenchError):
            compare.changes(made_up(), made_up(), "none")
        found = compare.changes(made_up(), made_up(), "own")
        self.assertEqual({one["candidate"] for one in found}, {"raw", "<peer>"})


class Plots(unittest.TestCase):
    def test_ticks(self):
        self.assertEqual(plot.ticks(4), [0, 1, 2, 3, 4])
        self.assertEqual(plot.ticks(0), [0, 1])
        for greatest in (0.003, 0.7, 1, 13, 99, 12345):
            self.assertGreaterEqual(plot.ticks(greatest)[-1], greatest)
            self.assertLessEqual(len(plot.ticks(greatest)), 6)

    def test_plots_are_xml(self):
        found = dict(plot.plots(made_up(), "raw"))
        self.assertEqual(sorted(found), ["cpu-disk.svg", "throughput-disk.svg"])
        for text in found.values():
            xml.fromstring(text)
        self.assertIn("&lt;peer&gt;: 0.525", found["throughput-disk.svg"])

    def test_bars_are_to_scale(self):
        root = xml.fromstring(plot.bars("t", "x", [("r", {"a": (1, 1, 1), "b": (2, 2, 2)})],
                                        ["a", "b"]))
        widths = [float(node.get("width")) for node in root.iter("{http://www.w3.org/2000/svg}rect")
                  if node.find("{http://www.w3.org/2000/svg}title") is not None]
        self.assertAlmostEqual(widths[1], 2 * widths[0])
