# SPDX-License-Identifier: LGPL-2.1-or-later
"""How far a run is: a bar on a terminal, a line for each finished round elsewhere."""
import shutil
import sys
import time


def clock(seconds):
    """Seconds as 1:05 or 1:02:05."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def bar_line(done, total, elapsed, what, width):
    """One line of at most width columns."""
    share = done / total if total else 1
    cells = 20
    left = clock(elapsed / share - elapsed) if share > 0 else "?"
    text = (f"[{'#' * int(share * cells):{cells}}] {done}/{total}  {clock(elapsed)}, "
            f"{left} left  {what}")
    return text[:width]


class Progress:
    """Told of each measurement before it starts."""

    def __init__(self, total, stream=sys.stderr):
        self._total = total
        self._stream = stream
        self._terminal = stream.isatty()
        self._began = time.monotonic()
        self._done = 0

    def elapsed(self):
        return time.monotonic() - self._began

    def next(self, what):
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            line = bar_line(self._done, self._total, self.elapsed(), what, width)
            self._stream.write(f"\r\033[K{line}")
            self._stream.flush()
        self._done += 1

    def skip(self, count):
        self._done += count

    def say(self, text):
        """A line that stays."""
        self._stream.write(f"\r\033[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()

    def milestone(self, text):
        """A line where there is no bar."""
        if not self._terminal:
            self.say(text)

    def close(self):
        if self._terminal:
            self._stream.write("\r\033[K")
            self._stream.flush()
