"""What all that goes to the hub shares: names, where the code is, uploads, and errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import metadata

from rnnzoo.zoo_builder.errors import RnnzooError

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""The form of a repository's name, to tell one from a path; `check_repository` asks the hub's client."""
REVISION = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*")
"""The form of a tag, a branch or a commit."""
ON_HUB = re.compile(rf"({REPOSITORY.pattern})(?:@({REVISION.pattern}))?")
"""A repository on the hub, org/name or org/name@revision."""
RELEASE_TAG = re.compile(r"v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")
"""The form of a release's tag, v<format version>.<minor>.<patch>: who publishes makes what who reads finds."""
EVAL_FILE = "eval.yaml"
"""In a data set: the tasks of its leaderboard."""
FRAMEWORK = "rnnzoo"
"""What the hub is told that scores and models are made with."""
HUB_FILES = frozenset({".gitattributes"})
"""What the hub itself puts into a repository."""


@dataclass(frozen=True)
class Upload:
    """What a push does.

    Attributes:
        upload: Names of files to upload, with their sizes in bytes.
        delete: Names of files in the repository to delete.
    """

    upload: dict[str, int]
    delete: list[str]

    @property
    def bytes(self) -> int:
        """Of all files to upload."""
        return sum(self.upload.values())

    def __str__(self) -> str:
        """A line a file, and last the sum."""
        lines = [f"{size:>14,}  {name}" for name, size in self.upload.items()]
        lines += [f"{'delete':>14}  {name}" for name in self.delete]
        return "\n".join([*lines, f"{self.bytes:>14,}  bytes in {len(self.upload)} files"])


def code_url() -> str | None:
    """Where the code is: what the package's metadata call its "Source" (`[project.urls]`), if they do."""
    for entry in metadata("rnnzoo").get_all("Project-URL") or []:
        label, _, address = entry.partition(", ")
        if label.lower() == "source":
            return str(address)
    return None


def check_repository(repo_id: str) -> None:
    """Raise RnnzooError unless a repository has a name of the form "org/name"."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not REPOSITORY.fullmatch(repo_id):
        raise RnnzooError(f"repository: found {repo_id!r}, expected the form 'org/name'")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RnnzooError(f"repository: found {repo_id!r}, which is no name on the hub: {error}") from error


def foreign_answer(error: BaseException) -> str | None:
    """What to say of an error of the hub's client if an answer was not the hub's own, or came without its headers.

    Args:
        error: What the client raised.

    Returns:
        The message, or None for any other error.
    """
    from huggingface_hub.errors import FileMetadataError, HFValidationError, LocalEntryNotFoundError

    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    hint = "does a proxy on the way change answers, or is HF_ENDPOINT no hub?"
    if isinstance(cause, FileMetadataError):
        return f"found an answer without what the hub says of a file (X-Repo-Commit, ETag, size): {hint}"
    if isinstance(cause, ValueError | KeyError | TypeError) and not isinstance(cause, HFValidationError):
        return f"found an answer that is none of the hub's: {hint}"
    return None


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the hub and the network say into RnnzooError. None of these messages holds a token.

    Args:
        repo_id: The repository that it is about.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError

    try:
        yield
    except RnnzooError:  # a ValueError, and said already
        raise
    except LocalTokenNotFoundError as error:
        raise RnnzooError(f"{repo_id}: no token found; run `hf auth login`, or set HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reasons = {
            400: "it refuses what was sent; if that is eval.yaml, a release can be made without a leaderboard",
            401: "there is no valid token: run `hf auth login`, or set HF_TOKEN to one that may write",
            403: "the token has no right to write there",
            404: "there is no such repository, or the token may not see it",
        }
        reason = reasons.get(status or 0, "try again: what was uploaded is kept")
        detail = error.server_message or "no further message"
        raise RnnzooError(f"{repo_id}: the hub answered {status} ({detail}): {reason}") from error
    except (HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError, RuntimeError, ValueError) as error:
        if problem := foreign_answer(error):
            raise RnnzooError(f"{repo_id}: {problem}") from error
        # RuntimeError: what the client makes of an upload that failed, whatever the reason.
        raise RnnzooError(
            f"{repo_id}: the hub could not be reached, or the connection was cut ({type(error).__name__}); the "
            "same command goes on from here"
        ) from error
