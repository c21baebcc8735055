"""A part of a build: 2/8 is the second of eight, to be built by somebody else than the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text, re.ASCII)
        if not found or int(found[1]) > int(found[2]):
            raise ParameterError("part", f"found {text!r}, expected i/n with i from 1 to n, as 2/8")
        return cls(int(found[1]), int(found[2]))

    def choose(self, shards: Sequence[ShardPlan]) -> list[ShardPlan]:
        """The shards of this part: every n-th, so that parts are alike in size. Each shard is in one part."""
        return list(shards[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Part(1, 1)
