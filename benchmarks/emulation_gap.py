"""Where emulators lose: on RNNs, and on items, that training has not seen.

    python -m benchmarks.emulation_gap FOLDER/results --zoo ZOO

For zoos whose items are given and whose tasks are numbers, such as images turned by an angle. Reads what was
trained by emulation under the protocol "paper", and measures each training four times: on RNNs of training and on
those of validation, and both on items of training and on those of validation, taken from the run whose task is
nearest. Were RNNs alone what an emulator has not seen, new items would cost nothing. The loss is the reverse KL
divergence in nats an output, that of `benchmarks.paper_table`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.emulation_floor import spread, task_values
from benchmarks.paper_table import MEASURED, measured_losses, trained_emulation, trainings_of_paper
from rnnzoo.loaders.benchmark.protocol import partition
from rnnzoo.loaders.emulation import EncoderEmulator
from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.zoo_builder.errors import RnnzooError


def nearest(loaded: LoadedZoo, rows: RowNumbers, pool: RowNumbers) -> RowNumbers:
    """For each of N checkpoints that one of a pool whose task is nearest, [N]; of several, the first.

    Raises:
        RnnzooError: RNNs of the zoo write their items themselves, or tasks are no numbers.
    """
    values = task_values(loaded, np.concatenate([rows, pool]))
    if not loaded.zoo.encoding.needs_labels or not isinstance(values[0], float):
        raise RnnzooError(
            f"{loaded.zoo.manifest.zoo}: expected a zoo whose items are given, and whose tasks are numbers"
        )
    wanted, there = np.array(values[: len(rows)]), np.array(values[len(rows) :])
    return pool[[int(np.abs(there - value).argmin()) for value in wanted]]


def gaps(
    loaded: LoadedZoo, emulation: EncoderEmulator, models: int, rollouts: int
) -> dict[tuple[str, str], float]:
    """The losses of an emulation on what training has seen and what it has not.

    Args:
        loaded: The zoo.
        emulation: Encoder and emulator, in evaluation mode.
        models: The most checkpoints that are measured, spread over all of a kind.
        rollouts: Rollouts of each.

    Returns:
        (split of the RNNs, split of the items' runs) -> reverse KL divergence in nats an output.
    """
    split = partition(loaded, "paper")
    rows = {"train": split.train, "validation": split.validation}
    chosen = {name: every[spread(len(every), models)] for name, every in rows.items()}
    found = {}
    for rnns, some in chosen.items():
        for items, pool in rows.items():
            heads = some if items == rnns else nearest(loaded, some, pool)
            losses = measured_losses(loaded, emulation, some, heads, rollouts)[MEASURED[0]]
            found[rnns, items] = float(losses.mean())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each board."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what `zoo-bench run --protocol paper` wrote")
    parser.add_argument("--zoo", action="append", required=True, help="a zoo they are of; again for another")
    parser.add_argument("--encoder", action="append", help="only this one; again for more")
    parser.add_argument("--rnns", type=int, default=1300, help="the most checkpoints of a split (default 1300)")
    parser.add_argument("--items", type=int, default=4, help="items of each (default 4)")
    chosen = parser.parse_args(arguments)
    try:
        for loaded, folder, board in trainings_of_paper(chosen.results, chosen.zoo):
            print(f"{board.rows.zoo}, `{board.rows.zoo_digest}`\n")
            print("| encoder | RNNs | items of training | items of validation |\n| --- | --- | --: | --: |")
            for training in board.emulations:
                if training.encoder not in (chosen.encoder or [training.encoder]):
                    continue
                emulation = trained_emulation(loaded, training, folder)
                found = gaps(loaded, emulation, chosen.rnns, chosen.items)
                for rnns in ("train", "validation"):
                    cells = (f"{found[rnns, items]:.4f}" for items in ("train", "validation"))
                    print(f"| `{training.encoder}`, seed {training.seed} | {rnns} | {' | '.join(cells)} |")
            print()
    except RnnzooError as error:
        sys.exit(f"emulation_gap: {error}")


if __name__ == "__main__":
    main()
