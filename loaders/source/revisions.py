"""Which commit of a dataset repository is read: chosen once, so that all that is read belongs to one release."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from rnnzoo.loaders.source.retries import HubUnreachable, retried
from rnnzoo.zoo_builder.errors import RnnzooError, in_a_line
from rnnzoo.zoo_builder.hub import RELEASE_TAG, REVISION
from rnnzoo.zoo_builder.storage.files import read_bytes
from rnnzoo.zoo_builder.storage.schema import FORMAT_VERSION

log = logging.getLogger(__name__)

COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """A dataset repository at one commit. `revision` is what the user or the format version asked for."""

    name: str
    revision: str
    commit: str

    def __post_init__(self) -> None:
        if not isinstance(self.commit, str) or not COMMIT.fullmatch(self.commit):  # it becomes a folder's name
            raise RnnzooError(f"{self}: found the commit {self.commit!r:.80}, expected 40 hexadecimal digits")

    def __str__(self) -> str:
        return f"{self.name} at {self.revision}"


def pin(name: str, revision: str | None) -> Repository:
    """The repository at a revision, or at the newest tag that has this format version.

    Without a network, the cache of huggingface_hub knows the revisions that were read before.
    """
    if revision is not None and not (isinstance(revision, str) and REVISION.fullmatch(revision)):
        raise RnnzooError(f"revision: found {in_a_line(revision)}, expected a tag, a branch or a commit")
    try:
        if revision is None:
            references = _asked(name, lambda: HfApi().list_repo_refs(name, repo_type="dataset"))
            tags = {tag.name: tag.target_commit for tag in references.tags}
            return Repository(name, newest := newest_release(name, tags), tags[newest])
        found = _asked(name, lambda: HfApi().dataset_info(name, revision=revision), revision)
        return Repository(name, revision, found.sha)
    except HubUnreachable as error:
        cached = _cached_revisions(name)
        if revision is None and any(_fits(tag) for tag in cached):
            revision = newest_release(name, cached)
        if revision not in cached:
            raise RnnzooError(f"{error}; the cache has {', '.join(cached) or 'no revision'} of it") from error
        log.warning("%s: the hub cannot be reached; reading revision %s from the cache", name, revision)
        return Repository(name, revision, cached[revision])


def newest_release(name: str, tags: dict[str, str]) -> str:
    """The highest of the tags v<format version>.<minor>.<patch>. Raises RnnzooError when none fits."""
    fitting = [tag for tag in tags if _fits(tag)]
    if not fitting:
        found = f"the tags {', '.join(sorted(tags))}" if tags else "no tags"
        way_out = (
            "install the rnnzoo release that reads one of them" if tags else "other data sets are for `datasets`"
        )
        raise RnnzooError(
            f"{name}: found {found}, expected one of format version {FORMAT_VERSION}, such as "
            f"v{FORMAT_VERSION}.0.0; {way_out}, or name a revision with `revision=`"
        )
    return max(fitting, key=lambda tag: [int(number) for number in tag[1:].split(".")])


def _fits(tag: str) -> bool:
    match = RELEASE_TAG.fullmatch(tag)
    return match is not None and int(match[1]) == FORMAT_VERSION


def _asked(name: str, question: Callable[[], Any], revision: str | None = None) -> Any:
    try:
        return retried(question, f"{name}: its revisions", revision, unreachable_at_once=True)
    except RnnzooError as error:
        if isinstance(error.__cause__, RepositoryNotFoundError) and _is_model(name):
            raise RnnzooError(f"{name}: found a model repository on the hub, expected a dataset") from error
        raise


def _is_model(name: str) -> bool:
    try:
        return bool(HfApi().model_info(name).sha)
    except (HTTPError, OSError):
        return False


def _cached_revisions(name: str) -> dict[str, str]:
    """Revision -> commit, of what the cache holds of a repository."""
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="dataset")
    revisions = folder / "refs"
    commits = [path.name for path in sorted(folder.glob("snapshots/*")) if COMMIT.fullmatch(path.name)]
    named = {
        path.relative_to(revisions).as_posix(): read_bytes(path, most=64).decode("ascii", "replace").strip()
        for path in sorted(revisions.rglob("*"))
        if path.is_file()
    }
    return named | {commit: commit for commit in [*named.values(), *commits]}
