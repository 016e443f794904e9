# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several results files as one: a long benchmark run in short pieces.

Pieces may have other rows, other candidates or more rounds. Their rounds are numbered on, so
ratios stay within the rounds of one piece. A name must stand for the same command in all, and
what the settings say of the measurement itself must be the same.
"""
import copy

from .errors import BenchError

# What may differ between pieces without making their rows another measurement.
_FREE = ("rounds", "syscalls", "time_limit")


def _check(first, other):
    if first["host"] != other["host"]:
        raise BenchError("the results are of different machines or versions: "
                         f"{first['host']}, {other['host']}")
    for key in first["settings"]:
        if key not in _FREE and first["settings"][key] != other["settings"].get(key):
            raise BenchError(f"the results differ in the setting {key}: "
                             f"{first['settings'][key]}, {other['settings'].get(key)}")


def _add_candidates(whole, piece):
    known = {one["name"]: one for one in whole["candidates"]}
    for one in piece["candidates"]:
        before = known.get(one["name"])
        if before is None:
            whole["candidates"].append(one)
        elif before["command"] != one["command"]:
            raise BenchError(f"'{one['name']}' stands for two commands: {before['command']}; "
                             f"{one['command']}")
        elif before["max_background"] is None:
            before["max_background"] = one["max_background"]


def _rounds(document):
    """One more than the greatest number of a round."""
    return 1 + max((sample["round"] for row in document["rows"]
                    for samples in row["samples"].values() for sample in samples), default=-1)


def _add_row(rows, row, offset):
    for samples in row["samples"].values():
        for sample in samples:
            sample["round"] += offset
    if row["name"] not in rows:
        rows[row["name"]] = row
        return
    into = rows[row["name"]]
    for name, samples in row["samples"].items():
        into["samples"].setdefault(name, []).extend(samples)
    into["errors"].update(row["errors"])
    into["syscalls"].update(row["syscalls"])


def merge(documents):
    """One document of all; the arguments stay as they are."""
    documents = [copy.deepcopy(one) for one in documents]
    whole = documents[0]
    rows = {row["name"]: row for row in whole["rows"]}
    for piece in documents[1:]:
        _check(whole, piece)
        _add_candidates(whole, piece)
        offset = _rounds({"rows": rows.values()})
        for row in piece["rows"]:
            _add_row(rows, row, offset)
        whole["complete"] = whole["complete"] and piece["complete"]
    whole["rows"] = list(rows.values())
    whole["settings"]["rounds"] = max(
        (len(samples) for row in whole["rows"] for samples in row["samples"].values()), default=0)
    return whole
