"""Requests to the hub: whole files through the cache of huggingface_hub, and byte ranges of files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from rnnzoo.loaders.source.retries import CutShort, retried
from rnnzoo.loaders.source.revisions import Repository
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.manifest import FileEntry


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
