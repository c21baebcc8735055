"""The registry as a table: sizes, and which symmetries leave an embedding in place.

python -m loaders.encoders.overview    # prints what docs/encoders.md shows
"""

from __future__ import annotations

from typing import get_args

from torch import nn

from loaders.encoders import ENCODERS, load_encoder
from loaders.encoders.base import Symmetry
from loaders.encoders.benchmark import populations
from zoo_builder.errors import RnnzooError

HEADER = ("encoder", "looks at", "parameters: languages", "images")


def overview() -> str:
    """A Markdown table with a line for every encoder of the registry."""
    symmetries = get_args(Symmetry)
    rows = [[*HEADER, *(name.replace("_", " ") for name in symmetries)], ["---", "---", "--:", "--:"]]
    rows[1] += [":-:"] * len(symmetries)
    kinds = populations()
    for name, make in ENCODERS.items():
        group, published = make.group, make.published  # type: ignore[attr-defined]
        row = [f"`{name}`{' ¹' if published else ''}", group]
        for population in kinds.values():
            try:
                encoder = load_encoder(name, ENCODERS, population)
            except RnnzooError:
                row.append("cannot")
                continue
            assert isinstance(encoder, nn.Module)
            row.append(f"{sum(parameter.numel() for parameter in encoder.parameters()):,}")
        stands = make.invariant_to  # type: ignore[attr-defined]
        rows.append([*row, *("yes" if symmetry in stands else "" for symmetry in symmetries)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    print(overview(), end="")
