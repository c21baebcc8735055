"""The least loss of emulators that are told a part of what RNNs are.

    python -m benchmarks.emulation_floor ZOO

RNNs of one task and step differ from each other, so an emulator that is told no more than these two has to answer
the same for all of them: here the best such answer is found at each position of each item, and its loss is printed
by step. Where items come from data, which say nothing of the step, the same is done for all checkpoints of a run:
the floor of emulators that are told the run, and not the step. No training comes below these numbers, unless its
encoder tells more. Where RNNs write the items themselves, a beginning tells a little of who wrote it, and the
numbers are near the floor. Losses are those of `LOSSES`; the published KL divergences are in nats an output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnzoo.loaders.benchmark.protocol import zoo_digest
from rnnzoo.loaders.emulation.emulator import LOSSES
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.zoo_builder.errors import RnnzooError

SHOWN = ("total_variation", "published_forward_kl", "published_reverse_kl")


def floors(answers: Tensor) -> dict[str, float]:
    """The least mean loss of one distribution in the place of N.

    Args:
        answers: Log-probabilities of N RNNs on the same items, [N, ..., O].

    Returns:
        A loss of `SHOWN` -> its floor, a mean over all N and positions. That of total variation is a bound: at the
            medians of all probabilities, which need not sum to 1.
    """
    probabilities = answers.exp()
    best = {
        "total_variation": probabilities.median(dim=0).values.log(),
        "published_forward_kl": probabilities.mean(dim=0).log(),
        "published_reverse_kl": answers.mean(dim=0).log_softmax(dim=-1),
    }
    return {name: float(LOSSES[name](answers, best[name].expand_as(answers)).mean()) for name in SHOWN}


def alike(loaded: LoadedZoo, rows: RowNumbers, at_once: int) -> list[RowNumbers]:
    """Groups of checkpoints of the same task; where a task is a number that no two runs share, of neighbours.

    Args:
        loaded: The zoo.
        rows: Checkpoints of one step.
        at_once: The most of a group.

    Returns:
        Groups of at least two.

    Raises:
        RnnzooError: No two checkpoints are of the same task.
    """
    ids = loaded.column("task_id")[rows]
    tasks = np.unique(ids)
    values = task_values(loaded, rows)
    if len(tasks) == len(rows) and isinstance(values[0], float):
        ordered = rows[np.argsort(values)]
        groups = [ordered[start : start + at_once] for start in range(0, len(ordered), at_once)]
    else:
        groups = [rows[ids == task][:at_once] for task in tasks]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise RnnzooError(f"found {len(tasks)} tasks in {len(rows)} runs, expected two runs of the same task")
    return groups


def task_values(loaded: LoadedZoo, rows: RowNumbers) -> list[Any]:
    """What says the task of each checkpoint, [N]: the first of the family's columns."""
    return [next(iter(task.columns().values())) for task in loaded.tasks(rows)]


def measure(loaded: LoadedZoo, group: RowNumbers, items: int) -> dict[str, float]:
    """The `floors` of a group of checkpoints, on the first items of its last checkpoint."""
    shown = loaded.rollouts[loaded.rollout_group[group[-1]], :items]
    inputs = loaded.zoo.encoding.inputs(shown.expand(len(group), *shown.shape))
    with torch.no_grad():
        return floors(FrozenRNNs(loaded.weights(group)).run(inputs).log_softmax(dim=-1))


def report(loaded: LoadedZoo, groups: int, at_once: int, items: int) -> str:
    """A table in Markdown: what is told, and the floor of each loss."""
    steps = loaded.column("step")
    told: dict[str, list[dict[str, float]]] = {}
    for step in np.unique(steps):
        found = alike(loaded, np.flatnonzero(steps == step), at_once)
        chosen = [found[place] for place in spread(len(found), groups)]
        told[f"task, and step {step}"] = [measure(loaded, group, items) for group in chosen]
    told["task and step"] = [least for of_step in told.values() for least in of_step]
    if loaded.zoo.encoding.needs_labels:
        runs = loaded.column("run_id")
        names = np.unique(runs)
        chosen = [np.flatnonzero(runs == names[place]) for place in spread(len(names), groups)]
        told["run"] = [measure(loaded, group, items) for group in chosen]
    lines = [
        f"{loaded.zoo.manifest.zoo}, `{zoo_digest(loaded.zoo.manifest)}`",
        "",
        f"| told | {' | '.join(name.replace('_', ' ') for name in SHOWN)} |",
        "| --- | --: | --: | --: |",
    ]
    for name, measured in told.items():
        means = (np.mean([least[loss] for least in measured]) for loss in SHOWN)
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in means)} |")
    return "\n".join(lines)


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` places of `count`, as far from each other as they can be."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(wanted, count)).round()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a zoo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", help="a zoo's folder, or org/name on the hub")
    parser.add_argument("--groups", type=int, default=16, help="groups of RNNs a line")
    parser.add_argument("--rnns", type=int, default=10, help="the most RNNs of a group")
    parser.add_argument("--items", type=int, default=16, help="items that each group answers to")
    chosen = parser.parse_args(arguments)
    try:
        print(report(LoadedZoo(chosen.zoo), chosen.groups, chosen.rnns, chosen.items))
    except RnnzooError as error:
        sys.exit(f"emulation_floor: {error}")


if __name__ == "__main__":
    main()
