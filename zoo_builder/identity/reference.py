"""What a zoo is compared with: a digest, the folder of a zoo, a repository on the hub, or a card."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.hub import ON_HUB, foreign_answer
from rnnzoo.zoo_builder.storage.digest import UNRECORDED, ZooDigest
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.manifest import Manifest, parse_manifest, read_manifest
from rnnzoo.zoo_builder.storage.schema import MANIFEST

CARD_ENTRY = "zoo_digest"
"""The entry of a card's header that holds the zoo's digest."""
LONGEST_CARD = 4_000_000
_HEADER = re.compile(r"---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Reference:
    """A zoo to compare with, as far as it is at hand.

    Attributes:
        name: What the user called it.
        digest: Its digest.
        manifest: Its manifest, if that is at hand.
        file: Gives the path of a file of the zoo by its name; None where its files are not at hand.
        has_shards: Whether weights and rollouts are at hand, and not only small files.
    """

    name: str
    digest: ZooDigest
    manifest: Manifest | None = None
    file: Callable[[str], Path] | None = None
    has_shards: bool = False


def find_reference(text: str) -> Reference:
    """The zoo that a text stands for: a digest, a folder, a card's file, or org/name with or without @revision.

    Raises:
        RnnzooError: It stands for none of these, or for a zoo without a digest.
    """
    path = Path(text)
    if os.path.isdir(path):  # False, where `Path` would raise, for a text that no path can be
        manifest = read_manifest(path)
        has_shards = (path / "weights").is_dir()  # the record of a zoo has none
        return Reference(text, _digest_of(manifest, text), manifest, lambda name: file_in(path, name), has_shards)
    if os.path.exists(path):
        return Reference(text, _digest_of_card(path))
    with contextlib.suppress(RnnzooError):
        return Reference(text, ZooDigest.parse(text))
    repository = ON_HUB.fullmatch(text)
    if repository is None:
        raise ParameterError(
            "against",
            f"found {text!r:.200}, expected a digest (<arithmetic>-<8 hexadecimal digits>-<16 hexadecimal "
            "digits>), the folder of a zoo, a hub repository (org/name, org/name@revision), or the file of a card",
        )
    return _on_hub(text, repository[1], repository[2])


def _digest_of(manifest: Manifest, where: str) -> ZooDigest:
    if manifest.digest is None:
        raise RnnzooError(f"{where}: this zoo has no digest to compare with; {UNRECORDED}")
    return ZooDigest.parse(manifest.digest)


def _digest_of_card(path: Path) -> ZooDigest:
    """The digest in the YAML header of a card."""
    header = _HEADER.match(read_bytes(path, LONGEST_CARD).decode("utf-8", "replace"))
    found = re.findall(rf"^{CARD_ENTRY}:[ \t]*(\S+)[ \t]*\r?$", header[1] if header else "", re.MULTILINE)
    if len(found) != 1:
        raise RnnzooError(
            f"{path}: found {len(found)} entries {CARD_ENTRY!r} in its header, expected a zoo's card, as the "
            "README.md of a release, or the folder of a zoo"
        )
    try:
        return ZooDigest.parse(found[0].strip("'\""))
    except RnnzooError as error:
        raise RnnzooError(f"{path}: {error}") from error


def _on_hub(text: str, name: str, revision: str | None) -> Reference:
    def file(of_zoo: str) -> Path:
        return download(name, of_zoo, revision)

    where = f"{text}: {MANIFEST}"
    manifest = parse_manifest(read_bytes(file(MANIFEST)), where)
    return Reference(text, _digest_of(manifest, text), manifest, file)


def download(repository: str, file: str, revision: str | None) -> Path:
    """A file of a dataset repository, in the cache of huggingface_hub."""
    # Imported here: huggingface_hub reads HF_ENDPOINT when it is imported.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError

    where = f"{repository}{'' if revision is None else f'@{revision}'}: {file}"
    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset", revision=revision))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reasons = {
            401: "there is no such repository, or a token is needed: run `hf auth login`, or set HF_TOKEN",
            403: "the token has no right to read it",
            404: "there is no such repository, revision or file (and no such folder here)",
        }
        raise RnnzooError(
            f"{where}: the hub answered {status}: {reasons.get(status or 0, 'try again')}"
        ) from error
    except HFValidationError as error:
        raise RnnzooError(f"{where}: no name of a repository: {error}") from error
    except (HTTPError, OSError, LocalEntryNotFoundError) as error:
        problem = foreign_answer(error) or f"the hub could not be reached ({type(error).__name__})"
        raise RnnzooError(f"{where}: {problem}, and there is no such folder here") from error
