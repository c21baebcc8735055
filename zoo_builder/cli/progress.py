"""How far a build is, on the terminal."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from tqdm import tqdm


class ProgressBar:
    """Shows the progress of so many runs of so many steps; the first Ctrl-C becomes a request to save and stop."""

    def __init__(self, runs: int, steps: int) -> None:
        self._bar = tqdm(
            total=runs * steps,
            unit="step",
            unit_scale=True,
            smoothing=0.1,
            mininterval=0.2 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )
        self._shown: dict[str, str] = {"runs": f"0/{runs}"}
        self._runs, self._total_runs, self._diverged = 0, runs, 0
        self._stop = False
        self._began = time.monotonic()
        self.seconds = 0.0

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        if before:
            self._bar.initial += model_steps  # keeps earlier work out of the rate and of the time left
        self._bar.update(model_steps)

    def scored(self, step: int, accuracy: float) -> None:
        self._show(at=f"step {step}", accuracy=f"{accuracy:.3f}")

    def runs_done(self, runs: int, diverged: int) -> None:
        self._runs += runs
        self._diverged += diverged
        self._show(runs=f"{self._runs}/{self._total_runs}")
        if self._diverged:
            self._show(diverged=str(self._diverged))

    def stop_requested(self) -> bool:
        return self._stop

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown, refresh=False)

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
        self.seconds = time.monotonic() - self._began
        self._bar.close()
