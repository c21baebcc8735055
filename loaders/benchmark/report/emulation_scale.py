"""What a loss of emulation is worth: where it lies between those of controls, from one that knows nothing on.

A control counts for the encoders that were trained with the same settings alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnzoo.loaders.benchmark.report.statistics import Estimate, estimate_loss
from rnnzoo.loaders.benchmark.results.content import Emulation, Rows

CONSTANT, STEP, ORACLE = CONTROLS = ("constant", "step", "oracle")
LEAST_SHARE = 0.1
"""Differences smaller than this share of a scale are none."""
ByStep = dict[str, dict[int, Estimate | None]]
"""Split -> step of the checkpoint -> estimate."""
MISSING = "What a loss is worth is not known here: with the same settings there is no training of "
TOO_SHORT = (
    "No ranking: with these settings an emulator that is told task and step (`oracle`) comes hardly further than "
    "one that is told nothing (`constant`). It has to be trained for longer before a loss tells encoders apart."
)
FLOOR = (
    "No ranking: no encoder comes noticeably further than `step`, which knows the training step alone. All losses "
    "lie at one floor."
)


@dataclass(frozen=True)
class Scale:
    """Mean losses of the controls that were trained with the same settings, on one split: control -> loss."""

    losses: dict[str, float]

    def share(self, loss: float | None) -> float | None:
        """How far a loss is on the way from `constant` (0) to `oracle` (1); None where that is not known."""
        if loss is None or not self.is_long:
            return None
        return (self.losses[CONSTANT] - loss) / (self.losses[CONSTANT] - self.losses[ORACLE])

    @property
    def is_long(self) -> bool:
        """Whether both ends are known, and apart."""
        low, high = (self.losses.get(name) for name in (ORACLE, CONSTANT))
        return low is not None and high is not None and high - low > LEAST_SHARE * high

    def is_beyond_the_step(self, loss: float) -> bool:
        """Whether a loss is noticeably below that of an emulator that knows the step alone."""
        floor = self.losses.get(STEP, self.losses[CONSTANT])
        return floor - loss > LEAST_SHARE * (floor - self.losses[ORACLE])


def scale_for(runs: Sequence[Emulation], all_runs: Sequence[Emulation], split: str) -> Scale:
    """The scale on a split for the trainings of one encoder.

    Args:
        runs: The trainings, which differ by their seed alone.
        all_runs: Those of all encoders, the controls among them.
        split: Test or ood.

    Returns:
        The scale; a control that was not trained with these settings is not in it.
    """
    settings = {_settings(run) for run in runs}
    alike = [run for run in all_runs if settings == {_settings(run)}]
    found: dict[str, list[float]] = {}
    for run in alike:
        loss = run.losses.get(split)
        if run.encoder in CONTROLS and loss is not None:
            found.setdefault(run.encoder, []).append(loss)
    return Scale({name: float(np.mean(losses)) for name, losses in found.items()})


def note_on(losses: Sequence[tuple[str, Estimate | None, Scale]]) -> str | None:
    """What a reader must know of the losses on one split; None where they rank encoders as they stand.

    Args:
        losses: Encoder, its loss, and the scale for its settings.

    Returns:
        A sentence: one that begins with `MISSING`, or with no ranking `TOO_SHORT` or `FLOOR`.
    """
    learned = [(loss.mean, scale) for name, loss, scale in losses if name not in CONTROLS and loss is not None]
    known = [(loss, scale) for loss, scale in learned if {CONSTANT, ORACLE} <= scale.losses.keys()]
    if not known:
        absent = [f"`{name}`" for name in (CONSTANT, ORACLE) if not all(name in s.losses for _, s in learned)]
        return f"{MISSING}{' and '.join(absent)}." if learned else None
    if not any(scale.is_long for _, scale in known):
        return TOO_SHORT
    return None if any(scale.is_long and scale.is_beyond_the_step(loss) for loss, scale in known) else FLOOR


def losses_by_step(runs: Sequence[Emulation], rows: Rows) -> ByStep:
    """Mean loss of the checkpoints of each step.

    Args:
        runs: Trainings that differ by their seed alone.
        rows: The checkpoints that they report on.

    Returns:
        Split -> step -> estimate over the seeds.
    """
    found: ByStep = {}
    for split, reported in rows.splits.items():
        steps = np.array(reported.step)
        losses = np.array([run.row_losses[split] for run in runs], dtype=np.float64)
        found[split] = {
            int(step): estimate_loss(losses[:, steps == step].mean(axis=1).tolist()) for step in np.unique(steps)
        }
    return found


def _settings(run: Emulation) -> str:
    return json.dumps(run.training, sort_keys=True)
