"""What stands behind the scores: how far function-preserving copies move them, and what is left on a fresh zoo."""

from __future__ import annotations

from collections.abc import Sequence

from rnnzoo.loaders.benchmark.report.text import Cells, mean_of, number
from rnnzoo.loaders.benchmark.results.content import Result
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard

CHECKS_NOTE = (
    "Moves: how far copies of RNNs with the same function (hidden units permuted, signs flipped, biases split "
    "otherwise) move the embedding, or the output of an encoder trained end to end, in spreads: 0 if it depends "
    "on the function alone. Fresh: the main score on a zoo of another seed, and in brackets that of the published "
    "zoo less it: an encoder that looks published weights up shows a large gap."
)


def check_cells(board: Leaderboard) -> Cells:
    """One line for each encoder, track and target: means over seeds."""
    splits = list(board.rows.splits)
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in board.results:
        if result.moves is not None or result.fresh is not None:
            groups.setdefault((result.encoder, result.track, result.target), []).append(result)
    with_fresh = any(result.fresh for group in groups.values() for result in group)
    cells = [["encoder", "track", "target", "moves", *(f"fresh {split} (gap)" for split in splits if with_fresh)]]
    for key, group in groups.items():
        moves = number(mean_of([result.moves for result in group]))
        cells.append([*key, moves, *(_fresh(group, split) for split in splits if with_fresh)])
    return cells


def _fresh(group: Sequence[Result], split: str) -> str:
    known = [result.fresh for result in group if result.fresh is not None and split in result.fresh.scores]
    if not known:
        return "–"
    main = next(iter(known[0].scores[split]))
    score = mean_of([fresh.scores[split][main] for fresh in known])
    return f"{number(score)} ({number(mean_of([fresh.gap[split] for fresh in known]), sign=True)})"
