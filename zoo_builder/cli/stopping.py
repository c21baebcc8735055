"""How Ctrl-C and SIGTERM stop a build within seconds, in whatever it is.

Python runs the handler of a signal between two of its own instructions: never while compiled code takes a step of
a large network, or scores it. The system notes each signal in a pipe at once, and a thread of its own reads there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from rnnzoo.command_line import GOES_ON, INTERRUPTED

PATIENCE_SECONDS = 10.0
"""After the first signal, for the work to come to a point where its state can be saved."""
SECOND_SECONDS = 2.0
"""After the second signal."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """Takes Ctrl-C and SIGTERM, within a `with` block of the main thread, as requests to save and stop.

    A second Ctrl-C is a KeyboardInterrupt. Work that does not notice in time is given up, at the state that was
    saved last: the process ends.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """say: prints a line."""
        self._say = say
        self._signals = 0
        self._noticed = threading.Event()

    def requested(self) -> bool:
        """Whether to save and stop. Who is told so is given the time that it takes."""
        if self._signals:
            self._noticed.set()
        return self._signals > 0

    def __enter__(self) -> StopRequests:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._noticed.set()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(self._writing)
        self._thread.join()
        os.close(self._reading)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _watch(self) -> None:
        while numbers := os.read(self._reading, 64):
            for _ in filter(_SIGNALS.__contains__, numbers):
                self._signals += 1
                if self._signals == 1:
                    self._say("stopping at the next block of steps; press Ctrl-C again to stop at once")
                    self._end_after(PATIENCE_SECONDS, even_if_noticed=False)
                else:
                    self._end_after(SECOND_SECONDS, even_if_noticed=True)

    def _end_after(self, seconds: float, even_if_noticed: bool) -> None:
        """End the process, unless it leaves the block before, or has at least noticed."""
        timer = threading.Timer(seconds, self._end, [even_if_noticed])
        timer.daemon = True
        timer.start()

    def _end(self, even_if_noticed: bool) -> None:
        if self._thread.is_alive() and (even_if_noticed or not self._noticed.is_set()):
            self._say(GOES_ON)
            sys.stderr.flush()
            os._exit(INTERRUPTED)
