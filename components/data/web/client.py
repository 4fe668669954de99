"""Fetching one file over HTTP: whole or not at all, going on where it broke off, and never more, longer or from elsewhere than allowed."""

import email.utils
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.exceptions import HTTPError

from components.data.trees import Caps
from components.data.web.addresses import Refused, connections, cut_after
from components.errors import UserError, first_line
from components.params import Strict

_PIECE = 2**16
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE_S = 60.0
_HEADERS = {"User-Agent": "genmill", "Accept-Encoding": "identity"}


class Manners(Caps):
    """How a source asks servers."""

    allow_private: bool = False
    """Connect also to this machine and the networks that it is in; otherwise only to public addresses."""
    token_env: str = ""
    """The environment variable that holds a bearer token for the servers of the URLs; it is sent to them alone, and never recorded."""
    connections: int = Field(4, ge=1, le=64)
    """Files that are fetched at the same time."""
    connect_timeout_s: float = Field(10.0, gt=0)
    read_timeout_s: float = Field(30.0, gt=0)
    """Longest silence, and longest wait for the headers."""
    deadline_s: float = Field(3600.0, gt=0)
    """Of one file, with all retries: also a server that sends a byte a second comes to an end."""
    retries: int = Field(5, ge=0)
    backoff_s: float = Field(0.5, ge=0)
    """First pause before a retry; it doubles, with a random part, unless the server says how long (Retry-After)."""


class Failed(Exception):
    """The file cannot be had, for a reason in half a sentence."""


class _Broken(Exception):
    """This attempt failed and another may not; ``pause_s`` is how long the server asks to wait."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Validators(Strict):
    """What tells a version of a file from the next one."""

    etag: str = ""
    last_modified: str = ""
    length: int | None = None

    @classmethod
    def of(cls, response: BaseHTTPResponse) -> "Validators":
        length = response.headers.get("Content-Length", "")
        return cls(
            etag=response.headers.get("ETag", ""),
            last_modified=response.headers.get("Last-Modified", ""),
            length=int(length) if length.isdigit() else None,
        )

    @property
    def strong(self) -> str:
        """What a server can be asked to go on by; empty where there is nothing of the kind."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def conditions(self) -> dict[str, str]:
        """Headers that ask for the file only if it is another one."""
        found = {"If-None-Match": self.etag} if self.etag else {}
        return found | ({"If-Modified-Since": self.last_modified} if self.last_modified else {})


@dataclass
class Budget:
    """Bytes that all files together may still bring."""

    left: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, number: int) -> None:
        with self._lock:
            self.left -= number
            if self.left < 0:
                raise Failed("all files together have more bytes than source.max_total_bytes allows")


