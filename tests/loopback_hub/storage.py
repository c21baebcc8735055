"""What a loopback hub stores: contents, repositories, and the faults that a test has asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LFS_BYTES = 10_240
SAMPLE_BYTES = 512
"""How much of a file clients send for the hub to decide what it is."""


def is_lfs(size: int, sample: bytes) -> bool:
    """Whether a file is uploaded by PUT and downloaded by way of a redirect: large ones that are no text."""
    return size >= LFS_BYTES and b"\0" in sample


@dataclass(frozen=True)
class Blob:
    """One file's content. `oid`: how the hub names it: sha256 of an LFS file, git's sha1 of another."""

    path: Path
    size: int
    sha256: str
    oid: str

    @property
    def is_lfs(self) -> bool:
        return self.oid == self.sha256


@dataclass
class Repository:
    """A repository: commits (each the whole tree, path -> blob), and what branches and tags point to."""

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Blob], title: str) -> str:
        sha = hashlib.sha1(f"{self.kind}/{self.name}/{len(self.commits)}".encode()).hexdigest()
        self.commits[sha], self.titles[sha], self.branches[branch] = files, title, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit names."""
        named = self.branches.get(revision) or self.tags.get(revision)
        return named or (revision if revision in self.commits else None)


class Storage:
    """Contents by sha256, in a folder, and the parts of uploads under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, content: bytes) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / sha256).write_bytes(content)
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        oid = sha256 if is_lfs(len(content), content[:SAMPLE_BYTES]) else git_sha1
        return Blob(self.folder / sha256, len(content), sha256, oid)

    def find(self, sha256: str) -> Blob | None:
        """An LFS file that was uploaded earlier."""
        path = self.folder / sha256
        return Blob(path, path.stat().st_size, sha256, sha256) if path.is_file() else None


@dataclass
class Fault:
    """Something that goes wrong at requests whose "METHOD path" the pattern is found in, `times` often."""

    pattern: str
    times: int | None
    status: int | None
    retry_after: int | None
    cut_after: int | None
    etag: str | None
    change: Callable[[bytes], bytes] | None
    without: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """An answered request. sent, received: bytes of the bodies. authorized: whether it came with a token."""

    method: str
    path: str
    status: int
    range: str | None
    sent: int
    received: int
    authorized: bool
