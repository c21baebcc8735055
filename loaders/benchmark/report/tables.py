"""The tables of a report as data: lines with intervals, sorted by the main score on unseen tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rnnzoo.loaders.benchmark.prediction.scores import better
from rnnzoo.loaders.benchmark.report.emulation_scale import MISSING, ByStep, losses_by_step, note_on, scale_for
from rnnzoo.loaders.benchmark.report.score_limits import ScoresByStep, SplitLimits, limits_of, scores_by_step
from rnnzoo.loaders.benchmark.report.statistics import (
    UNBOUNDED,
    Estimate,
    estimate_loss,
    estimate_mean,
    estimate_scores,
    paired_difference,
)
from rnnzoo.loaders.benchmark.results.content import Emulation, Result
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard
from rnnzoo.zoo_builder.tasks.target import Target

BASELINES = ("noninteractive_probing", "interactive_probing", "layer_statistics", "flat_mlp")
"""Whom others are compared with when nobody is named: the first that is there."""
TRACKS = ("frozen", "supervised", "features")
Estimates = dict[str, dict[str, Estimate | None]]
"""Split -> score -> estimate."""


@dataclass(frozen=True)
class Line:
    """One encoder on one track.

    Attributes:
        group: What the encoder looks at, see `RegisteredEncoder`, also for `published` and `uses_data`.
        committed: Whether the results are those of a committed baseline.
        seeds: How many there are.
        is_drawn: Whether another seed may score otherwise: something was trained, or a readout draws at random.
        readout: The chosen readout, and that for ood where it is another.
        budget: Preset and steps of the training; empty where nothing was trained.
        parameters: Numbers that the encoder learns.
        scores: Split -> score -> estimate.
        difference: Split -> the main score minus that of the baseline, paired.
        untrained: Split -> the main score of the same encoders before their training; empty where there is none.
        gained: Split -> the main score minus that of before the training, paired.
        by_step: The main score at each step of the checkpoints.
    """

    encoder: str
    track: str
    group: str
    published: bool
    uses_data: bool
    committed: bool
    seeds: int
    is_drawn: bool
    readout: str
    budget: str
    parameters: int
    scores: Estimates
    difference: dict[str, Estimate | None]
    untrained: dict[str, Estimate | None]
    gained: dict[str, Estimate | None]
    by_step: ScoresByStep

    @property
    def has_one_seed(self) -> bool:
        """Whether one of several possible seeds was scored: then its intervals tell nothing of others."""
        return self.seeds == 1 and self.is_drawn


@dataclass(frozen=True)
class TargetTable:
    """All encoders on one target.

    Attributes:
        target: What is predicted.
        splits: Names of the splits.
        scores: Names of the scores, the main one first.
        baseline: The encoder that others are compared with.
        lines: One for each encoder and track.
        limits: Split -> ceiling, chance, and how many rows and tasks there are.
    """

    target: Target
    splits: tuple[str, ...]
    scores: tuple[str, ...]
    baseline: str | None
    lines: tuple[Line, ...]
    limits: dict[str, SplitLimits]

    @property
    def main(self) -> str:
        """The name of the main score."""
        return self.scores[0]

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Whether higher or lower values of the main score are better."""
        return better(self.main)

    @property
    def has_twins(self) -> bool:
        """Whether some encoder was read out before its training, too."""
        return any(line.untrained for line in self.lines)


@dataclass(frozen=True)
class EmulationLine:
    """One encoder's training by emulation.

    Attributes:
        losses: Split -> emulation loss.
        shares: Split -> how far the loss is on the way from the control `constant` (0) to `oracle` (1).
        by_step: Split -> step of the checkpoint -> emulation loss.
        accuracy: Split -> how well the emulator does the RNNs' task.
        budget: Preset and steps of the training.
    """

    encoder: str
    committed: bool
    seeds: int
    budget: str
    parameters: int
    losses: dict[str, Estimate | None]
    shares: dict[str, Estimate | None]
    by_step: ByStep
    accuracy: dict[str, Estimate | None]


@dataclass(frozen=True)
class EmulationTable:
    """All encoders that were trained by emulation.

    Attributes:
        lines: By their loss on unseen tasks, the lowest first; by name where losses rank nothing.
        note: What a reader must know of the losses, if anything.
        own: Split -> the accuracies of the RNNs themselves that emulators are compared with, a checkpoint each;
            none where the zoo has no labels to tell right answers by.
    """

    lines: tuple[EmulationLine, ...]
    note: str | None
    own: dict[str, list[float]]

    @property
    def is_ranking(self) -> bool:
        """Whether lower losses stand for better encoders."""
        return self.note is None or self.note.startswith(MISSING)


def target_tables(board: Leaderboard, against: str | None) -> list[TargetTable]:
    """A table for every target that has results, in the order of the leaderboard's.

    Args:
        board: The results.
        against: An encoder to compare with; None, and where a target has no result of it, for a baseline that is
            there.

    Returns:
        One table for each target.
    """
    return [_target_table(board, target, against) for target in board.targets]


