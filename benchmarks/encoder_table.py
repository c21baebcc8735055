"""The registry as a table: sizes, and which symmetries leave an embedding in place.

python -m benchmarks.encoder_table    # prints what docs/encoders.md shows
"""

from __future__ import annotations

from typing import Any, cast, get_args

from torch import nn

from benchmarks.encoders import fitting, population_of
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import Encoder, Symmetry, find_encoder
from rnnzoo.loaders.encoders.names import describe_encoder

SHOWN = ("formal_languages", "sequential_digits")
"""The named zoos whose RNNs encoders are made for."""


def overview() -> str:
    """A Markdown table with a line for every encoder of the registry."""
    symmetries = get_args(Symmetry)
    sizes = (f"parameters: {zoo.replace('_', ' ')}" for zoo in SHOWN)
    rows = [["encoder", "looks at", *sizes, *(name.replace("_", " ") for name in symmetries)]]
    rows.append(["---", "---", *["--:"] * len(SHOWN), *[":-:"] * len(symmetries)])
    made = [fitting(population_of(zoo)) for zoo in SHOWN]
    for name, location in ENCODERS.items():
        said, made_by = describe_encoder(location), cast(Any, find_encoder(name))
        row = [f"`{name}`{' ¹' if said.published else ''}", said.group]
        row += [_parameters(encoders[name]) if name in encoders else "cannot" for encoders in made]
        stands = made_by.invariant_to
        rows.append([*row, *("yes" if symmetry in stands else "" for symmetry in symmetries)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _parameters(encoder: Encoder) -> str:
    assert isinstance(encoder, nn.Module)
    return f"{sum(parameter.numel() for parameter in encoder.parameters()):,}"


if __name__ == "__main__":
    print(overview(), end="")
