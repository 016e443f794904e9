# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results file: JSON, written after every measurement, read by compare and plot.

    format      "sluicefs-bench 1"
    host        kernel, processors, memory_mib, fio, sluicefs
    settings    rounds, seconds, size, files, max_background, ...
    candidates  [{name, kind, command, max_background}]
    rows        [{name, unit, about, samples: {candidate: [sample]},
                  errors: {candidate: text}, syscalls: {candidate: calls per operation}}]
    complete    whether the run reached its end

A sample has round, operations, seconds, throughput (operations or bytes per second),
p50_us, p99_us, p999_us (or null), and client_us, daemon_us, system_us: microseconds of CPU for
each operation, which is the same as milliseconds for each 1000; load: of the machine.
"""
import json
import os

from .errors import BenchError
from .ratios import ratio, spread

FORMAT = "sluicefs-bench 1"
FIELDS = ("throughput", "p50_us", "p99_us", "p999_us", "client_us", "daemon_us", "system_us")


def sample(turn, unit, outcome, cpu, load):
    """A sample of the document from what a step achieved and what it cost."""
    latency = outcome.latency or {}
    amount = outcome.bytes if unit == "bytes" else outcome.operations
    operations = outcome.operations
    system = max(0.0, cpu["system"] - outcome.overhead_cpu)
    return {
        "round": turn,
        "operations": operations,
        "seconds": outcome.seconds,
        "throughput": amount / max(outcome.seconds, 1e-6),
        "p50_us": latency.get("p50"),
        "p99_us": latency.get("p99"),
        "p999_us": latency.get("p999"),
        "client_us": outcome.client_cpu * 1e6 / operations,
        "daemon_us": cpu["daemon"] * 1e6 / operations,
        "system_us": system * 1e6 / operations,
        "load": load,
    }


def write(document, path):
    """Replace the file at once, so that there is always a whole one."""
    partial = f"{path}.partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        raise BenchError(f"the results cannot be written to {path}: {error.strerror}") from error


def read(path):
    """The document in a file; BenchError if it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BenchError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BenchError(f"{path} is not a results file of this version ({FORMAT})")
    if any(key not in document for key in ("host", "settings", "candidates", "rows")):
        raise BenchError(f"{path} is not whole")
    return document


def names(document):
    """Names of the candidates, in the order of the run."""
    return [one["name"] for one in document["candidates"]]


def field(row, candidate, name):
    """Map of round to one field of a candidate's samples; rounds without it are left out."""
    return {one["round"]: one[name] for one in row["samples"].get(candidate, [])
            if one.get(name) is not None}


def field_spread(row, candidate, name):
    """Median and extremes of a field over the rounds, or None."""
    return spread(field(row, candidate, name).values())


def throughput_ratio(row, ours, theirs):
    """Spread of the paired throughput ratios of two candidates, or None."""
    return ratio(field(row, ours, "throughput"), field(row, theirs, "throughput"))


def subject_of(document, wanted=None):
    """The candidate that the tables are about: the wanted one or the first of ours."""
    if wanted is not None:
        if wanted not in names(document):
            raise BenchError(f"no candidate '{wanted}' in the results; there are: "
                             + ", ".join(names(document)))
        return wanted
    for one in document["candidates"]:
        if one["kind"] == "own":
            return one["name"]
    return names(document)[0]
