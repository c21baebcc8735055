"""How a loopback hub answers a request: one method a route, see ROUTES at the end."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_hub.storage import Blob, Fault, Repository, Request, is_lfs

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub

PIECE = 1 << 18
"""Bytes of a file sent at a time."""


class Refused(Exception):
    """Ends a request. The hub's clients tell errors apart by X-Error-Code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message}


class Handler(BaseHTTPRequestHandler):
    """Answers one request. Methods named `on_...` answer one route each."""

    protocol_version = "HTTP/1.1"
    hub: LoopbackHub
    fault: Fault | None = None
    body: bytes

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the console: `hub.log` has all of it."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client has had enough

    def answer_request(self) -> None:
        time.sleep(self.hub.latency)
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.fault = self.hub.take_fault(f"{self.command} {url.path}")
        if not self._read_body():
            return
        if self.fault is not None and self.fault.status is not None:
            wait = {} if self.fault.retry_after is None else {"Retry-After": str(self.fault.retry_after)}
            self.send(self.fault.status, {"error": "a fault of the test"}, wait)
            return
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and self.command in method:
                try:
                    answer(self, **{name: unquote(value or "") for name, value in match.groupdict().items()})
                except Refused as refused:
                    self.send(refused.status, {"error": str(refused)}, refused.headers)
                return
        self.send(404, {"error": f"no route for {self.command} {url.path}"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer_request

    def _read_body(self) -> bool:
        """Read the request's body; False when the connection was cut in the middle of it."""
        pieces, left = [], int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding", "") == "chunked"
        if left and self.fault is not None and self.fault.cut_after is not None:
            self.rfile.read(min(left, self.fault.cut_after))
            self._cut()
            return False
        while chunked and (length := int(self.rfile.readline(), 16)):
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        self.body = b"".join(pieces) + self.rfile.read(left)
        return True

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)

    def send(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        """Send bytes, or anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if body and self.fault is not None and self.fault.change is not None:
            body = self.fault.change(body)
        self._log(status, len(body))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_header(self, keyword: str, value: str) -> None:
        if self.fault is None or keyword not in self.fault.without:
            super().send_header(keyword, value)

    def _log(self, status: int, sent: int) -> None:
        sent = 0 if self.command == "HEAD" else sent
        found, path = self.headers.get("Range"), urlsplit(self.path).path
        authorized = "Authorization" in self.headers
        self.hub.log.append(Request(self.command, path, status, found, sent, len(self.body), authorized))

    def send_blob(self, blob: Blob, headers: dict[str, str] | None = None) -> None:
        """A file, or the range that was asked for."""
        first, end, status = 0, blob.size, 200
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            status = 206
            first = int(match[1]) if match[1] else max(0, blob.size - int(match[2]))
            end = min(blob.size, int(match[2]) + 1) if match[1] and match[2] else blob.size
        if first >= blob.size > 0:
            self.send(416, b"", {"Content-Range": f"bytes */{blob.size}"})
            return
        with open(blob.path, "rb") as file:
            file.seek(first)
            self._send_pieces(status, blob, first, end, file, headers or {})

    def _send_pieces(
        self, status: int, blob: Blob, first: int, end: int, file: Any, headers: dict[str, str]
    ) -> None:
        fault = self.fault
        etag = blob.oid if fault is None or fault.etag is None else fault.etag
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Length": str(end - first)}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{blob.size}"
        stop = end if fault is None or fault.cut_after is None else min(end, first + fault.cut_after)
        self._log(status, stop - first)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(first, stop, PIECE):
            piece = file.read(min(PIECE, stop - start))
            self.hub.wait_for_line(len(piece))
            self.wfile.write(piece if fault is None or fault.change is None else fault.change(piece))
        if stop < end:
            self._cut()

    # --- who may do what

    def rights(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def repository(self, kind: str, name: str) -> Repository:
        """The repository, if the token may read it. Without a token, missing and private ones look the same."""
        rights = self.rights()
        repository = self.hub.repositories.get((kind or "models", name))
        if repository is None or (repository.private and rights is None):
            raise Refused(401 if rights is None else 404, "RepoNotFound", "Repository not found")
        if repository.gated and rights != "write":
            raise Refused(403, "GatedRepo", "Access to this repository is restricted")
        return repository

    def tree(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, Blob]]:
        repository = self.repository(kind, name)
        sha = repository.resolve(revision)
        if sha is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repository.commits[sha]

    def need_write(self) -> None:
        rights = self.rights()
        if rights != "write":
            raise Refused(401 if rights is None else 403, "", "This token has no write access")

    # --- routes of the hub

    def on_whoami(self) -> None:
        if self.rights() is None:
            raise Refused(401, "", "Invalid username or password.")
        access = {"displayName": "loopback", "role": self.rights()}
        self.send(200, {"type": "user", "name": "org", "orgs": [], "auth": {"accessToken": access}})

    def on_validate_yaml(self) -> None:
        self.send(200, {"errors": [], "warnings": []})

    def on_create(self) -> None:
        self.need_write()
        wanted = json.loads(self.body)
        kind = f"{wanted.get('type', 'model')}s"
        name = f"{wanted.get('organization') or 'org'}/{wanted['name']}"
        url = f"{self.hub.endpoint}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self.hub.repositories:
            self.send(409, {"error": "You already created this repository", "url": url})
            return
        self.hub.create(name, kind, private=bool(wanted.get("private")))
        self.send(200, {"url": url, "id": name, "name": name})

    def on_info(self, kind: str, name: str, revision: str = "") -> None:
        sha, files = self.tree(kind, name, revision or "main")
        repository = self.repository(kind, name)
        siblings = [{"rfilename": path} for path in sorted(files)]
        about = {"id": name, "author": name.split("/")[0], "sha": sha, "tags": [], "siblings": siblings}
        about |= {"private": repository.private, "gated": repository.gated, "disabled": False}
        about |= {"downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z"}
        self.send(200, about, {"X-Repo-Commit": sha})

    def on_tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        _, files = self.tree(kind, name, revision)
        prefix = f"{folder}/" if folder else ""
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = {}
        for path, blob in files.items():
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                parent = prefix + "/".join(parts[:depth])
                entries[parent] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": parent}
            if recursive or len(parts) == 1:
                entries[path] = _file_entry(path, blob)
        if folder and not entries:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        self.send(200, [entries[path] for path in sorted(entries)])

    def on_paths_info(self, kind: str, name: str, revision: str) -> None:
        _, files = self.tree(kind, name, revision)
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        entries = [_file_entry(path, files[path]) for path in paths if path in files]
        folders = [path for path in paths if any(known.startswith(f"{path}/") for known in files)]
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders]
        self.send(200, entries)

    def on_refs(self, kind: str, name: str) -> None:
        repository = self.repository(kind, name)
        heads = _refs("heads", repository.branches)
        self.send(200, {"branches": heads, "tags": _refs("tags", repository.tags), "converts": []})

    def on_resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        sha, files = self.tree(kind, name, revision)
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        blob, headers = files[path], {"X-Repo-Commit": sha}
        if not blob.is_lfs:
            self.send_blob(blob, headers)
            return
        etag = blob.oid if self.fault is None or self.fault.etag is None else self.fault.etag
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{etag}"', "ETag": f'"{etag}"'}
        self.send(302, b"", {**headers, "Location": f"{self.hub.cdn}/lfs/{blob.sha256}?signature=loopback"})

    def on_preupload(self, kind: str, name: str, revision: str) -> None:
        self.need_write()
        _, files = self.tree(kind, name, revision)
        modes = [
            {
                "path": wanted["path"],
                "uploadMode": "lfs" if is_lfs(wanted["size"], base64.b64decode(wanted["sample"])) else "regular",
                "shouldIgnore": False,
                "oid": files[wanted["path"]].oid if wanted["path"] in files else None,
            }
            for wanted in json.loads(self.body)["files"]
        ]
        self.send(200, {"files": modes})

    def on_lfs_batch(self, kind: str, name: str) -> None:
        self.need_write()
        self.repository(kind, name)
        wanted = json.loads(self.body)["objects"]
        self.send(200, {"transfer": "basic", "objects": [self._lfs_object(each) for each in wanted]})

    def _lfs_object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """How to upload an LFS file: not at all if it is here, else by PUT, whole or in parts."""
        oid, size, part_bytes = wanted["oid"], wanted["size"], self.hub.part_bytes
        if self.hub.storage.find(oid):
            return {"oid": oid, "size": size}
        href, header = f"{self.hub.cdn}/lfs/{oid}", {}
        if part_bytes is not None and size > part_bytes:
            parts = range(1, -(-size // part_bytes) + 1)
            header = {"chunk_size": str(part_bytes), **{f"{n:05d}": f"{href}/{n}" for n in parts}}
            href = f"{self.hub.endpoint}/lfs/{oid}/complete"
        return {"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": header}}}

    def on_commit(self, kind: str, name: str, revision: str) -> None:
        self.need_write()
        with self.hub.lock:
            sha, before = self.tree(kind, name, revision)
            lines = [json.loads(line) for line in self.body.decode().splitlines()]
            header = next(line["value"] for line in lines if line["key"] == "header")
            if header.get("parentCommit") not in (None, sha):
                raise Refused(412, "", "The branch has moved on")
            files = dict(before)
            for line in lines:
                self._apply(files, line["key"], line["value"])
            sha = self.repository(kind, name).commit(revision, files, header["summary"])
        url = f"{self.hub.endpoint}/{kind}/{name}/commit/{sha}"
        self.send(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def _apply(self, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
        """One line of a commit."""
        if key == "file":
            files[value["path"]] = self.hub.storage.add(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            blob = self.hub.storage.find(value["oid"])
            if blob is None:
                raise Refused(400, "", f"{value['path']}: its LFS object was never uploaded")
            files[value["path"]] = blob
        elif key == "deletedFile":
            files.pop(value["path"], None)
        elif key == "deletedFolder":
            folder = value["path"].rstrip("/") + "/"
            for path in [path for path in files if path.startswith(folder)]:
                del files[path]
        elif key != "header":
            raise Refused(400, "", f"unknown operation {key}")

    def on_tag(self, kind: str, name: str, revision: str) -> None:
        self.need_write()
        sha, _ = self.tree(kind, name, revision)
        tags, tag = self.repository(kind, name).tags, json.loads(self.body)["tag"]
        if tag in tags:
            raise Refused(409, "", "Tag already exists")
        tags[tag] = sha
        self.send(200, {})

    # --- routes of the CDN

    def on_lfs_get(self, sha256: str) -> None:
        blob = self.hub.storage.find(sha256)
        if blob is None:
            raise Refused(404, "", "No such object")
        self.send_blob(blob)

    def on_lfs_put(self, sha256: str, part: str = "") -> None:
        if part:
            (self.hub.storage.folder / f"{sha256}.{part}").write_bytes(self.body)
        elif hashlib.sha256(self.body).hexdigest() == sha256:
            self.hub.storage.add(self.body)
        else:
            raise Refused(400, "", "The content does not have this sha256")
        self.send(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def on_lfs_complete(self, sha256: str) -> None:
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        content = b"".join((self.hub.storage.folder / f"{sha256}.{n}").read_bytes() for n in sorted(numbers))
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Refused(400, "", "The parts do not have this sha256")
        self.hub.storage.add(content)
        self.send(200, {})


def _file_entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid[:40], "size": blob.size, "path": path}
    if blob.is_lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
    return entry


def _refs(folder: str, names: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha} for name, sha in names.items()]


_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)"
_LFS = r"/lfs/(?P<sha256>[0-9a-f]{64})"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", Handler.on_whoami),
    ("POST", "/api/validate-yaml", Handler.on_validate_yaml),
    ("POST", "/api/repos/create", Handler.on_create),
    ("GET HEAD", f"{_API}(?:/revision/(?P<revision>[^/]+))?", Handler.on_info),
    ("GET", f"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", Handler.on_tree),
    ("POST", f"{_API}/paths-info/(?P<revision>[^/]+)", Handler.on_paths_info),
    ("GET", f"{_API}/refs", Handler.on_refs),
    ("POST", f"{_API}/preupload/(?P<revision>[^/]+)", Handler.on_preupload),
    ("POST", f"{_API}/commit/(?P<revision>[^/]+)", Handler.on_commit),
    ("POST", f"{_API}/tag/(?P<revision>[^/]+)", Handler.on_tag),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", Handler.on_lfs_batch),
    ("GET HEAD", f"{_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.on_resolve),
    ("GET HEAD", _LFS, Handler.on_lfs_get),
    ("PUT", f"{_LFS}(?:/(?P<part>[0-9]+))?", Handler.on_lfs_put),
    ("POST", f"{_LFS}/complete", Handler.on_lfs_complete),
]
