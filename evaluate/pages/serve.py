"""A small local page: drop a video on it and see its card.

By default the server listens on this machine alone. It uses the bytes of a video and nothing else
that a visitor sends: no path, name or address of theirs is ever opened.
"""

import html
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from ..score.scorecard import ScoreCard
from .card import card_html

LOG = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost")
"""The names by which a machine calls itself."""

_PAGE = Path(__file__).with_name("serve.html")
_CHUNK = 1 << 20
_TIMEOUT_S = 60  # after which a silent connection is closed
_MAX_DIGITS = 18  # of Content-Length; a longer one fits on no disk, and int() limits its digits too
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


class Server(ThreadingHTTPServer):
    """Serves the page at / and takes videos by PUT /card."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        score: Callable[[str], ScoreCard],
        *,
        limit: int,
        facts: Mapping[str, str],
    ) -> None:
        """Start to listen.

        Args:
            address: host and port; port 0 stands for a free one.
            score: rates a file.
            limit: size of the largest video in bytes.
            facts: what each card says of the model, by name.
        """
        super().__init__(address, _Handler)
        self.host = address[0]
        self.score = score
        self.limit = limit
        self.facts = facts
        self.busy = threading.Lock()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.host}:{self.server_port}/"

    def is_own(self, host: str | None) -> bool:
        """Whether a request's Host is this server, and not a foreign name that resolves to it."""
        if self.host not in LOCAL:
            return True  # opened to other machines, under names that only its user knows
        return host in {f"{name}:{self.server_port}" for name in LOCAL}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a visitor who hangs up; print the traceback of any other error."""
        if isinstance(sys.exception(), TimeoutError | ConnectionError):
            LOG.debug("%s hung up", client_address)
        else:
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "finevq", ""

    def do_GET(self) -> None:
        """Serve the page."""
        if not self._trusted():
            return
        if self.path != "/":
            self._say(HTTPStatus.NOT_FOUND, "there is only /")
            return
        page = _PAGE.read_text("utf-8").replace("{{limit}}", str(self.server.limit))
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        # This policy also holds for the card in its frame, which has pictures.
        policy += "connect-src 'self'; img-src data:; frame-ancestors 'none'"
        self._reply(HTTPStatus.OK, page, policy)

    def do_PUT(self) -> None:
        """Rate the video in the body; the header `X-Name` is its name on the card."""
        self.close_connection = True  # the body of a refused video is not read to its end
        if not self._trusted():
            return
        if self.path != "/card":
            self._say(HTTPStatus.NOT_FOUND, "videos are put to /card")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._say(HTTPStatus.LENGTH_REQUIRED, "send a video, with its Content-Length")
        elif len(length) > _MAX_DIGITS or int(length) > self.server.limit:
            text = f"the video is too large, the limit is {self.server.limit} bytes"
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        elif int(length) == 0:
            self._say(HTTPStatus.BAD_REQUEST, f"{self._name()}: is empty (0 bytes)")
        else:
            self._rate(int(length))

    def _name(self) -> str:
        return Path(unquote(self.headers.get("X-Name", ""))).name[:200] or "video"

    def _rate(self, length: int) -> None:
        name = self._name()
        with tempfile.TemporaryDirectory(prefix="finevq-") as folder:
            # A fixed name: the visitor's never becomes a path.
            path = os.path.join(folder, "video")
            with open(path, "wb") as file:
                complete = _copy(self.rfile, file, length)
            if complete:
                with self.server.busy:  # one model, one video at a time
                    card = self.server.score(path)
                    page = card_html(card, name, self.server.facts) if card.error is None else ""
        # Answer only after the folder is deleted: then a visitor knows that the video is gone.
        if not complete:
            self._say(HTTPStatus.BAD_REQUEST, "the video was cut off on its way")
        elif card.error is not None:
            self._say(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {card.error}")
        else:
            self._reply(HTTPStatus.OK, page, _POLICY)

    def _trusted(self) -> bool:
        """Whether a request comes from this page; one from another site's page is refused."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host")
        if self.server.is_own(host) and origin in (None, f"http://{host}"):
            return True
        self._say(HTTPStatus.FORBIDDEN, "this page serves this machine alone")
        return False

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._reply(status, f"<!doctype html><p>{html.escape(text)}</p>\n", _POLICY)

    def _reply(self, status: HTTPStatus, text: str, policy: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *arguments: object) -> None:
        """Log a request, so that a program that embeds the server can turn it off."""
        LOG.debug(form, *arguments)


def _copy(source: IO[bytes] | BufferedIOBase, target: IO[bytes], length: int) -> bool:
    """Copy `length` bytes; False if the source ends before."""
    left = length
    while left:
        try:
            data = source.read(min(left, _CHUNK))
        except (TimeoutError, ConnectionError):
            return False
        if not data:
            return False
        target.write(data)
        left -= len(data)
    return True
