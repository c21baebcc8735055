"""Requests to the hub: which revision to read, whole files through the cache, byte ranges of files.

Requests are repeated when the network or the hub fails for a moment. Everything else becomes a RnnzooError,
which never holds more of a request than its file and the status: addresses may be signed.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import read_bytes
from rnnzoo.zoo_builder.storage.manifest import FileEntry
from rnnzoo.zoo_builder.storage.schema import FORMAT_VERSION

logger = logging.getLogger(__name__)

T = TypeVar("T")
REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
RELEASE_TAG = re.compile(r"v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")
COMMIT = re.compile("[0-9a-f]{40}")
ATTEMPTS = 6
FIRST_WAIT = 0.5
LONGEST_WAIT = 300.0
"""Seconds between attempts: doubled each time, unless the hub says how long, which it does up to 5 minutes."""
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)


class CutShort(Exception):
    """An answer that is not whole, or whose address has expired: worth another attempt."""


class HubUnreachable(RnnzooError):
    """There is no network, or the user wants none."""


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
    if revision is not None and not REVISION.fullmatch(revision):
        raise RnnzooError(f"revision: found {revision!r}, expected a tag, a branch or a commit")
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
        logger.warning("%s: the hub cannot be reached; reading revision %s from the cache", name, revision)
        return Repository(name, revision, cached[revision])


def newest_release(name: str, tags: dict[str, str]) -> str:
    """The highest of the tags v<format version>.<minor>.<patch>. Raises RnnzooError when none fits."""
    fitting = [tag for tag in tags if _fits(tag)]
    if not fitting:
        raise RnnzooError(
            f"{name}: found the tags {', '.join(sorted(tags)) or '(none)'}, expected one of format version "
            f"{FORMAT_VERSION}, such as v{FORMAT_VERSION}.0.0; install the rnnzoo release that reads one of them, "
            "or name a revision with `revision=`"
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
    named = {
        path.relative_to(revisions).as_posix(): read_bytes(path, most=64).decode("ascii", "replace").strip()
        for path in sorted(revisions.rglob("*"))
        if path.is_file()
    }
    return named | {commit: commit for commit in named.values()}


def download(repository: Repository, name: str, by_revision: bool = False) -> Path:
    """A whole file, through the cache of huggingface_hub. by_revision: the cache learns the revision's name."""
    revision = repository.revision if by_revision else repository.commit

    def ask() -> str:
        return hf_hub_download(repository.name, name, repo_type="dataset", revision=revision)

    path = Path(retried(ask, f"{repository}: {name}"))
    if repository.commit not in path.parts:
        raise RnnzooError(f"{repository}: this revision moved while it was opened; load it again")
    return path


