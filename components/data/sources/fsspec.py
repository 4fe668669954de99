"""A bucket of S3 and whatever else fsspec reads: what a folder or an archive may hold, from where it lies.

Credentials come from the environment alone, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role that the machine has.
"""

from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Literal

from components.data.files import check_files, files_fingerprint, reading_files
from components.data.readers import FilesConfig, reader_modules, reader_names
from components.data.sources import Reading
from components.data.trees import Caps
from components.data.trees.remote import archive_stamp, open_remote

MODALITIES = reader_names()
LICENCE = ""
code = reader_modules


class Config(FilesConfig, Caps):
    kind: Literal["fsspec"]
    url: str
    """Of a folder or of an archive, like `s3://bucket/pictures`."""
    options: dict[str, Any] = {}
    """For the file system, nothing secret: e.g. `{client_kwargs: {endpoint_url: https://…}}` or `{anon: true}`."""


def check(config: Config, modality: str, root: Path) -> None:
    with closing(open_remote(config.url, config.options, config)) as tree:
        check_files(tree, config, modality, "url")


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    stamp = archive_stamp(config.url, config.options)
    if stamp is not None:
        return stamp
    with closing(open_remote(config.url, config.options, config)) as tree:
        return files_fingerprint(tree, config, modality)


def reading(config: Config, modality: str, root: Path) -> AbstractContextManager[Reading]:
    return reading_files(open_remote(config.url, config.options, config), config, modality, {"kind": "fsspec", "url": config.url})
