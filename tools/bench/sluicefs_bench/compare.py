# SPDX-License-Identifier: LGPL-2.1-or-later
"""Comparisons: every candidate with every other in one run, or one run with a later one."""
from .document import field_spread, names, throughput_ratio
from .errors import BenchError
from .table import markdown, ratio_cell


def pairs(document):
    """For each row and ordered pair of candidates the spread of the paired ratios."""
    found = []
    for row in document["rows"]:
        for ours in names(document):
            for theirs in names(document):
                ratio = throughput_ratio(row, ours, theirs) if ours != theirs else None
                if ratio:
                    found.append({"row": row["name"], "candidate": ours, "to": theirs,
                                  **ratio._asdict()})
    return found


def pairs_table(document):
    """The same as one Markdown table for each row: the line divided by the column."""
    parts = []
    for row in document["rows"]:
        lines = [[ours, *("1" if ours == theirs else ratio_cell(throughput_ratio(row, ours, theirs))
                          for theirs in names(document))] for ours in names(document)]
        parts.append(f"{row['name']} ({row['about']})\n\n" + markdown(["/", *names(document)], lines))
    return "\n".join(parts)


def _reference(old, new, wanted):
    common = [name for name in names(old) if name in names(new)]
    if wanted is not None and wanted not in common:
        raise BenchError(f"the reference '{wanted}' is not in both results")
    if not common:
        raise BenchError("the two results have no candidate in common")
    return wanted or ("raw" if "raw" in common else common[0])


def changes(old, new, wanted_reference=None):
    """How each candidate changed against a reference that both runs measured.

    Figures of two runs cannot be paired; so each run's ratio to the reference is taken, and
    the change is the quotient of the two medians. certain says that their ranges do not overlap.
    """
    reference = _reference(old, new, wanted_reference)
    earlier = {row["name"]: row for row in old["rows"]}
    found = []
    for row in new["rows"]:
        if row["name"] not in earlier:
            continue
        for name in names(new):
            if name == reference or name not in names(old):
                continue
            before = throughput_ratio(earlier[row["name"]], name, reference)
            after = throughput_ratio(row, name, reference)
            if not before or not after:
                continue
            cost = [field_spread(one, name, "daemon_us") for one in (earlier[row["name"]], row)]
            found.append({
                "row": row["name"], "candidate": name, "reference": reference,
                "before": before._asdict(), "after": after._asdict(),
                "change": after.median / before.median,
                "certain": after.low > before.high or after.high < before.low,
                "daemon_us": [one.median if one else None for one in cost],
            })
    return found


def changes_table(found):
    """Changes as Markdown."""
    def cell(spread):
        return f"{spread['median']:.2f} ({spread['low']:.2f}-{spread['high']:.2f})"

    lines = [[one["row"], one["candidate"], cell(one["before"]), cell(one["after"]),
              f"{one['change']:.2f}", "yes" if one["certain"] else "no"] for one in found]
    reference = found[0]["reference"] if found else "reference"
    return markdown(["row", "candidate", f"before / {reference}", f"after / {reference}", "change",
                     "outside the spread"], lines)