class RemoteFile:
    """A file on the hub, read by byte ranges. Threads may share it.

    The hub redirects to a signed address, which is used again until it expires.
    """

    def __init__(self, repository: Repository, name: str, entry: FileEntry) -> None:
        self.name = name
        self.where = f"{repository}: {name}"
        self.size = entry.bytes
        self._sha256 = entry.sha256
        self._url = hf_hub_url(repository.name, name, repo_type="dataset", revision=repository.commit)
        self._direct: str | None = None

    def read(self, start: int, end: int) -> bytes:
        """The bytes `start` to `end - 1`."""
        content = bytearray(end - start)
        self.read_into(start, memoryview(content))
        return bytes(content)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from `start` on.

        Raises RnnzooError when the hub's file is not the one of the manifest, or cannot be read.
        """
        retried(lambda: self._read_once(start, buffer), self.where)

    def _read_once(self, start: int, buffer: memoryview) -> None:
        direct = self._direct
        headers = {"Range": f"bytes={start}-{start + len(buffer) - 1}", "Accept-Encoding": "identity"}
        if direct is None:
            headers = build_hf_headers(headers=headers)  # with the token, which nobody but the hub gets
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", direct or self._url, headers=headers, timeout=timeout) as response:
            if direct is not None and response.status_code in (401, 403, 404, 410):
                self._direct = None
                raise CutShort("the address has expired")
            self._check(response)
            filled = 0
            for piece in response.iter_raw():
                if filled + len(piece) > len(buffer):
                    raise CutShort("more bytes than were asked for")
                buffer[filled : filled + len(piece)] = piece
                filled += len(piece)
        if filled != len(buffer):
            raise CutShort(f"found {filled} bytes, expected {len(buffer)}")
        if response.history:
            self._direct = str(response.url)

    def _check(self, response: Any) -> None:
        """Raise unless the answer is a range of the file that the manifest describes."""
        if response.status_code == 416 or response.status_code == 206:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total != str(self.size):
                raise RnnzooError(
                    f"{self.where}: found {total} bytes on the hub, expected {self.size} by zoo.json"
                )
        hf_raise_for_status(response)
        if response.status_code != 206:
            raise RnnzooError(
                f"{self.where}: found status {response.status_code}, expected 206: no ranges are served"
            )
        for answer in [*response.history, response]:
            etag = answer.headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"')
            if re.fullmatch("[0-9a-f]{64}", etag) and etag != self._sha256:
                raise RnnzooError(
                    f"{self.where}: found sha256 {etag} on the hub, expected {self._sha256} by zoo.json"
                )


def retried(
    action: Callable[[], T], what: str, revision: str | None = None, unreachable_at_once: bool = False
) -> T:
    """Do something with the hub, again when it fails for a moment. Raises RnnzooError when it cannot be done.

    unreachable_at_once: without a connection, raise HubUnreachable at the first attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except (HTTPError, OSError, CutShort, HFValidationError) as error:
            wait = _wait(error, attempt)
            is_answer = isinstance(error, HfHubHTTPError)
            if wait is None or attempt == ATTEMPTS or (unreachable_at_once and not is_answer):
                raise _explained(error, what, revision) from error
            logger.warning("%s: %s; another attempt in %g s", what, _short(error), wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _wait(error: Exception, attempt: int) -> float | None:
    """Seconds to wait for the next attempt; None when another would end the same way."""
    if isinstance(error, HfHubHTTPError):
        if error.response is None or error.response.status_code not in PASSING_STATUSES:
            return None
        asked_for = error.response.headers.get("Retry-After", "")
        if asked_for.isdigit():
            return min(float(asked_for), LONGEST_WAIT)
    elif not isinstance(error, HTTPError | CutShort):
        return None
    return FIRST_WAIT * 2 ** (attempt - 1)


def _explained(error: Exception, what: str, revision: str | None) -> RnnzooError:
    """What went wrong, and what to do."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, HfHubHTTPError):
        return _explained(error.__cause__, what, revision)
    login = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return RnnzooError(f"{what}: access is gated: ask for it on the repository's page, then {login}")
    if isinstance(error, RepositoryNotFoundError):
        return RnnzooError(f"{what}: found no such dataset repository on the hub; if it is private, {login}")
    if isinstance(error, RevisionNotFoundError):
        return RnnzooError(f"{what}: found no revision {revision or 'of that commit'!r}")
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachable(f"{what}: not in the cache, and offline mode is on (HF_HUB_OFFLINE)")
    if isinstance(error, LocalEntryNotFoundError):
        return HubUnreachable(f"{what}: not in the cache, and the hub cannot be reached")
    if isinstance(error, EntryNotFoundError):
        return RnnzooError(f"{what}: this file is missing on the hub")
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        hint = f": the token has no right to read it; {login}" if status in (401, 403) else ""
        return RnnzooError(f"{what}: the hub answered with status {status}{hint}")
    if isinstance(error, HTTPError | CutShort):
        return HubUnreachable(f"{what}: the hub cannot be reached: {_short(error)}")
    return RnnzooError(f"{what}: {error}")


def _short(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return str(error) if isinstance(error, CutShort) else type(error).__name__
