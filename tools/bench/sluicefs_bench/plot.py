# SPDX-License-Identifier: LGPL-2.1-or-later
"""SVG plots made from a results file: horizontal bars, a whisker for the spread."""
import math
from html import escape

from .document import field_spread, names, throughput_ratio

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e",
           "#9498a0", "#ff8ab7")
BAR, GAP, LEFT, WIDTH, RIGHT, TOP = 11, 12, 250, 560, 90, 64


def ticks(greatest):
    """About five round numbers from 0 to at least greatest."""
    if greatest <= 0:
        return [0.0, 1.0]
    raw = greatest / 4
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    return [step * number for number in range(math.ceil(greatest / step - 1e-9) + 1)]


def bars(title, axis, rows, series, reference=None):
    """An SVG document. rows: [(name, {series: (value, low, high)})]; reference: a line."""
    greatest = max([high for _, cells in rows for _, _, high in cells.values()] or [1])
    marks = ticks(max(greatest, reference or 0))
    scale = WIDTH / marks[-1]
    height = TOP + sum(len(series) * BAR + GAP for _ in rows) + 30
    columns = max(1, (LEFT + WIDTH) // 170)
    top = TOP + 16 * ((len(series) - 1) // columns)
    height += top - TOP
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" '
           f'height="{height}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14" font-weight="bold">{escape(title)}</text>']
    for number, name in enumerate(series):
        x, y = 10 + 170 * (number % columns), 34 + 16 * (number // columns)
        out.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" '
                   f'fill="{COLOURS[number % len(COLOURS)]}"/>'
                   f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
    for mark in marks:
        x = LEFT + mark * scale
        out.append(f'<line x1="{x:.1f}" y1="{top - 10}" x2="{x:.1f}" y2="{height - 26}" '
                   'stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{mark:g}</text>')
    out.append(f'<text x="{LEFT + WIDTH + 8}" y="{height - 12}">{escape(axis)}</text>')
    y = top
    for name, cells in rows:
        middle = y + len(series) * BAR / 2 + 4
        out.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for number, one in enumerate(series):
            if one in cells:
                value, low, high = cells[one]
                line = y + number * BAR + BAR / 2
                out.append(f'<rect x="{LEFT}" y="{y + number * BAR}" width="{value * scale:.1f}" '
                           f'height="{BAR - 2}" fill="{COLOURS[number % len(COLOURS)]}">'
                           f'<title>{escape(one)}: {value:.3g} ({low:.3g}-{high:.3g})</title>'
                           '</rect>'
                           f'<line x1="{LEFT + low * scale:.1f}" y1="{line - 1}" '
                           f'x2="{LEFT + high * scale:.1f}" y2="{line - 1}" stroke="#333"/>')
        y += len(series) * BAR + GAP
    if reference is not None:
        x = LEFT + reference * scale
        out.append(f'<line x1="{x:.1f}" y1="{top - 10}" x2="{x:.1f}" y2="{height - 26}" '
                   'stroke="#333" stroke-dasharray="4 3"/>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _stores(document):
    return sorted({row["name"].split("/")[0] for row in document["rows"]})


def ratio_plot(document, store, reference):
    """Throughput of each candidate divided by the reference's."""
    series = [name for name in names(document) if name != reference]
    rows = []
    for row in document["rows"]:
        if not row["name"].startswith(store + "/"):
            continue
        cells = {}
        for name in series:
            ratio = throughput_ratio(row, name, reference)
            if ratio:
                cells[name] = (ratio.median, ratio.low, ratio.high)
        rows.append((row["name"].partition("/")[2], cells))
    return bars(f"{store}: throughput as a multiple of {reference}", f"x {reference}", rows, series,
                reference=1)


def cost_plot(document, store):
    """The daemons' CPU time for an operation, rows of small operations only."""
    series = [one["name"] for one in document["candidates"] if one["kind"] != "raw"]
    rows = []
    for row in document["rows"]:
        if not row["name"].startswith(store + "/") or row["unit"] != "ops":
            continue
        cells = {}
        for name in series:
            cost = field_spread(row, name, "daemon_us")
            if cost:
                cells[name] = (cost.median, cost.low, cost.high)
        rows.append((row["name"].partition("/")[2], cells))
    return bars(f"{store}: CPU time of the daemon for an operation", "us", rows, series)


def plots(document, reference):
    """All plots: [(file name, SVG)]."""
    found = []
    for store in _stores(document):
        found.append((f"throughput-{store}.svg", ratio_plot(document, store, reference)))
        found.append((f"cpu-{store}.svg", cost_plot(document, store)))
    return found
