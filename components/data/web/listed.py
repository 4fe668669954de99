"""Which files of the web a source names: in its block, or in an index with a checksum, a label, a split and a caption of each where it knows them."""

import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.digests import short_digest
from components.data.layout import SPLIT_NAMES
from components.data.records import is_records, read_records
from components.data.trees import Unreadable
from components.data.trees.folder import Folder
from components.data.web.addresses import refuse_url
from components.errors import UserError
from components.params import Strict

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SECRET = re.compile(r"token|secret|passw|signature|credential|^(sig|key|auth|apikey|api_key|access_key)$", re.IGNORECASE)
_SAID = ("label", "split", "caption")


class Pinned(Strict):
    """A file in a source's block."""

    url: str
    sha256: str = ""


@dataclass(frozen=True)
class Listed:
    """One file that is wanted."""

    url: str
    sha256: str = ""
    said: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """Its name in the tree: host and path; of a query only a digest, and nothing of what is secret in it."""
        parsed = urllib.parse.urlsplit(self.url)
        path = "/".join(part for part in urllib.parse.unquote(parsed.path).split("/") if part not in ("", ".", "..")) or "index"
        query = [(key, value) for key, value in urllib.parse.parse_qsl(parsed.query, keep_blank_values=True) if not _SECRET.search(key)]
        if query:
            stem, dot, ending = path.rpartition(".") if "." in path.rsplit("/", 1)[-1] else (path, "", "")
            path = f"{stem}~{short_digest(str(query)).hex()[:8]}{dot}{ending}"
        return f"{parsed.netloc}/{path}".replace("\\", "/").replace("\0", "")


def listed_in_block(urls: Sequence[str | Pinned]) -> list[Listed]:
    """The files of `urls:`.

    Raises:
        UserError: one is no web address, or holds a secret, which params.yaml must not.
    """
    found = [Listed(one) if isinstance(one, str) else Listed(one.url, one.sha256) for one in urls]
    for one in found:
        refuse_url(one.url)
        secret = next((key for key, _ in urllib.parse.parse_qsl(urllib.parse.urlsplit(one.url).query) if _SECRET.search(key)), None)
        if secret is not None:
            raise UserError(f"the address of {one.name} holds {secret}, which would be recorded: put it into a file, and name that as source.index.")
    return _all_fit(found)


def listed_in_index(path: Path, where: str, base: str = "") -> list[Listed]:
    """The files of the index at ``path``: lines of `URL [sha256]`, or rows of .jsonl, .csv or .tsv with url; ``base`` is where it came from.

    Raises:
        UserError: a line cannot be read; ``where`` names the index.
    """
    rows = _records(path, where) if is_records(where) else _lines(path, where)
    found = [_listed(row, f"{where} line {line}", base) for line, row in rows]
    if not found:
        raise UserError(f"{where} names no file: write one URL per line, or rows with url.")
    return _all_fit(found)


def _lines(path: Path, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{where} is no text: write one URL per line, or rows of .jsonl or .csv with url.") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            if len(words) > 2:
                raise UserError(f"{where} line {number} has {len(words)} words: write a URL, and behind it its sha256 if you know it.")
            yield number, dict(zip(("url", "sha256"), words, strict=False))


def _records(path: Path, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    tree = Folder(path.parent)
    entry = tree.find(path.name)
    assert entry is not None, path
    try:
        for record in read_records(tree, entry, where):
            if record.problem:
                raise UserError(f"{where} line {record.line} has {record.problem}: mend that line.")
            yield record.line, {key: str(value) for key, value in record.fields.items() if value not in (None, "")}
    except Unreadable as error:
        raise UserError(f"{where} cannot be read, {error}: mend that file.") from None


def _listed(row: Mapping[str, str], where: str, base: str) -> Listed:
    if "url" not in row:
        raise UserError(f"{where} has no url (it has {', '.join(row) or 'nothing'}): every row needs one.")
    url = urllib.parse.urljoin(base, row["url"]) if base else row["url"]
    try:
        refuse_url(url)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    said = {key: row[key] for key in _SAID if key in row}
    if "split" in said:
        if said["split"].lower() not in SPLIT_NAMES:
            raise UserError(f"{where} has the split {said['split']!r}: write train, validation or test.")
        said["split"] = SPLIT_NAMES[said["split"].lower()]
    sha256 = row.get("sha256", "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise UserError(f"{where} has a sha256 that is none ({sha256[:20]}): it has 64 digits from 0 to f.")
    return Listed(url, sha256.lower(), said or None)


def _all_fit(found: list[Listed]) -> list[Listed]:
    names: dict[str, str] = {}
    for one in found:
        if one.name in names:
            raise UserError(f"{one.name} is listed twice: take one of them out.")
        names[one.name] = one.url
        if one.sha256 and not _SHA256.fullmatch(one.sha256):
            raise UserError(f"the sha256 of {one.name} is none ({one.sha256[:20]}): it has 64 digits from 0 to f.")
    return found