class Client:
    """Safe to use from several threads."""

    def __init__(self, manners: Manners, token: str = "", token_hosts: frozenset[str] = frozenset()) -> None:
        self.manners = manners
        self._token, self._token_hosts = token, token_hosts
        self._pools: PoolManager = connections(manners.allow_private, manners.connections, manners.connect_timeout_s, manners.read_timeout_s)

    def close(self) -> None:
        self._pools.clear()

    def look(self, url: str) -> Validators:
        """What the server says of the file without sending it.

        Raises:
            Failed: nothing was learnt.
        """
        return self._retried(lambda end: self._look(url, end), min(self.manners.retries, 1))

    def fetch(self, url: str, part: Path, known: Validators, began: Validators, note: Callable[[Validators], None], budget: Budget) -> Validators | None:
        """Bring the file to ``part``, going on with what is there where it is the beginning of the same version (``began``); None: still ``known``.

        ``note`` is told of the version that is begun before its first byte is written.

        Raises:
            Failed: it cannot be had; what came stays in ``part``.
        """
        state = {"began": began}

        def remember(version: Validators) -> None:
            state["began"] = version
            note(version)

        return self._retried(lambda end: self._fetch(url, part, known, state["began"], remember, budget, end), self.manners.retries)

    def _retried(self, attempt: Callable[[float], Any], retries: int) -> Any:
        """``attempt(deadline)``, again after a pause where it broke."""
        end, pause_s = time.monotonic() + self.manners.deadline_s, self.manners.backoff_s
        for number in range(retries + 1):
            try:
                return attempt(end)
            except _Broken as error:
                wait_s = error.pause_s if error.pause_s is not None else pause_s * (0.5 + random.random())  # noqa: S311 - spreads load, hides nothing
                if number == retries or time.monotonic() + wait_s > end:
                    raise Failed(f"{error}, after {number + 1} {'attempts' if number else 'attempt'}") from None
                time.sleep(wait_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or fails")

    def _look(self, url: str, end: float) -> Validators:
        with self._asked("HEAD", url, {}, end) as response:
            if response.status in (405, 501):  # knows no HEAD: the headers of the file itself, which is then not read
                with self._asked("GET", url, {}, end) as whole:
                    _refuse_status(whole)
                    return Validators.of(whole)
            _refuse_status(response)
            return Validators.of(response)

    def _fetch(
        self, url: str, part: Path, known: Validators, began: Validators, note: Callable[[Validators], None], budget: Budget, end: float
    ) -> Validators | None:
        have = part.stat().st_size if part.is_file() and began.strong else 0
        headers = {"Range": f"bytes={have}-", "If-Range": began.strong} if have else known.conditions()
        with self._asked("GET", url, headers, end) as response:
            if response.status == 304 and not have:
                return None
            if response.status == 416:  # what is there is no beginning of what the server has
                part.unlink(missing_ok=True)
                raise _Broken("the server's file is shorter than what was fetched of it")
            _refuse_status(response)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise Failed(f"it is sent in the encoding {response.headers['Content-Encoding']}, which was not asked for")
            goes_on = response.status == 206 and _starts_at(response, have)
            if response.status == 206 and not goes_on:
                part.unlink(missing_ok=True)
                raise _Broken("another piece of the file came than was asked for")
            version = began if goes_on else Validators.of(response)
            self._refuse_size((have if goes_on else 0) + (Validators.of(response).length or 0))
            if not goes_on:
                note(version)
            with part.open("ab" if goes_on else "wb") as file:
                for piece in self._pieces(response, end):
                    self._refuse_size(file.tell() + len(piece))
                    budget.spend(len(piece))
                    file.write(piece)
            return version

    def _pieces(self, response: BaseHTTPResponse, end: float) -> Iterator[bytes]:
        """The body as it comes: never waited for until a whole piece is there, nor for what stands between the pieces, so that the deadline is seen."""
        try:
            with cut_after(end - time.monotonic(), response.shutdown):
                while piece := response.read1(_PIECE, decode_content=False):
                    self._refuse_late(end)  # before it is written: of a secured connection that was cut it may be what nobody deciphered
                    yield piece
        except (HTTPError, OSError) as error:
            self._refuse_late(end)
            raise _Broken(f"the connection broke off ({first_line(error)})") from None
        self._refuse_late(end)
        if response.length_remaining:
            raise _Broken(f"it ended {response.length_remaining:,} bytes before the length that was said")

    def _refuse_late(self, end: float) -> None:
        if time.monotonic() > end:
            raise Failed(f"it was not all there after {self.manners.deadline_s:g} s (source.deadline_s)")

    def _refuse_size(self, size: int) -> None:
        if size > self.manners.max_file_bytes:
            raise Failed(f"it has more than {self.manners.max_file_bytes:,} bytes (source.max_file_bytes)")

    @contextmanager
    def _asked(self, method: str, url: str, headers: Mapping[str, str], end: float) -> Iterator[BaseHTTPResponse]:
        response = self._answer(method, url, headers, end)
        try:
            yield response
        finally:
            response.close()

    def _answer(self, method: str, url: str, headers: Mapping[str, str], end: float) -> BaseHTTPResponse:
        """The answer at the end of at most five redirects, each of which is judged as the first address was."""
        for _ in range(_MOST_REDIRECTS + 1):
            self._refuse_late(end)
            try:
                asked = {**_HEADERS, **self._authorised(url), **headers}
                response = self._pools.urlopen(method, url, headers=asked, redirect=False, preload_content=False)
            except Refused as error:
                raise Failed(str(error)) from None
            except (HTTPError, OSError) as error:
                raise _Broken(f"the server cannot be reached ({first_line(error)})") from None
            if response.status not in _REDIRECTS:
                return response
            response.close()
            url = _followed(url, response)
        raise Failed(f"it is redirected more than {_MOST_REDIRECTS} times")

    def _authorised(self, url: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token and origin_of(url) in self._token_hosts else {}


def origin_of(url: str) -> str:
    parsed = urllib.parse.urlsplit(url)
    return f"{parsed.scheme}://{parsed.netloc}"


def token_of(manners: Manners) -> str:
    """The token in the environment, empty where none is asked for."""
    import os

    token = os.environ.get(manners.token_env, "") if manners.token_env else ""
    if manners.token_env and not token:
        raise UserError(f"the environment variable {manners.token_env} is not set, and source.token_env names it: set it, or take it out.")
    return token


def _refuse_status(response: BaseHTTPResponse) -> None:
    if response.status in _AGAIN:
        raise _Broken(f"the server says {response.status} {response.reason}", _retry_after(response))
    if response.status not in (200, 206):
        raise Failed(f"the server says {response.status} {response.reason}")


def _retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds that the server asks to wait, as a number or as a time."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _followed(url: str, response: BaseHTTPResponse) -> str:
    """Where a redirect leads."""
    to = urllib.parse.urljoin(url, response.headers.get("Location", ""))
    scheme = urllib.parse.urlsplit(to).scheme
    if scheme not in ("http", "https") or not response.headers.get("Location"):
        raise Failed("it is redirected to what is no web address")
    if url.startswith("https:") and scheme == "http":
        raise Failed("it is redirected from https to http, where anybody could answer")
    return to


def _starts_at(response: BaseHTTPResponse, have: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
