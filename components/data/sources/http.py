"""Files of the web: a list of URLs, or an index of them with checksums, labels, splits and captions; an archive among them is read as one.

What was fetched stays in the project's cache, so that a second collect asks only whether there is something new. A file that cannot be had is a row in
quarantine that says why.
"""

import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from components.data.digests import short_digest
from components.data.files import reading_files
from components.data.readers import FilesConfig, reader_modules, reader_names
from components.data.sources import Reading
from components.data.trees.fetched import Fetched
from components.data.web.client import Client, Manners, origin_of, token_of
from components.data.web.downloads import Downloads, Got
from components.data.web.listed import Listed, Pinned, listed_in_block, listed_in_index
from components.errors import UserError
from components.project import Project

MODALITIES = reader_names()
LICENCE = ""
code = reader_modules


class Config(FilesConfig, Manners):
    kind: Literal["http"]
    urls: tuple[str | Pinned, ...] = ()
    """`https://…`, or `{url: https://…, sha256: …}`."""
    index: str = ""
    """Or: a URL, or a file relative to the project, with `URL [sha256]` on each line, or rows of .jsonl or .csv with url, sha256, label, split, caption."""
    revalidate: bool = True
    """Ask the servers each time whether a file without a checksum is a new one; false takes what was fetched once as final."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Config":
        if bool(self.urls) == bool(self.index):
            raise ValueError("set either urls or index")
        return self


def check(config: Config, modality: str, root: Path) -> None:
    """What is wrong with the list is seen here; what with the files, when they are there."""
    token_of(config)
    with _client(config, []) as client:
        _listed(config, root, client)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """The versions that the servers tell of, and the checksums that the list says; no file is fetched but the index."""
    with _client(config, []) as first:
        wanted = _listed(config, root, first)
    with _client(config, wanted) as client:
        versions = [(one.name, version, dict(one.said or {})) for one, version in _downloads(config, root, client).versions(wanted)]
    return {"files": len(versions), "digest": short_digest(repr(versions)).hex()}


@contextmanager
def reading(config: Config, modality: str, root: Path) -> Iterator[Reading]:
    with _client(config, []) as first:
        wanted = _listed(config, root, first)
    with Project(root).lock("downloads", "fetching files"), _client(config, wanted) as client:
        got = _downloads(config, root, client).fetch_all(wanted)
    _refuse_if_none(got)
    tree = Fetched(got, _place(config), config)
    origin = {"kind": "http", "files_listed": len(wanted), **({"index": config.index} if config.index else {"urls": [one.name for one in wanted]})}
    with reading_files(tree, config, modality, origin) as found:
        yield found


def _refuse_if_none(got: list[Got]) -> None:
    bad = [one for one in got if one.problem]
    if len(bad) == len(got):
        raise UserError(f"none of the {len(got):,} files could be had; the first is {bad[0].listed.name}, {bad[0].problem}: mend that and run again.")


def _listed(config: Config, root: Path, client: Client) -> list[Listed]:
    if config.urls:
        return listed_in_block(config.urls)
    if not _is_url(config.index):
        path = root / Path(config.index).expanduser()
        if not path.is_file():
            raise UserError(f"there is no file {path}: give source.index a file or a URL that exists.")
        return listed_in_index(path, config.index)
    (index,) = listed_in_block([config.index])
    downloads = _downloads(config, root, client)
    with Project(root).lock("downloads", "fetching an index"):
        got = downloads.fetch_all([index])[0]
    if got.problem:
        raise UserError(f"the index {index.name} could not be had, {got.problem}: mend source.index, or try again later.")
    return listed_in_index(got.path, index.name, config.index)


def _downloads(config: Config, root: Path, client: Client) -> Downloads:
    return Downloads(Project(root).cache / "downloads", client, config.revalidate)


@contextmanager
def _client(config: Config, wanted: list[Listed]) -> Iterator[Client]:
    # An index from the web may name any server: the token is for those that the user has named.
    named = [config.index] if _is_url(config.index) else [one.url for one in wanted]
    with closing(Client(config, token_of(config), frozenset(map(origin_of, named)))) as client:
        yield client


def _is_url(index: str) -> bool:
    return urllib.parse.urlsplit(index).scheme in ("http", "https")


def _place(config: Config) -> str:
    return config.index or f"{len(config.urls)} URLs"
