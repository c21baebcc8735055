"""A hub for datasets on the loopback address, for the real `huggingface_hub` and `datasets` clients.

    with LoopbackHub() as hub:
        hub.add_folder("org/zoo", release, tags=["v1.0.0"])
        hub.fault("GET /lfs/", times=2, status=503, retry_after=1)
        subprocess.run([...], env=hub.environment(home))
        assert hub.bytes_sent("/lfs/") < 10_000

It speaks the hub's protocol: repositories, revisions and tags, trees, `resolve` with Range, ETag and
X-Repo-Commit, uploads through preupload, LFS and ndjson commits. Large files (LFS) are answered with a redirect
to a second port, which stands for the CDN: another origin, to which clients must not send their token.
Clients read HF_ENDPOINT when they are imported, so they run in processes of their own, or the hub takes over those
of this process.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from loopback_hub.handler import Handler
from loopback_hub.storage import Fault, Repository, Request, Storage

WRITE_TOKEN = "hf_loopback_write"
READ_TOKEN = "hf_loopback_read"


class LoopbackHub:
    """The hub.

    latency: seconds before every answer. bandwidth: bytes a second, of all downloads together; None stands for
    what the machine can do. part_bytes: LFS files above this are uploaded in parts.
    """

    def __init__(
        self, latency: float = 0.0, bandwidth: float | None = None, part_bytes: int | None = None
    ) -> None:
        self.latency = latency
        self.bandwidth = bandwidth
        self._line_is_free = 0.0
        self.part_bytes = part_bytes
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.tokens = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def __enter__(self) -> LoopbackHub:
        self._folder = tempfile.TemporaryDirectory(prefix="loopback-hub-")
        self.storage = Storage(Path(self._folder.name))
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        hub, cdn = (server.server_address[1] for server in self._servers)
        self.endpoint, self.cdn = f"http://127.0.0.1:{hub}", f"http://localhost:{cdn}"  # clients compare hosts
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in self._servers]
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.daemon_threads = True
            server.block_on_close = False
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()
        self._folder.cleanup()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a client process that knows this hub only, and keeps its cache in `home`."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        ours |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        ours |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        return ours if token is None else {**ours, "HF_TOKEN": token}

    def take_over(self, patch: pytest.MonkeyPatch, home: Path, token: str | None = None) -> None:
        """Let this process know this hub only, and those that it starts; the cache is in `home`, and empty."""
        for name, value in self.environment(home, token).items():
            patch.setenv(name, value)
        if token is None:
            patch.delenv("HF_TOKEN", raising=False)
        patch.setattr(constants, "ENDPOINT", self.endpoint)
        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def create(self, name: str, kind: str = "datasets", **options: Any) -> Repository:
        """A repository with one empty commit. options: private, gated. kind: "datasets" or "models"."""
        repository = self.repositories[kind, name] = Repository(kind, name, **options)
        repository.commit("main", {}, "initial commit")
        return repository

    def add_folder(self, name: str, folder: Path, tags: Iterable[str] = (), **options: Any) -> Repository:
        """A repository with a copy of a folder's files in one commit, which the tags point to."""
        repository = self.create(name, **options)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): self.storage.add(path.read_bytes()) for path in paths}
        sha = repository.commit("main", files, "add folder")
        repository.tags.update(dict.fromkeys(tags, sha))
        return repository

    def files(self, name: str, revision: str = "main", kind: str = "datasets") -> dict[str, bytes]:
        """The content of every file of a repository."""
        repository = self.repositories[kind, name]
        tree = repository.commits[repository.resolve(revision)]
        return {path: blob.path.read_bytes() for path, blob in tree.items()}

    def remove(self, name: str, kind: str = "datasets") -> None:
        """The repository disappears."""
        del self.repositories[kind, name]

    def fault(
        self,
        pattern: str,
        *,
        times: int | None = 1,
        status: int | None = None,
        retry_after: int | None = None,
        cut_after: int | None = None,
        etag: str | None = None,
        change: Callable[[bytes], bytes] | None = None,
        without: tuple[str, ...] = (),
    ) -> None:
        """Let requests whose "METHOD path" contains the pattern (a regular expression) go wrong.

        times: how often; None stands for always. status, retry_after: the answer instead of the right one.
        cut_after: the connection ends after so many bytes of the body: the request's, where it has one, else
        the answer's. etag, change: the answer has another ETag, or other bytes.
        without: names of headers that a proxy drops.
        """
        self.faults.append(Fault(pattern, times, status, retry_after, cut_after, etag, change, without))

    def wait_for_line(self, size: int) -> None:
        """Until the bytes have had their turn on the line that all downloads share."""
        if self.bandwidth is not None:
            with self.lock:
                self._line_is_free = max(self._line_is_free, time.monotonic()) + size / self.bandwidth
                wait = self._line_is_free - time.monotonic()
            time.sleep(max(wait, 0.0))

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.pattern, request):
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def requests(self, pattern: str = "") -> list[Request]:
        """The logged requests whose "METHOD path" contains the pattern."""
        return [request for request in self.log if re.search(pattern, f"{request.method} {request.path}")]

    def bytes_sent(self, pattern: str = "") -> int:
        return sum(request.sent for request in self.requests(pattern))
