# SPDX-License-Identifier: LGPL-2.1-or-later
"""Paired ratios and their spread: pure functions of numbers.

Absolute figures of a shared machine drift; what two candidates did right after each
other in the same round does not drift apart as far. So a ratio is taken within each round,
and its median, least and greatest over the rounds are reported.
"""
from collections import namedtuple

Spread = namedtuple("Spread", "median low high count")


def median(values):
    """The middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("median of nothing")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def spread(values):
    """Median, least, greatest and number of the values; None of no values."""
    values = list(values)
    if not values:
        return None
    return Spread(median(values), min(values), max(values), len(values))


def paired(ours, theirs):
    """Ratios ours/theirs of the rounds that both have; arguments map round to value."""
    return [ours[key] / theirs[key] for key in sorted(ours) if theirs.get(key)]


def ratio(ours, theirs):
    """The spread of the paired ratios, or None if no round has both."""
    return spread(paired(ours, theirs))


def rotated(items, turn):
    """The order of a round: A B C, C A B, B C A, ..., so that nobody always comes first."""
    items = list(items)
    if not items:
        return []
    shift = -turn % len(items)
    return items[shift:] + items[:shift]
