"""The package: every file as it was registered, and what it says of itself as the registry does."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from components.registry.audit.rows import AuditRow, not_rehashed, same, short
from components.registry.package import file_hashes, files_digest
from components.registry.registration import FILES_ARTIFACT
from components.registry.runtime import read_spec
from components.tracking import ModelVersion, Tracker

LINK = "package files"


@contextlib.contextmanager
def opened_package(tracker: Tracker, version: ModelVersion) -> Iterator[Path | None]:
    """The stored package itself where it lies on this machine, else a fresh copy of it; None where it is gone."""
    if version.source.startswith("file:"):
        yield tracker.local_path(version.source)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield tracker.download(version.source, Path(scratch))


def package_rows(tracker: Tracker, version: ModelVersion, folder: Path | None, *, rehash: bool) -> Iterator[AuditRow]:
    """Rows on the package in ``folder``."""
    try:
        recorded: dict[str, str] = json.loads(tracker.read_artifact(version.run_id, FILES_ARTIFACT) or b"{}")
    except ValueError:
        recorded = {}
    expected = version.tag("package_sha256")
    yield same("list of package files", expected, files_digest(recorded) if recorded else "none")
    if not rehash:
        yield not_rehashed(LINK, expected)
        return
    if folder is None:
        yield AuditRow(link=LINK, expected=short(expected), found=f"no folder at {version.source}", ok=False)
        return
    yield _files_row(expected, recorded, folder)
    yield from _description_rows(version, folder)


def _files_row(expected: str, recorded: Mapping[str, str], folder: Path) -> AuditRow:
    found = file_hashes(folder)
    wrong = [f"{path} is missing" for path in recorded.keys() - found.keys()]
    wrong += [f"{path} was added" for path in found.keys() - recorded.keys()]
    wrong += [f"{path} differs" for path in recorded.keys() & found.keys() if recorded[path] != found[path]]
    detail = f"{short(files_digest(found))}: {'; '.join(sorted(wrong)[:5])}"
    ok = not wrong and bool(found)
    return AuditRow(link=LINK, expected=short(expected), found=f"{len(found)} files, all as recorded" if ok else detail, ok=ok)


def _description_rows(version: ModelVersion, folder: Path) -> Iterator[AuditRow]:
    """What the package's spec.json and the registry's tags say of the same things."""
    try:
        spec = read_spec(folder / "artifacts")
    except (OSError, ValidationError):
        return  # the row on the files names it
    yield same("run identity in the package", version.tag("identity"), spec.identity)
    yield same("data version in the package", version.tag("data_sha256"), spec.data_sha256)
    yield same("code digest in the package", version.tag("package_code_sha256"), spec.code_sha256)
