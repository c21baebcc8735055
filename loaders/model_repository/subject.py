"""What is published: the results of one encoder and track, and the data set whose leaderboard they join."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from rnnzoo.loaders.benchmark.protocol import PROTOCOLS
from rnnzoo.loaders.benchmark.results.content import Result
from rnnzoo.loaders.benchmark.results.files import leaderboard_folder, without_folders
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard, read_results
from rnnzoo.loaders.source.hub import HubSource
from rnnzoo.loaders.source.opening import open_source
from rnnzoo.loaders.source.requests import download
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.hub import EVAL_FILE, ON_HUB, REPOSITORY
from rnnzoo.zoo_builder.storage.files import read_bytes

LONGEST_EVAL_FILE = 1_000_000


@dataclass(frozen=True)
class Dataset:
    """The data set on the hub that results are of.

    Attributes:
        name: The repository, "org/name".
        commit: Its commit.
        tag: The tag or branch that was asked for, or the newest tag.
        zoo_digest: That of the zoo in it.
        tasks: The ids of the tasks of its leaderboard.
    """

    name: str
    commit: str
    tag: str
    zoo_digest: str
    tasks: frozenset[str]


@dataclass(frozen=True)
class Subject:
    """One encoder on one track.

    Attributes:
        board: The leaderboard with the results of this encoder and track alone.
        folder: The folder of the leaderboard in the folder of results, where the files stand.
        encoder: As typed, with options.
        track: The track.
        dataset: What the results are of.
    """

    board: Leaderboard
    folder: Path
    encoder: str
    track: str
    dataset: Dataset

    @property
    def commands(self) -> list[str]:
        """What made the results, each once."""
        return list(dict.fromkeys(result.command for result in self.board.results))


def find_subject(results: Path, dataset: str | None, encoder: str | None, track: str | None) -> Subject:
    """The results to publish, from a folder that may hold many.

    Args:
        results: What `zoo-bench run` wrote.
        dataset: The data set, "org/name" or "org/name@revision". None for the one that the results' command names.
        encoder: As typed, with options. None where there is one alone.
        track: None where there is one alone.

    Raises:
        RnnzooError: There are no such results, or several; or the data set has another zoo, or no leaderboard.
    """
    boards = [board for board in read_results(results) if board.rows.protocol == PROTOCOLS[0]]
    if not boards:
        raise RnnzooError(f"{results}: found no results of the protocol {PROTOCOLS[0]}, which leaderboards are of")
    found = find_dataset(dataset or _named_dataset(boards))
    fitting = [board for board in boards if board.rows.zoo_digest == found.zoo_digest]
    if not fitting:
        digests = ", ".join(board.rows.zoo_digest for board in boards)
        raise RnnzooError(
            f"{results}: found results of the zoo {digests}, expected {found.zoo_digest}, that of "
            f"{found.name} at {found.tag}"
        )
    (board,) = fitting
    chosen = _only("encoder", encoder, [result.encoder for result in board.results])
    of_encoder = [result for result in board.results if result.encoder == chosen]
    on = _only("track", track, [result.track for result in of_encoder])
    shown = tuple(without_folders(result) for result in of_encoder if result.track == on)
    own = replace(board, results=shown, emulations=())
    return Subject(own, _folder(results, board), chosen, on, found)


def find_dataset(text: str) -> Dataset:
    """The data set of a name "org/name" or "org/name@revision", asked of the hub.

    Raises:
        RnnzooError: There is none, it is no zoo, or it has no leaderboard.
    """
    name, _, revision = text.partition("@")
    if not REPOSITORY.fullmatch(name):
        raise ParameterError("dataset", f"found {text!r}, expected the form 'org/name' or 'org/name@revision'")
    source = open_source(name, revision or None)
    if not isinstance(source, HubSource):
        raise ParameterError("dataset", f"found the folder {name}, expected a repository on the hub")
    if source.manifest.digest is None:
        raise RnnzooError(f"{text}: this zoo has no digest to compare results with")
    try:
        content = read_bytes(download(source.repository, EVAL_FILE), LONGEST_EVAL_FILE)
        tasks = frozenset(each for task in yaml.safe_load(content)["tasks"] if isinstance(each := task["id"], str))
    except (yaml.YAMLError, KeyError, TypeError, UnicodeError) as error:
        raise RnnzooError(f"{text}: {EVAL_FILE}: not the form of a leaderboard: {error!r:.200}") from error
    repository = source.repository
    return Dataset(name, repository.commit, repository.revision, source.manifest.digest, tasks)


def _named_dataset(boards: Sequence[Leaderboard]) -> str:
    """The repository that the commands of all results name."""
    named = {_zoo_of(result) for board in boards for result in board.results}
    known = sorted(name for name in named if name is not None)
    if len(known) != 1 or Path(known[0]).exists():
        raise ParameterError(
            "dataset", "found none, expected 'org/name': the results were made of a folder, or of several zoos"
        )
    return known[0]


def _zoo_of(result: Result) -> str | None:
    """The repository that a result's command line, or its call of `evaluate`, names as the zoo."""
    found = re.search(rf"(?:\bzoo[ =]|, ')({ON_HUB.pattern})(?=[ ',)]|$)", result.command)
    return found[1] if found else None


def _only(parameter: str, asked: str | None, found: Sequence[str]) -> str:
    known = sorted(set(found))
    if asked is None and len(known) == 1:
        return known[0]
    if asked not in known:
        raise ParameterError(parameter, f"found {asked or 'none'}, expected one of {', '.join(known)}")
    return asked


def _folder(results: Path, board: Leaderboard) -> Path:
    """Where a leaderboard stands in a folder of results, or in the part of one zoo."""
    folder = leaderboard_folder(results, board.rows.zoo, board.rows.protocol)
    return folder if folder.is_dir() else results / board.rows.protocol
