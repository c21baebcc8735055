"""Uploads an encoder and its scores to a model repository of the hub.

A repository that holds something else is left alone, unless it is to be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnnzoo.loaders.model_repository.contents import CONFIG, repository_files
from rnnzoo.loaders.model_repository.subject import find_subject
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.hub import FRAMEWORK, HUB_FILES, Upload, check_repository, hub_errors
from rnnzoo.zoo_builder.storage.files import read_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push_results(
    results: Path,
    repo_id: str,
    dataset: str | None = None,
    encoder: str | None = None,
    track: str | None = None,
    private: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Upload:
    """Publish an encoder, its results and its scores as a model repository.

    The token is that of `hf auth login` or HF_TOKEN.

    Args:
        results: What `zoo-bench run` wrote.
        repo_id: The model repository, "org/name".
        dataset: The data set that the results are of, "org/name" or "org/name@revision". None for the one that the
            results' command names.
        encoder: Which encoder, as typed, with options. None where there is one alone.
        track: Which track. None where there is one alone.
        private: Whether a new repository is private.
        replace: Whether to delete or overwrite what is no encoder of ours.
        dry_run: Whether only to say what would be done.
        say: Called with lines for people.

    Returns:
        What was done, or would be.

    Raises:
        RnnzooError: There are no such results, the data set has another zoo or no leaderboard, the repository
            holds something else, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_repository(repo_id)
    subject = find_subject(results, dataset, encoder, track)
    files = repository_files(subject, repo_id)
    api = HfApi(library_name="rnnzoo")
    with hub_errors(repo_id):
        found = _files_there(api, repo_id, replace)
        delete = sorted((found or set()) - files.keys() - HUB_FILES)
        plan = Upload({name: len(content) for name, content in sorted(files.items())}, delete)
        if dry_run:
            return plan
        if found is None:
            say(f"creating the model repository {repo_id}")
            api.create_repo(repo_id, private=private or None, exist_ok=True)
        say(f"uploading {len(files)} files, {plan.bytes / 1e6:.1f} MB")
        api.create_commit(
            repo_id,
            operations=[
                *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
                *(CommitOperationDelete(name) for name in delete),
            ],
            commit_message=f"{subject.encoder:.200} on {subject.dataset.name}, track {subject.track}",
        )
    return plan


def _files_there(api: HfApi, repo_id: str, replace: bool) -> set[str] | None:
    """The files of the repository, or None where there is none yet. Raises RnnzooError for somebody else's."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        names = set(api.list_repo_files(repo_id))
    except RepositoryNotFoundError:
        return None
    if names - HUB_FILES and not replace and not _is_ours(api, repo_id, names):
        raise RnnzooError(
            f"{repo_id}: found {min(names - HUB_FILES)!r}, which zoo-bench did not write; choose another "
            "repository; with `replace` all that is there is deleted or overwritten"
        )
    return names


def _is_ours(api: HfApi, repo_id: str, names: set[str]) -> bool:
    if CONFIG not in names:
        return False
    try:
        values = read_json(Path(api.hf_hub_download(repo_id, CONFIG)))
    except RnnzooError:
        return False
    return isinstance(values, dict) and values.get("library_name") == FRAMEWORK
