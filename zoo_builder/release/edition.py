"""What tells a release from others of the same zoo: its repository, its tag and its day."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from rnnzoo.zoo_builder.storage.manifest import Manifest


@dataclass(frozen=True)
class Edition:
    """What the texts of a release say of it.

    Attributes:
        repo_id: The dataset repository, "org/name".
        tag: v<format version>.<minor>.<patch>.
        published: The day, as 2026-12-31.
    """

    repo_id: str
    tag: str
    published: str

    @classmethod
    def unpublished(cls, manifest: Manifest) -> Edition:
        """What stands in the texts until `push` puts the repository's own name and tag there."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()  # the same one everywhere
        return cls(default_repo(manifest.zoo), first_tag(manifest.format_version), today)

    @property
    def version(self) -> str:
        """The tag as a number of three parts."""
        return self.tag.removeprefix("v")

    @property
    def url(self) -> str:
        """Of its page on the hub."""
        return f"https://huggingface.co/datasets/{self.repo_id}"


def default_repo(zoo: str) -> str:
    return f"org/rnn-zoo-{zoo.replace('_', '-')}"


def first_tag(format_version: int) -> str:
    return f"v{format_version}.0.0"
