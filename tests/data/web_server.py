"""A web server on loopback that does what it is told: serve, forget, break off, drip, lie, redirect."""

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        site = self.server.site
        site.asked.append((self.command, self.path, dict(self.headers)))
        queued = site.queued.get(self.path)
        if queued:
            queued.pop(0)(self)
        elif self.path in site.answers:
            site.answers[self.path](self)
        elif self.path in site.files:
            self.serve(site.files[self.path])
        else:
            self.say(404)

    do_HEAD = do_GET  # noqa: N815 - the library asks for the name

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self, content: bytes) -> None:
        """The file as an honest server sends it: with an ETag, and from where it is asked to go on."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        begin = self.headers.get("Range", "")
        if begin and self.headers.get("If-Range", etag) == etag:
            start = int(begin.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.say(416)
            else:
                self.say(206, content[start:], ETag=etag, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.say(200, content, ETag=etag)

    def cut(self, content: bytes, after: int) -> None:
        """Say the whole length, send the beginning, and hang up."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:after])
        self.wfile.flush()
        self.close_connection = True

    def endless(self, piece: bytes = bytes(2**16), pause_s: float = 0.0, begin: bytes = b"", **headers: str) -> None:
        """A body without a length and without an end: ``piece`` again and again, after ``begin``."""
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(begin)
            while not self.server.site.closing.is_set():
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause_s)
        except OSError:
            return

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@dataclass
class Site:
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path, instead of a file."""
    queued: dict[str, list[Answer]] = field(default_factory=dict)
    """By path, each once, before anything else."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def fetched(self) -> list[str]:
        """Paths of the GETs, in order."""
        return [path for command, path, _ in self.asked if command == "GET"]


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """A client that hangs up is no error here."""


@contextmanager
def serving(secured: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A site on a free port of loopback."""
    server = _Server(("127.0.0.1", 0), Handler)
    if secured:
        # The handshake belongs to the thread of the connection: one that fails must not keep the others waiting.
        server.socket = secured.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.site = Site(f"{'https' if secured else 'http'}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.site
    finally:
        server.site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
