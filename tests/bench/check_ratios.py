# SPDX-License-Identifier: LGPL-2.1-or-later
"""Paired ratios and the order of rounds."""
import unittest

from sluicefs_bench.ratios import median, paired, ratio, rotated, spread


class Ratios(unittest.TestCase):
    def test_median(self):
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([4, 1, 3, 2]), 2.5)
        with self.assertRaises(ValueError):
            median([])

    def test_spread(self):
        self.assertEqual(spread([5, 1, 3]), (3, 1, 5, 3))
        self.assertIsNone(spread([]))

    def test_drift_cancels_within_a_round(self):
        ours, theirs = {0: 20, 1: 2, 2: 200}, {0: 10, 1: 1, 2: 100}
        self.assertEqual(ratio(ours, theirs), (2, 2, 2, 3))

    def test_only_rounds_that_both_have(self):
        self.assertEqual(paired({0: 4, 1: 6}, {1: 3, 2: 1}), [2])
        self.assertEqual(paired({0: 4}, {0: 0}), [])
        self.assertIsNone(ratio({0: 1}, {1: 1}))

    def test_ratio_is_median_of_ratios(self):
        # The quotient of the medians would be 3.
        self.assertEqual(ratio({0: 10, 1: 30, 2: 80}, {0: 10, 1: 1, 2: 40}).median, 2)

    def test_rotation(self):
        self.assertEqual([rotated("ABC", turn) for turn in range(4)],
                         [list("ABC"), list("CAB"), list("BCA"), list("ABC")])
        self.assertEqual(rotated([], 3), [])

    def test_everybody_is_everywhere_once(self):
        orders = [rotated(range(7), turn) for turn in range(7)]
        for place in zip(*orders):
            self.assertEqual(sorted(place), list(range(7)))
