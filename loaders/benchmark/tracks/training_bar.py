"""How far a training is, on the terminal."""

from __future__ import annotations

from tqdm import tqdm


class TrainingBar:
    """A progress bar of a training: its step, and the losses."""

    def __init__(self, description: str, steps: int, quiet: bool) -> None:
        self._bar = tqdm(total=steps, desc=description, unit="step", leave=False, disable=quiet, smoothing=0.05)
        self._validation = ""

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step_done(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        if validation_loss is not None:
            self._validation = f", validation {validation_loss:.4f}"
        self._bar.set_postfix_str(f"loss {train_loss:.4f}{self._validation}", refresh=False)
        self._bar.update(step - self._bar.n)
