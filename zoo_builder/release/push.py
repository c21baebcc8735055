"""Uploads a release to the hub, and tags it.

What a repository already holds is looked at first. A file there is ours when the repository's release.json
lists it, or when it equals one of the release (an upload that was cut off); anything else is someone's, and is
neither deleted nor overwritten without `replace`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.hub import HUB_FILES, RELEASE_TAG, Upload, check_repository, hub_errors
from rnnzoo.zoo_builder.release.edition import first_tag
from rnnzoo.zoo_builder.release.folder import RELEASE, address_release, check_release, files_of
from rnnzoo.zoo_builder.storage.files import read_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Plan(Upload):
    """What a push does, see `Upload`.

    Attributes:
        repo_id: The dataset repository, "org/name".
        tag: The tag that it gets.
    """

    repo_id: str
    tag: str


@dataclass(frozen=True)
class _Remote:
    """A repository as it is: file name -> its hash (sha256 of large files, git's of others)."""

    files: dict[str, str]
    release: dict[str, Any]


def push_release(
    folder: Path,
    repo_id: str,
    tag: str | None = None,
    private: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Upload the release in `folder` to a dataset repository, then tag it.

    An upload that was cut off goes on where it stopped when the same call is made again. The token is that of
    `hf auth login` or HF_TOKEN.

    Args:
        folder: The folder of a release.
        repo_id: The repository, "org/name".
        tag: v<format version>.<minor>.<patch>. None stands for v<format version>.0.0.
        private: Whether a new repository is private.
        replace: Whether to delete or overwrite files there that no release wrote.
        dry_run: Whether only to say what would be done.
        say: Called with lines for people.

    Returns:
        What was done, or would be.

    Raises:
        RnnzooError: The release was changed, the tag exists, the repository holds something else, or the hub
            refuses.
    """
    # Imported here, so that HF_ENDPOINT can still be set by whoever imports this module.
    from huggingface_hub import HfApi

    release = check_release(folder)
    tag = first_tag(release["format_version"]) if tag is None else tag
    _check_names(repo_id, tag, release["format_version"])
    api = HfApi(library_name="rnnzoo", library_version=release["rnnzoo"])
    with hub_errors(repo_id):
        remote = _look(api, repo_id, tag)
    if not dry_run:
        release = address_release(folder, release, repo_id, tag)
    plan = _plan(folder, repo_id, tag, release, remote, replace)
    if dry_run:
        return plan
    with hub_errors(repo_id):
        if remote is None:
            say(f"creating the dataset repository {repo_id}")
            api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True)
        _upload(api, folder, release, plan, say)
    return plan


def _upload(api: HfApi, folder: Path, release: dict[str, Any], plan: Plan, say: Callable[[str], None]) -> None:
    """Commit what a plan says, and tag the commit."""
    say(f"uploading {len(plan.upload)} files, {plan.bytes / 1e6:.1f} MB")
    commit = api.upload_folder(
        repo_id=plan.repo_id,
        folder_path=folder,
        repo_type="dataset",
        commit_message=f"Release {plan.tag} of the zoo {release['zoo']}",
        allow_patterns=list(plan.upload),
        delete_patterns=plan.delete or None,
    )
    say(f"tagging {plan.tag}")
    api.create_tag(plan.repo_id, tag=plan.tag, revision=commit.oid, repo_type="dataset")


def _check_names(repo_id: str, tag: str, format_version: int) -> None:
    check_repository(repo_id)
    match = RELEASE_TAG.fullmatch(tag)
    if match is None or int(match[1]) != format_version:
        raise ParameterError("tag", f"found {tag!r}, expected the form 'v{format_version}.<minor>.<patch>'")


def _look(api: HfApi, repo_id: str, tag: str) -> _Remote | None:
    """The repository as it is, or None where there is none yet."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        refs = api.list_repo_refs(repo_id, repo_type="dataset")
    except RepositoryNotFoundError:
        if api.repo_exists(repo_id, repo_type="model"):
            raise RnnzooError(
                f"{repo_id}: found a model repository of this name, expected a dataset or none"
            ) from None
        return None
    if tag in {ref.name for ref in refs.tags}:
        raise ParameterError("tag", f"found {tag!r}, which {repo_id} has already; expected another one")
    entries = api.list_repo_tree(repo_id, recursive=True, repo_type="dataset")
    files = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in entries
        if isinstance(entry, RepoFile)
    }
    release = {}
    if RELEASE in files:
        url = api.hf_hub_download(repo_id, RELEASE, repo_type="dataset")
        try:
            release = read_json(Path(url))
        except RnnzooError:
            release = {}  # then it is no file of ours, and treated as someone's
        if not isinstance(release, dict) or not isinstance(release.get("files"), dict):
            release = {}
    return _Remote(files, release)


def _plan(
    folder: Path, repo_id: str, tag: str, release: dict[str, Any], remote: _Remote | None, replace: bool
) -> Plan:
    upload = {name: (folder / name).stat().st_size for name in files_of(release)}
    if remote is None:
        return Plan(upload, [], repo_id, tag)
    is_release = remote.release.get("format") == release["format"]
    if is_release and remote.release.get("zoo") != release["zoo"] and not replace:
        raise RnnzooError(
            f"{repo_id}: holds a release of the zoo {remote.release.get('zoo')}, expected {release['zoo']}; "
            "with `replace` this one takes its place"
        )
    written = {RELEASE, *remote.release.get("files", {})} if is_release else set()
    theirs = {
        name
        for name in remote.files.keys() - written - HUB_FILES
        if name not in upload or not _same_content(folder / name, remote.files[name])
    }
    blocked = sorted(theirs & upload.keys()) if is_release else sorted(theirs)
    if blocked and not replace:
        raise RnnzooError(
            f"{repo_id}: found {blocked[0]!r}, which no release wrote, and {len(blocked) - 1} more such files; "
            "choose another repository; with `replace` they are deleted or overwritten"
        )
    gone = (written | (theirs if replace else set())) - upload.keys()
    return Plan(upload, sorted(gone & remote.files.keys()), repo_id, tag)


def _same_content(path: Path, found: str) -> bool:
    """Whether a file has the hash that the hub gave: sha256, or git's sha1 of a blob."""
    content = path.read_bytes()
    if len(found) == 64:
        return hashlib.sha256(content).hexdigest() == found
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return git.hexdigest() == found
