"""What fsspec reads as a tree: a bucket of S3, and whatever else its libraries are installed for."""

import io
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

from components.data.trees import Caps, Entry, Unreadable, visible
from components.data.trees.archive import Archive, is_archive, open_archive
from components.data.trees.members import Listing
from components.errors import UserError

_STAMPS = ("ETag", "etag", "md5", "md5Hash", "checksum", "LastModified", "last_modified", "updated", "mtime", "modified", "created")
"""What file systems call that which changes with a file."""
_ELSEWHERE = ("http", "https", "reference", "simplecache", "filecache", "blockcache", "zip", "tar", "libarchive")
"""Would lead to other addresses or into archives without the care that they need."""
_SECRET = re.compile(r"secret|token|passw|credential|^(key|account_key|access_key|connection_string|sas)$", re.IGNORECASE)
_LIBRARIES = ("botocore", "aiobotocore", "s3fs", "aiohttp", "fsspec", "gcsfs", "adlfs", "google", "azure")
_AHEAD, _AHEAD_BYTES = 16, 4 * 2**20
_opening = threading.Lock()


class Remote(Listing):
    """The objects below ``path`` of the file system ``fs``, by name.

    Small ones that are read in order are fetched ahead, several at a time: each takes the server longer to begin with than to send.
    """

    sequential = False

    def __init__(self, fs: Any, path: str, place: str) -> None:
        self.place = place
        self._fs, self._paths = fs, dict[str, str]()
        with explained(place):
            fs.invalidate_cache()
            found = fs.find(path.rstrip("/"), detail=True)
        super().__init__(sorted(self._entries_of(found, path.rstrip("/")), key=lambda entry: entry.name))
        self._order = list(self.entries())
        self._places = {entry.name: place for place, entry in enumerate(self._order)}
        self._next = 0
        self._ahead: dict[str, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(_AHEAD)

    def _entries_of(self, found: Mapping[str, Mapping[str, Any]], top: str) -> Iterator[Entry]:
        for path, info in found.items():
            name = path[len(top) :].lstrip("/") or path.rsplit("/", 1)[-1]
            if info.get("type") == "file" and visible(name):
                self._paths[name] = path
                stamp = " ".join(str(info[key]) for key in _STAMPS if info.get(key))
                yield Entry(name, int(info.get("size") or 0), f"{stamp} {info.get('size')}")

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        try:
            with explained(entry.name):
                file = self._fetched(entry) or self._fs.open(self._paths[entry.name], "rb")
        except UserError as error:
            raise Unreadable(f"it cannot be read ({error})") from None
        with file:
            yield file

    def _fetched(self, entry: Entry) -> BinaryIO | None:
        """The content, if it was fetched ahead; where files are read one behind the other, the next ones are on their way from now on."""
        place = self._places[entry.name]
        if place == self._next:
            for following in self._order[place + 1 : place + 1 + _AHEAD]:
                if following.size <= _AHEAD_BYTES and following.name not in self._ahead:
                    self._ahead[following.name] = self._pool.submit(self._fs.cat_file, self._paths[following.name])
        else:
            self._forget()
        self._next = place + 1
        fetched = self._ahead.pop(entry.name, None)
        return io.BytesIO(fetched.result()) if fetched else None

    def _forget(self) -> None:
        for fetching in self._ahead.values():
            fetching.cancel()
        self._ahead.clear()

    def close(self) -> None:
        self._forget()
        self._pool.shutdown()


def open_remote(url: str, options: Mapping[str, Any], caps: Caps) -> Remote | Archive:
    """The folder or the archive at ``url``.

    Raises:
        UserError: it cannot be reached or is not there, or its address or its options hold what they may not.
    """
    import fsspec

    _refuse(url, options)
    try:
        with _opening, explained(url):
            fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise UserError(f"{url} needs a library that is not installed ({error}): install it, for s3:// by `pip install 'genmill[s3]'`.") from None
    except ValueError as error:
        raise UserError(f"{url} is no address that fsspec knows ({error}): write it like s3://bucket/folder.") from None
    if is_archive(path):
        with explained(url):
            fs.invalidate_cache()
            fs.info(path)
        return open_archive(path, lambda: _opened(fs, path, url), url, caps)
    return Remote(fs, path, url)


def archive_stamp(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What tells the version of the archive at ``url`` without opening it; None where it is no archive."""
    import fsspec

    _refuse(url, options)
    if not is_archive(url):
        return None
    with explained(url):
        fs, path = fsspec.core.url_to_fs(url, **options)
        fs.invalidate_cache()
        info = fs.info(path)
    return {"stamp": [str(info[key]) for key in _STAMPS if info.get(key)], "bytes": info.get("size")}


@contextmanager
def explained(url: str) -> Iterator[None]:
    """What a library of a file system raises, as a sentence without its parameters, which may hold what is secret."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"there is nothing at {url}: give source.url what exists.") from None
    except PermissionError as error:
        raise UserError(
            f"{url} may not be read ({error}): set the credentials in the environment, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    except (UserError, ImportError, ValueError):
        raise
    except Exception as error:
        if not _is_remote(error):
            raise
        hint = "set the credentials in the environment" if "Credentials" in type(error).__name__ else "check the address and the network, then run again"
        raise UserError(f"{url} cannot be reached ({type(error).__name__}: {str(error)[:200]}): {hint}.") from None


def _is_remote(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _LIBRARIES


def _opened(fs: Any, path: str, url: str) -> BinaryIO:
    with explained(url):
        file: BinaryIO = fs.open(path, "rb")
    return file


def _refuse(url: str, options: Mapping[str, Any]) -> None:
    protocol, _, rest = url.partition("://")
    if not rest or "::" in url or protocol in _ELSEWHERE:
        raise UserError(
            f"{url!r} is no address of a file system: write it like s3://bucket/folder; for http and https use kind http, for local archives kind archive."
        )
    if "@" in rest.split("/", 1)[0]:
        raise UserError(
            f"the address of {protocol}://{rest.split('/', 1)[0].rpartition('@')[2]} carries a password, which would be recorded: set it in the environment."
        )
    secret = next((key for key in _keys(options) if _SECRET.search(key)), None)
    if secret is not None:
        raise UserError(f"source.options holds {secret}, which git and the manifest would record: take it out, and set it in the environment.")


def _keys(options: Mapping[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        yield key
        if isinstance(value, Mapping):
            yield from _keys(value)
