"""How far a build is, on the terminal."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from rnnzoo.zoo_builder.cli.stopping import StopRequests
from rnnzoo.zoo_builder.pipeline.progress import ProgressTracker, ShardProgress

FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} model-steps [{elapsed}{postfix}]"
TERMINAL_SECONDS, LOG_SECONDS = 0.2, 10.0
"""Between two lines, on a terminal and in a file."""


class ProgressBar:
    """An observer that shows the progress of so many runs of so many steps.

    The first Ctrl-C or SIGTERM becomes a request to save and stop. The first training step is shown at once.
    """

    def __init__(self, runs: int, steps: int, label: str | None = None) -> None:
        self._tracker = ProgressTracker(runs, steps)
        self._bar = tqdm(desc=label, total=runs * steps, unit_scale=True, bar_format=FORMAT, dynamic_ncols=True)
        self._every = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS
        self._runs = runs
        self._due = 0.0
        self._moved = False
        self._stop = StopRequests(lambda line: self._bar.write(line, file=sys.stderr))

    def report(self, progress: ShardProgress) -> None:
        self._tracker.report(progress)
        if time.monotonic() >= self._due or (self._tracker.trained and not self._moved):
            self._moved = self._tracker.trained > 0
            self._show()

    def stop_requested(self) -> bool:
        return self._stop.requested()

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

    def __enter__(self) -> ProgressBar:
        self._stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.__exit__()
        self._show()
        self._bar.close()
