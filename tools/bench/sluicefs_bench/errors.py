# SPDX-License-Identifier: LGPL-2.1-or-later
"""Errors that are told to the user without a traceback."""


class BenchError(Exception):
    """What failed, on what, and why; ends the run."""


class UsageError(BenchError):
    """The command line makes no sense."""


class CandidateError(Exception):
    """One candidate failed at one row; noted in the results, the run goes on."""
