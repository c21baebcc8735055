"""What a result belongs to: the code, the versions, the zoo and the settings that made it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from rnnzoo.zoo_builder.errors import some_of


def _plain(values: Any) -> Any:
    """Values as they come back from a JSON file, so that a key equals the one that was stored."""
    return json.loads(json.dumps(values))


class ResultKey(BaseModel):
    """Results of one encoder and track may stand together, or be gone on with, where their keys are equal.

    Target and seed are not in it: they name the results of one key.

    Attributes:
        code: Source file -> 16 digits of its SHA-256, the encoder's own files first; see `benchmark/code.py`.
        versions: Library -> version.
        zoo_digest: That of the zoo's weights, rollouts and metadata.
        settings: Of encoder, track, protocol, training and readouts: name -> value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    code: dict[str, str]
    versions: dict[str, str]
    zoo_digest: str
    settings: Annotated[dict[str, Any], BeforeValidator(_plain)]

    @property
    def digest(self) -> str:
        """16 digits that stand for all of it."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:16]

    def difference(self, expected: ResultKey) -> str:
        """Which parts of this key are not those of another, for people; empty for equal keys."""
        ours, theirs = self._parts(), expected._parts()
        return some_of(
            [
                f"{part}: found {ours.get(part, 'nothing')}, expected {theirs.get(part, 'nothing')}"
                for part in {**theirs, **ours}
                if ours.get(part) != theirs.get(part)
            ]
        )

    def _parts(self) -> dict[str, str]:
        return (
            {f"source of {file}": digest for file, digest in self.code.items()}
            | {f"version of {library}": version for library, version in self.versions.items()}
            | {"zoo": self.zoo_digest}
            | {f"setting {name}": json.dumps(value) for name, value in self.settings.items()}
        )
