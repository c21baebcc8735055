"""The page of a zoo on this machine's own address, with the weights in byte ranges from the zoo's files."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.explorer.data import read_page_data
from rnnzoo.zoo_builder.explorer.page import render_page
from rnnzoo.zoo_builder.explorer.site import WEIGHTS, ShownZoo
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in

HOST = "127.0.0.1"
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


class ExplorerServer(ThreadingHTTPServer):
    """A server of one zoo's page; nobody but this machine reaches it.

    Args:
        zoo: What it shows.
        port: 0 takes a free one.

    Raises:
        RnnzooError: The zoo cannot be read, or the port is taken.

    Attributes:
        address: Of the page.
    """

    daemon_threads = True

    def __init__(self, zoo: ShownZoo, port: int = 0) -> None:
        data = read_page_data(zoo.folder, WEIGHTS)
        paths = {f"/{file}": file_in(zoo.folder, file) for file in map(schema.weights_file, data.shards)}
        try:
            super().__init__((HOST, port), partial(_Handler, render_page(data).encode(), paths))
        except OSError as error:
            raise ParameterError("port", f"found {port}, expected a free port: {error.strerror}") from error
        self.address = f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a connection, as at every reload, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, page: bytes, files: dict[str, Path], *connection: Any) -> None:
        self.page, self.files = page, files
        super().__init__(*connection)

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        if place == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.page)
        elif place in self.files:
            self._answer_range(self.files[place])
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such file")

    def _answer_range(self, path: Path) -> None:
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                first, last = (int(found[1]), int(found[2] or size - 1)) if found else (0, size - 1)
                last = min(last, size - 1)
                file.seek(min(first, size))
                content = file.read(max(0, last - first + 1))
        except OSError as error:  # such as a zoo that was moved while its page is open
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"cannot be read: {error.strerror}".encode())
            return
        if first > last:
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "text/plain", f"{size} bytes".encode())
            return
        status = HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK
        headers = {"Content-Range": f"bytes {first}-{last}/{size}"} if found else {}
        self._answer(status, "application/octet-stream", content, headers)

    def _answer(
        self, status: HTTPStatus, kind: str, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        common = {"Content-Type": kind, "Content-Length": str(len(content)), "Accept-Ranges": "bytes"}
        for name, value in (common | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """A command that prints an address prints nothing of every request."""