def _target_table(board: Leaderboard, target: Target, against: str | None) -> TargetTable:
    grouped: dict[tuple[str, str], list[Result]] = {}
    for result in board.results:
        if result.target == target.name:
            grouped.setdefault((result.encoder, result.track), []).append(result)
    scores = {key: estimate_scores(group, board.rows_of(group[0]), target) for key, group in grouped.items()}
    splits = tuple(board.rows.splits)
    names = tuple(next(iter(scores.values()))[splits[0]])
    there = {encoder for encoder, _ in scores}
    baseline = next((name for name in (against, *BASELINES) if name in there), None)
    lines = []
    for (encoder, track), group in grouped.items():
        reference = scores.get((baseline or "", track)) or _first(scores, baseline)
        own = scores[encoder, track]
        difference = {} if reference is None or encoder == baseline else _difference(own, reference, names[0])
        lines.append(_line(board, target, group, own, difference))
    sign = -1 if better(names[0]) == "higher" else 1
    # By ood; those that stand alike there, by test.
    lines.sort(key=lambda line: [_rank(line.scores[split][names[0]], sign) for split in reversed(splits)])
    rows = board.rows if board.rows.target(target.name) else board.committed_rows or board.rows
    return TargetTable(target, splits, names, baseline, tuple(lines), limits_of(rows, target))


def _first(scores: dict[tuple[str, str], Estimates], encoder: str | None) -> Estimates | None:
    """The scores of an encoder on the first track that has it: a feature map is compared with a trained one."""
    return next((scores[encoder, track] for track in TRACKS if encoder and (encoder, track) in scores), None)


def _difference(
    own: Estimates, reference: Estimates, score: str, same_seeds: bool = False
) -> dict[str, Estimate | None]:
    pairs = {split: (own[split][score], reference[split][score]) for split in own}
    return {split: paired_difference(a, b, same_seeds) if a and b else None for split, (a, b) in pairs.items()}


def _rank(estimate: Estimate | None, sign: int = 1) -> float:
    return float("inf") if estimate is None else sign * estimate.mean


def _line(
    board: Leaderboard,
    target: Target,
    group: Sequence[Result],
    scores: Estimates,
    difference: dict[str, Estimate | None],
) -> Line:
    first, main = group[0], next(iter(next(iter(scores.values()))))
    twins = [result.twin for result in group if result.twin is not None]
    # Paired: where a seed has no twin, none is shown.
    before = estimate_scores(twins, board.rows_of(first), target) if len(twins) == len(group) else {}
    counted = Counter(_readout(result) for result in group)
    return Line(
        encoder=first.encoder,
        track=first.track,
        group=first.group,
        published=first.published,
        uses_data=first.uses_data,
        committed=(first.encoder, first.track) in board.committed,
        seeds=len(group),
        is_drawn=first.track != "features" or first.parameters > 0 or "mlp" in first.readouts,
        readout=", ".join(name for name, _ in counted.most_common()),
        budget=_budgets(group) if first.track != "frozen" else _budgets(_emulations_of(board, first.encoder)),
        parameters=first.parameters,
        scores=scores,
        difference=difference,
        untrained={split: found[main] for split, found in before.items()},
        gained=_difference(scores, before, main, same_seeds=True) if before else {},
        by_step=scores_by_step(group, board.rows_of(first), target),
    )


def _readout(result: Result) -> str:
    if result.ood_readout in (None, result.readout):
        return result.readout
    return f"{result.readout} (ood: {result.ood_readout})"


def emulation_table(board: Leaderboard) -> EmulationTable:
    """Encoders by their emulation loss on unseen tasks.

    Args:
        board: The results.

    Returns:
        One line for each encoder; intervals are over seeds.
    """
    lines = [_emulation_line(board, encoder) for encoder in dict.fromkeys(run.encoder for run in board.emulations)]
    lines.sort(key=lambda line: _rank(line.losses.get("ood")))
    found = [
        (line.encoder, line.losses["ood"], scale_for(_emulations_of(board, line.encoder), board.emulations, "ood"))
        for line in lines
    ]
    own: dict[str, list[float]] = {}
    for run in board.emulations:
        for split, performance in run.performance.items():
            own.setdefault(split, [original for original, _ in performance["per checkpoint"]])
    table = EmulationTable(tuple(lines), note_on(found), own)
    return table if table.is_ranking else replace(table, lines=tuple(sorted(lines, key=lambda line: line.encoder)))


def _emulation_line(board: Leaderboard, encoder: str) -> EmulationLine:
    runs, splits = _emulations_of(board, encoder), board.rows.splits
    scales = {split: scale_for(runs, board.emulations, split) for split in splits}
    return EmulationLine(
        encoder=encoder,
        committed=(encoder, "emulation") in board.committed,
        seeds=len(runs),
        budget=_budgets(runs),
        parameters=runs[0].parameters,
        losses={
            split: estimate_loss([run.losses.get(split) for run in runs]) for split in ("validation", *splits)
        },
        shares={
            split: estimate_mean([scales[split].share(run.losses.get(split)) for run in runs], UNBOUNDED)
            for split in splits
        },
        by_step=losses_by_step(runs, board.rows_of(runs[0])),
        accuracy={
            split: estimate_mean([run.performance.get(split, {}).get("emulated") for run in runs], (0.0, 1.0))
            for split in splits
        },
    )


def _emulations_of(board: Leaderboard, encoder: str) -> list[Emulation]:
    return [emulation for emulation in board.emulations if emulation.encoder == encoder]


def _budgets(files: Sequence[Result] | Sequence[Emulation]) -> str:
    """What was trained: preset and steps; empty for what is not trained. Differing seeds are all named."""
    return ", ".join(dict.fromkeys(filter(None, map(_budget, files))))


def _budget(file: Result | Emulation) -> str:
    if file.training is None:
        return ""
    steps = file.training.get("steps")
    return " ".join(filter(None, [file.preset, f"{steps:,} steps" if isinstance(steps, int) else ""]))
