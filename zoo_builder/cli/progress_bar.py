"""How far a build is, on the terminal."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from tqdm import tqdm

from rnnzoo.zoo_builder.pipeline.progress import ProgressTracker, ShardProgress

FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} model-steps [{elapsed}{postfix}]"
TERMINAL_SECONDS, LOG_SECONDS = 0.2, 10.0
"""Between two lines, on a terminal and in a file."""


class ProgressBar:
    """An observer that shows the progress of so many runs of so many steps.

    The first Ctrl-C becomes a request to save and stop. The first training step is shown at once.
    """

    def __init__(self, runs: int, steps: int, label: str | None = None) -> None:
        self._tracker = ProgressTracker(runs, steps)
        self._bar = tqdm(desc=label, total=runs * steps, unit_scale=True, bar_format=FORMAT, dynamic_ncols=True)
        self._every = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS
        self._runs = runs
        self._due = 0.0
        self._stop = self._moved = False

    def report(self, progress: ShardProgress) -> None:
        self._tracker.report(progress)
        if time.monotonic() >= self._due or (self._tracker.trained and not self._moved):
            self._moved = self._tracker.trained > 0
            self._show()

    def stop_requested(self) -> bool:
        return self._stop

    def _show(self) -> None:
        self._due = time.monotonic() + self._every
        self._bar.n = self._tracker.model_steps
        self._bar.set_postfix_str(", ".join(self._words()), refresh=False)
        self._bar.refresh()

    def _words(self) -> list[str]:
        tracker = self._tracker
        words = []
        if tracker.rate is not None and tracker.seconds_left is not None:
            words = [f"{tqdm.format_sizeof(tracker.rate)} a second"]
            words += [f"{tqdm.format_interval(tracker.seconds_left)} left"]
        words += [f"runs {tracker.runs}/{self._runs}"]
        words += [f"{tracker.diverged} diverged"] if tracker.diverged else []
        if tracker.last is not None:
            words += [f"step {tracker.last.step}", f"accuracy {tracker.last.accuracy:.3f}"]
        return words

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._bar.write("stopping at the next block of steps; press Ctrl-C again to stop at once", file=sys.stderr)

    def __enter__(self) -> ProgressBar:
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._show()
        self._bar.close()
