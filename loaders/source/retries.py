"""What is done with the hub is done again when the network or the hub fails for a moment.

huggingface_hub's own `http_backoff` does not do here. It repeats neither the questions of `HfApi` nor a download
that the hub answers with a server error; it closes the session that all threads share as soon as one of them
cannot connect; and it logs addresses, which may be signed. So one loop stands here for questions, downloads and
ranges.

Everything that stays wrong becomes a RnnzooError, which never holds more of a request than its file and the
status.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.hub import foreign_answer

log = logging.getLogger(__name__)

T = TypeVar("T")
ATTEMPTS = 6
FIRST_WAIT = 0.5
LONGEST_WAIT = 300.0
"""Seconds between attempts: doubled each time, unless the hub says how long, which it does up to 5 minutes."""
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)


class CutShort(Exception):
    """An answer that is not whole, or whose address has expired: worth another attempt."""


class NoRepository(RnnzooError):
    """The hub knows none of this name, for this user."""


class HubUnreachable(RnnzooError):
    """There is no network, or the user wants none."""


def retried(
    action: Callable[[], T], what: str, revision: str | None = None, unreachable_at_once: bool = False
) -> T:
    """Do something with the hub, again when it fails for a moment. Raises RnnzooError when it cannot be done.

    unreachable_at_once: without a connection, raise HubUnreachable at the first attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except RnnzooError:  # a ValueError, and said already
            raise
        except (HTTPError, OSError, CutShort, ValueError, KeyError, TypeError) as error:
            wait = wait_after(error, attempt)
            is_answer = isinstance(error, HfHubHTTPError)
            if wait is None or attempt == ATTEMPTS or (unreachable_at_once and not is_answer):
                raise _explained(error, what, revision) from error
            log.warning("%s: %s; another attempt in %g s", what, _short(error), wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def wait_after(error: Exception, attempt: int) -> float | None:
    """Seconds to wait for the next attempt; None when another would end the same way."""
    if isinstance(error, HfHubHTTPError):
        if error.response is None or error.response.status_code not in PASSING_STATUSES:
            return None
        limit = parse_ratelimit_headers(error.response.headers)
        if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
            return min(float(limit.reset_in_seconds), LONGEST_WAIT)
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
    if problem := foreign_answer(error):
        return RnnzooError(f"{what}: {problem}")
    login = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return RnnzooError(f"{what}: access is gated: ask for it on the repository's page, then {login}")
    if isinstance(error, RepositoryNotFoundError):
        return NoRepository(f"{what}: found no such dataset repository on the hub; if it is private, {login}")
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
