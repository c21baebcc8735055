"""Where a zoo lies: a folder, or a repository of the hub, told apart by the text."""

from __future__ import annotations

import os
from pathlib import Path

from rnnzoo.loaders.source.base import Source
from rnnzoo.loaders.source.checked import CHECKS
from rnnzoo.loaders.source.hub import HubSource
from rnnzoo.loaders.source.local import LocalSource
from rnnzoo.loaders.source.retries import HubUnreachable, NoRepository
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError, in_a_line
from rnnzoo.zoo_builder.hub import ON_HUB

ZOO = "a folder, or a dataset repository on the hub as org/name or org/name@revision"
"""What `path_or_repo` may be, for errors."""


def open_source(path_or_repo: str | Path, revision: str | None = None, check: str = "files") -> Source:
    """The zoo in a folder, or in a dataset repository "org/name" on the hub.

    Args:
        path_or_repo: A folder where there is one, else the name of a repository, also as "org/name@revision". A
            "~" at its beginning is the user's home.
        revision: Tag, branch or commit of a repository; None stands for the newest tag of this format version.
        check: What is compared with hashes: see `load_zoo`.

    Raises:
        RnnzooError: There is no such zoo, it is unfinished or of another format version, the hub cannot be
            reached, or a revision is given for a folder.
    """
    if check not in CHECKS:
        raise RnnzooError(f"check: found {check!r}, expected one of {', '.join(CHECKS)}")
    if not isinstance(path_or_repo, str | Path) or path_or_repo == "":
        raise ParameterError("path_or_repo", f"found {in_a_line(path_or_repo)}, expected {ZOO}")
    path = Path(os.path.expanduser(path_or_repo))
    if os.path.isdir(path):  # also of a name that is too long for one
        if revision is not None:
            raise RnnzooError(
                f"revision: found {revision!r} for the folder {path}, expected None: folders have none"
            )
        return LocalSource.open(path, check)
    if os.path.exists(path):
        raise RnnzooError(f"{path}: a file, expected the folder of a zoo")
    if isinstance(path_or_repo, Path):
        raise RnnzooError(f"{path_or_repo}: there is no such folder")
    named = ON_HUB.fullmatch(path_or_repo)
    if named is None:
        raise RnnzooError(f"{path_or_repo}: there is no such folder; expected {ZOO}")
    if named[2] is not None and revision is not None:
        raise ParameterError("revision", f"found {revision!r} beside {path_or_repo!r}, expected one of them")
    try:
        return HubSource.open(named[1], named[2] or revision, check)
    except (NoRepository, HubUnreachable) as error:
        raise type(error)(f"{error} (and there is no such folder here)") from error
