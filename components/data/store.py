"""DVC's content-addressed files, one by one: those of a remote, wherever it is, and those of the local cache."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from components.data.lockfile import locked_outputs
from components.errors import UserError

_BUCKETED = ("s3", "gs", "oss", "azure")
"""Protocols whose paths begin with a bucket, which DVC does not make."""
_BLOCK = 2**20


class StoredFile(NamedTuple):
    """A file of a dataset as dvc.lock pins it."""

    path: str
    """Relative to the project."""
    md5: str


class Digests(NamedTuple):
    """Of a stream of bytes."""

    md5: str
    """DVC's."""
    sha256: str
    """The manifest's."""
    size: int


def digests(stream: BinaryIO) -> Digests:
    """md5, sha256 and size of what is left of ``stream``, in bounded memory."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        md5.update(block)
        sha256.update(block)
        size += len(block)
    return Digests(md5.hexdigest(), sha256.hexdigest(), size)


class Store:
    """The objects of a remote or of the local cache. An object's name is the md5 of its bytes; that of a list of files ends in `.dir`."""

    def __init__(self, odb: Any, where: str) -> None:
        self._odb = odb
        self.where = where
        self._is_local = odb.fs.protocol == "local"
        self._is_fresh = self._is_local

    def has(self, md5: str) -> bool:
        return bool(self._odb.fs.exists(self._path(md5)))

    def local_path(self, md5: str) -> Path | None:
        """The object's file, where the store is a folder and has it."""
        path = Path(self._path(md5)) if self._is_local else None
        return path if path and path.is_file() else None

    def names(self) -> set[str]:
        """Every object of the store."""
        self._path("0" * 32)  # not what was seen before
        return set(self._odb.all())

    def is_below(self, folder: Path) -> bool:
        """Whether the store is a folder somewhere in ``folder``, so that it is nobody else's."""
        return self._is_local and Path(self._odb.path).resolve().is_relative_to(folder.resolve())

    def size(self, md5: str) -> int:
        """In bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return int(self._odb.fs.size(self._path(md5)))

    def open(self, md5: str) -> BinaryIO:
        try:
            file: BinaryIO = self._odb.fs.open(self._path(md5), "rb")
        except FileNotFoundError:
            self._require_bucket()
            raise
        return file

    def read(self, md5: str) -> bytes:
        with self.open(md5) as file:
            return file.read()

    def list_of(self, md5: str) -> bytes:
        """A list of files (`.dir`), after it was hashed.

        Raises:
            FileNotFoundError: there is no such list.
            ValueError: its bytes are not those of its name.
        """
        listed = self.read(md5)
        if not is_named(listed, md5):
            raise ValueError("the list of its files is damaged")
        return listed

    def files(self, lock: bytes, name: str) -> list[StoredFile]:
        """Every file of dataset ``name`` that the dvc.lock text ``lock`` pins, in the stages' order.

        Raises:
            FileNotFoundError: the store does not have the list of a folder.
            ValueError: a list is damaged.
        """
        return [file for folder, md5 in locked_outputs(lock, name) for file in files_of(folder, self.list_of(md5))]

    def write(self, md5: str, source: Path) -> None:
        """Put the file ``source`` in place of the object, in one step: nobody reads half of it. The caller has hashed it."""
        path = self._path(md5)
        if not self._is_local:
            self._odb.fs.put_file(str(source), path)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        # DVC takes no notice of a name that is no digest.
        handle, scratch = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as target, source.open("rb") as given:
            shutil.copyfileobj(given, target, _BLOCK)
            target.flush()
            os.fsync(target.fileno())
        Path(scratch).chmod(self._odb.CACHE_MODE or 0o644)
        Path(scratch).replace(place)

    def delete(self, md5: str) -> None:
        self._odb.fs.remove(self._path(md5))

    def _path(self, md5: str) -> str:
        if not self._is_fresh:
            self._odb.fs.fs.invalidate_cache()  # what others changed meanwhile is to be seen
            self._is_fresh = True
        return str(self._odb.oid_to_path(md5))

    def _require_bucket(self) -> None:
        """A bucket that is not there is no missing object: everything would seem to be lost."""
        if self._odb.fs.protocol in _BUCKETED:
            bucket = self._odb.path.split("/", 1)[0]
            if not self._odb.fs.fs.exists(bucket):
                raise UserError(f"There is no bucket {bucket!r}, or none that these credentials may see: make it, or mend the address (`dvc remote list`).")


def files_of(folder: str, listed: bytes) -> list[StoredFile]:
    """The files of ``folder`` as a list of DVC's names them."""
    return [StoredFile(f"{folder}/{entry['relpath']}", entry["md5"]) for entry in json.loads(listed)]


def is_named(content: bytes, md5: str) -> bool:
    """Whether ``content`` has the digest that an object's name says."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir")
