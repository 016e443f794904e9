# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of sluicefs-bench."""
import argparse
import glob
import json
import os
import re
import shutil
import signal
import sys

from . import compare, document, plot, table
from .candidates import BUILT_IN, DEFAULT, choose
from .errors import BenchError, UsageError
from .merge import merge
from .progress import Progress
from .runner import Run, Settings, select
from .stores import STORES
from .workloads import QUICK, WORKLOADS, row_name

HERE = os.path.dirname(os.path.realpath(__file__))
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

FULL = {"rounds": 5, "seconds": 2.0, "size": 1 << 30, "files": 10000, "tree_files": 0,
        "time_limit": 0}
SHORT = {"rounds": 2, "seconds": 0.7, "size": 128 << 20, "files": 2000, "tree_files": 1000,
         "time_limit": 120}


def parse_size(text):
    """Bytes in 4096, 64K, 128M, 2G."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text, re.IGNORECASE)
    if not match or int(match.group(1)) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 512M")
    return int(match.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[match.group(2).upper()]


def _number(kind, least):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < 1e9:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {least}")
        return value
    return parse


def _patterns(text):
    return [part for part in text.split(",") if part]


def find_places(build):
    """The programs that are used: from a build directory, beside this file, or installed."""
    places = {"sluicefs": None, "files": None, "deny_uring": None}
    inside = {"sluicefs": "tools/sluicefs", "files": "tools/bench/bench-files",
              "deny_uring": "tests/runner/deny-uring"}
    if build is None:
        top = os.path.join(HERE, "..", "..", "..")
        if os.path.exists(os.path.join(top, "meson.build")):
            found = [path for pattern in ("build*", "build*/*")
                     for path in glob.glob(os.path.join(top, pattern, inside["sluicefs"]))]
            if found:
                build = os.path.dirname(os.path.dirname(max(found, key=os.path.getmtime)))
    if build is not None:
        for name, path in inside.items():
            full = os.path.realpath(os.path.join(build, path))
            places[name] = full if os.access(full, os.X_OK) else None
    else:
        prefix = os.path.realpath(os.path.join(HERE, "..", "..", "..", ".."))
        installed = os.path.join(prefix, "libexec", "sluicefs", "bench-files")
        places["sluicefs"] = shutil.which("sluicefs")
        places["files"] = installed if os.access(installed, os.X_OK) else None
    for name in ("sluicefs", "files"):
        if places[name] is None:
            raise BenchError(f"no program {os.path.basename(inside[name])}"
                             f"{' in ' + build if build else ''}; build first, or say --build=DIR")
    return places


def parser():
    """The argument parser with its three commands."""
    top = argparse.ArgumentParser(
        prog="sluicefs-bench", allow_abbrev=False,
        description="Compare sluicefs with the file system below it and with other FUSE daemons.")
    commands = top.add_subparsers(dest="command", metavar="run|compare|plot", required=True)

    run = commands.add_parser("run", allow_abbrev=False, help="measure, by turns within one run",
                              description="Mount the candidates by turns, measure, write results.")
    add = run.add_argument
    add("--rows", type=_patterns, default=[], metavar="PATTERN,...",
        help="rows, workloads or stores to run, shell patterns; see --list (default: all)")
    add("--candidates", type=_patterns, default=[], metavar="PATTERN,...",
        help=f"built-in candidates, shell patterns (default: {','.join(DEFAULT)})")
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND",
        help="another form of sluicefs: 'name=sluicefs passthrough {src} {mnt} -o ...'")
    add("--peer", action="append", default=[], metavar="NAME=COMMAND",
        help="another daemon: 'name=command with {src} {mnt}'; {uring} in it: with FUSE over "
             "io_uring offered")
    add("--rounds", type=_number(int, 1), metavar="N", help="rounds (5; quick: 2)")
    add("--seconds", type=_number(float, 0.05), metavar="N",
        help="time of one measurement of a timed row (2; quick: 0.7)")
    add("--size", type=parse_size, metavar="BYTES", help="size of the data file (1G; quick: 128M)")
    add("--files", type=_number(int, 1), metavar="N", help="number of small files (10000; quick: 2000)")
    add("--tree", default="/usr/include", metavar="DIR",
        help="the real tree of tar, git and find (default: %(default)s)")
    add("--tree-files", type=_number(int, 0), metavar="N",
        help="only so many files of it (all; quick: 1000)")
    add("--max-background", type=_number(int, 0), default=256, metavar="N",
        help="requests in the background, for every candidate; 0: as each sets it "
             "(default: %(default)s)")
    add("--directory", default="/var/tmp", metavar="DIR",
        help="where the work directory is made; on the disk to be measured (default: %(default)s)")
    add("--build", metavar="DIR", help="build directory of sluicefs (default: the newest one)")
    add("--no-syscalls", action="store_true", help="do not count system calls")
    add("--time-limit", type=_number(float, 0), metavar="SECONDS",
        help="start nothing after this time but what the first round needs (none; quick: 120)")
    add("--quick", action="store_true", help="some rows, small and short: under 3 minutes")
    add("--output", default="sluicefs-bench.json", metavar="FILE",
        help="the results (default: %(default)s)")
    add("--json", action="store_true", help="print the results as JSON, not as tables")
    add("--list", action="store_true", help="print candidates and rows, run nothing")

    comparison = commands.add_parser(
        "compare", allow_abbrev=False, help="ratios of every pair, or of two runs",
        description="With one file every candidate is compared with every other; with two, the "
                    "later run with the earlier one by what both measured against a reference.")
    comparison.add_argument("files", nargs="+", metavar="FILE")
    comparison.add_argument("--reference", metavar="NAME",
                            help="of two runs (default: raw, if both have it)")
    comparison.add_argument("--json", action="store_true", help="print JSON, not Markdown")

    merging = commands.add_parser("merge", allow_abbrev=False, help="results of pieces as one file",
                                  description="Join the results of runs with the same settings.")
    merging.add_argument("files", nargs="+", metavar="FILE")
    merging.add_argument("--output", required=True, metavar="FILE", help="the joined results")

    plotting = commands.add_parser("plot", allow_abbrev=False, help="SVG plots and Markdown tables",
                                   description="Write plots and tables made from a results file.")
    plotting.add_argument("file", metavar="FILE")
    plotting.add_argument("--directory", default=".", metavar="DIR",
                          help="where they go (default: the current one)")
    plotting.add_argument("--subject", metavar="NAME",
                          help="whose ratios the tables show (default: the first sluicefs)")
    plotting.add_argument("--reference", metavar="NAME",
                          help="what plots divide by (default: raw, or the first candidate)")
    plotting.add_argument("--json", action="store_true", help="print the names of the files as JSON")
    return top


def _print_list():
    print("candidates")
    for one in BUILT_IN:
        print(f"  {one.name:24}{one.command or 'the directory itself, no FUSE'}")
    print("rows")
    for store in STORES:
        for workload in WORKLOADS:
            for step in workload.steps:
                print(f"  {row_name(store, workload, step):36}{step.about}")


def command_run(arguments):
    if arguments.list:
        _print_list()
        return 0
    patterns = arguments.rows
    defaults = FULL
    if arguments.quick:
        defaults = SHORT
        patterns = patterns or list(QUICK)
    chosen = select(patterns)
    candidates = choose(arguments.candidates, arguments.candidate, arguments.peer)
    if os.geteuid() != 0:
        raise BenchError("needs root: it mounts, evens out max_background and empties caches")
    for program in ("fio", "git", "tar", "find", "stat", "umount"):
        if not shutil.which(program):
            raise BenchError(f"there is no program '{program}'; install it first")
    values = {key: default if getattr(arguments, key) is None else getattr(arguments, key)
              for key, default in defaults.items()}
    settings = Settings(max_background=arguments.max_background, directory=arguments.directory,
                        tree=arguments.tree, places=find_places(arguments.build),
                        syscalls=not (arguments.no_syscalls or arguments.quick),
                        output=os.path.abspath(arguments.output), **values)
    progress = Progress(Run.measurements(candidates, chosen, settings))
    run = Run(candidates, chosen, settings, progress)
    try:
        run.execute()
    finally:
        progress.close()
    if arguments.json:
        json.dump(run.document, sys.stdout, indent=1)
        print()
    else:
        print(table.report(run.document))
        print(f"results: {arguments.output}")
    return 0


def command_compare(arguments):
    if len(arguments.files) > 2:
        raise UsageError("compare takes one or two files")
    documents = [document.read(path) for path in arguments.files]
    if len(documents) == 1:
        found = compare.pairs(documents[0]) if arguments.json else None
        text = None if arguments.json else compare.pairs_table(documents[0])
    else:
        found = compare.changes(*documents, arguments.reference)
        text = compare.changes_table(found)
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        print(text, end="")
    return 0


def command_merge(arguments):
    document.write(merge([document.read(path) for path in arguments.files]), arguments.output)
    return 0


def command_plot(arguments):
    results = document.read(arguments.file)
    known = document.names(results)
    reference = arguments.reference or ("raw" if "raw" in known else known[0])
    if reference not in known:
        raise BenchError(f"no candidate '{reference}' in the results; there are: {', '.join(known)}")
    files = plot.plots(results, reference)
    files.append(("tables.md", table.report(results, arguments.subject)))
    written = []
    for name, text in files:
        path = os.path.join(arguments.directory, name)
        try:
            os.makedirs(arguments.directory, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise BenchError(f"{path}: {error.strerror}") from error
        written.append(path)
    print(json.dumps(written) if arguments.json else "\n".join(written))
    return 0


def main(words):
    """Run the command; the exit status."""
    arguments = parser().parse_args(words)
    command = {"run": command_run, "compare": command_compare, "merge": command_merge,
               "plot": command_plot}

    def interrupted(_number, _frame):
        # The clean-up that this starts must not be cut short by a second one.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return command[arguments.command](arguments)
    except UsageError as error:
        print(f"sluicefs-bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BenchError as error:
        print(f"sluicefs-bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("sluicefs-bench: interrupted; what was measured is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:  # somebody has removed the work directory, a disk is full
        print(f"sluicefs-bench: {error}", file=sys.stderr)
        return EXIT_FAILED
