# SPDX-License-Identifier: LGPL-2.1-or-later
"""Markdown made from a results file."""
from .document import field_spread, names, subject_of, throughput_ratio


def amount(value):
    """A number with three digits that count."""
    for limit, divisor, suffix in ((1e10, 1e9, "G"), (1e7, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= limit:
            return f"{value / divisor:.3g}{suffix}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def throughput(value, unit):
    """Operations per second, or MiB per second."""
    return f"{value / (1 << 20):.0f} MiB/s" if unit == "bytes" else f"{amount(value)}/s"


def microseconds(value):
    return f"{value:.1f}" if value < 10 else amount(value) if value >= 1e4 else f"{value:.0f}"


def ratio_cell(ratio):
    """median (least-greatest)"""
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else "-"


def markdown(header, lines):
    """A Markdown table; the first column is left-aligned, the others right."""
    rows = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    rows += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(rows) + "\n"


def _missing(row, candidate):
    return "failed" if candidate in row["errors"] else "-"


def ratio_table(document, subject):
    """The subject's throughput divided by that of every other candidate."""
    others = [name for name in names(document) if name != subject]
    lines = []
    for row in document["rows"]:
        cells = []
        for other in others:
            ratio = throughput_ratio(row, subject, other)
            if ratio:
                cells.append(ratio_cell(ratio))
            else:
                cells.append(f"{other} failed" if other in row["errors"] else
                             _missing(row, subject))
        lines.append([row["name"], *cells])
    return markdown([f"{subject} /", *others], lines)


def throughput_table(document):
    """Median throughput of every candidate."""
    lines = []
    for row in document["rows"]:
        cells = []
        for name in names(document):
            value = field_spread(row, name, "throughput")
            cells.append(throughput(value.median, row["unit"]) if value else _missing(row, name))
        lines.append([row["name"], *cells])
    return markdown(["row", *names(document)], lines)


def latency_table(document):
    """Medians of p50 / p99 / p99.9."""
    lines = []
    for row in document["rows"]:
        cells = []
        for name in names(document):
            values = [field_spread(row, name, key) for key in ("p50_us", "p99_us", "p999_us")]
            cells.append(" / ".join(microseconds(value.median) for value in values)
                         if all(values) else "-")
        if any(cell != "-" for cell in cells):
            lines.append([row["name"], *cells])
    return markdown(["row", *names(document)], lines)


def cost_table(document):
    """CPU of client + daemon (system) for each operation, and the daemon's system calls."""
    lines = []
    for row in document["rows"]:
        cells = []
        for name in names(document):
            values = [field_spread(row, name, key)
                      for key in ("client_us", "daemon_us", "system_us")]
            if not all(values):
                cells.append("-")
                continue
            client, daemon, system = (microseconds(value.median) for value in values)
            calls = row["syscalls"].get(name)
            cells.append(f"{client} + {daemon} ({system})"
                         + (f"; {calls:.2f}" if calls is not None else ""))
        lines.append([row["name"], *cells])
    return markdown(["row", *names(document)], lines)


def _heading(document):
    host, settings = document["host"], document["settings"]
    lines = [f"Kernel {host['kernel']}, {host['processors']} processors, {host['fio']}, "
             f"{host['sluicefs']}; {settings['rounds']} rounds of {settings['seconds']:g} s, "
             f"data of {settings['size'] >> 20} MiB, {settings['files']} files.", ""]
    for one in document["candidates"]:
        command = f"`{one['command']}`" if one["command"] else "the directory itself, no FUSE"
        background = one["max_background"]
        lines.append(f"- **{one['name']}**: {command}"
                     + (f", max_background {background}" if background else ""))
    if not document["complete"]:
        lines += ["", "The run did not reach its end; what it measured is shown."]
    return "\n".join(lines) + "\n"


def report(document, wanted_subject=None):
    """The whole report, as Markdown."""
    subject = subject_of(document, wanted_subject)
    parts = [_heading(document)]
    if len(names(document)) > 1:
        parts += [f"Throughput of {subject} divided by that of each other candidate, taken within "
                  "each round: median (least-greatest).\n", ratio_table(document, subject)]
    parts += ["Throughput, median.\n", throughput_table(document)]
    parts += ["p50 / p99 / p99.9 in microseconds, medians.\n", latency_table(document)]
    parts += ["Microseconds of CPU for an operation (milliseconds for 1000): client + daemon (whole "
              "system); system calls of the daemon for an operation.\n", cost_table(document)]
    errors = [f"- {row['name']}, {name}: {text}" for row in document["rows"]
              for name, text in row["errors"].items()]
    if errors:
        parts += ["What failed:\n", "\n".join(errors) + "\n"]
    return "\n".join(parts)
