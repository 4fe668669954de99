"""A dataset of Hugging Face: of the hub by its id, or a folder: saved by `datasets` (`save_to_disk`), or with Parquet, images or texts in it as on the hub.

From the hub its files are fetched into the project's cache, at one revision, and read as a folder is: no code of a dataset ever runs. A private one needs
HF_TOKEN in the environment.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.cache import mark_used
from components.data.files import check_files, entries_fingerprint, files_fingerprint, reading_files
from components.data.readers import FilesConfig, find_table_reader, reader_modules, table_reader_names
from components.data.saved_arrow import is_saved, saved_files, saved_labels, saved_layout, saved_parts
from components.data.sources import Reading
from components.data.tables import ENDINGS, labels_in, layout_of, table_parts, tables_in
from components.data.trees import Caps
from components.data.trees.folder import Folder
from components.errors import UserError
from components.project import Project

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

MODALITIES = table_reader_names()
LICENCE = ""
code = reader_modules
_CONVERTED = "refs/convert/parquet"
"""Where the hub keeps as Parquet what a dataset would only give by running its code."""


class Config(FilesConfig, Caps):
    kind: Literal["hugging-face"]
    path: str
    """A folder, relative to the project or absolute; or, where there is none, the id of a dataset of the hub, like `ylecun/mnist`."""
    name: str = ""
    """The subset: a folder in the dataset; empty takes all."""
    revision: str = "main"
    """Of the hub's dataset: a branch, a tag or a commit."""
    columns: dict[str, str] = {}
    """Which column gives what, where it is called otherwise: e.g. `{image: picture, label: species}`."""
    splits: dict[str, Literal["train", "validation", "test"]] = {}
    """What a split is here that is called otherwise there: e.g. `{dev: validation}`; of datasets that were saved by `datasets`."""


def check(config: Config, modality: str, root: Path) -> None:
    folder = _local(config, root)
    if folder is None:
        _hub(config)
        return
    with _opened(config, modality, folder, {}):
        """Opening it is the check."""


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    folder = _local(config, root)
    if folder is None:
        return {"revision": _hub(config).sha}
    if is_saved(folder):
        return entries_fingerprint(entry for entry, _ in saved_files(folder))
    tables = tables_in(Folder(folder))
    return entries_fingerprint(tables) if tables else files_fingerprint(Folder(folder), config, modality)


@contextmanager
def reading(config: Config, modality: str, root: Path) -> Iterator[Reading]:
    folder, origin = _local(config, root), {"kind": "hugging-face", "path": config.path}
    if folder is None:
        folder, more = _fetched(config, root)
        origin |= more
    with _opened(config, modality, folder, origin) as found:
        yield found


@contextmanager
def _opened(config: Config, modality: str, folder: Path, origin: dict[str, Any]) -> Iterator[Reading]:
    """The dataset in ``folder``, of whichever of the three forms it is."""
    reader, tree = find_table_reader(modality), Folder(folder)
    labelled = modality.startswith("image")
    if is_saved(folder):
        files = saved_files(folder)
        layout = saved_layout(folder, files[0][0], reader.COLUMNS, config.columns)
        labels = saved_labels(folder, files, layout) if labelled else ()
        yield Reading(lambda: saved_parts(folder, files, config.splits, layout, reader.fields_of), {**origin, "files": len(files)}, labels)
    elif entries := tables_in(tree):
        layout = layout_of(tree, entries[0], reader.COLUMNS, config.columns)
        labels = labels_in(tree, entries, layout, config) if labelled else ()
        yield Reading(lambda: table_parts(tree, entries, layout, reader.fields_of, config), {**origin, "files": len(entries)}, labels)
    else:
        check_files(tree, config, modality)
        with reading_files(tree, config, modality, origin) as found:
            yield found


def _local(config: Config, root: Path) -> Path | None:
    """The folder, or None where it is a dataset of the hub."""
    folder = root / Path(config.path).expanduser()
    if folder.is_dir():
        if not (folder / config.name).is_dir():
            raise UserError(f"{folder} holds no folder {config.name!r}: mend source.name, or leave it out.")
        return folder / config.name
    if config.path.count("/") > 1 or config.path.startswith((".", "/", "~")):
        raise UserError(f"there is no folder {folder}: give source.path a folder that exists, or the id of a dataset of the hub.")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(
            f"there is no folder {folder}, and the hub is not asked for {config.path!r} because HF_HUB_OFFLINE is set: "
            "unset it, or give source.path the folder of a dataset that is here."
        )
    return None


def _hub(config: Config, revision: str = "", *, sizes: bool = False) -> "DatasetInfo":
    """What the hub says of the dataset at the revision that is wanted, with the ``sizes`` of its files where they are asked for."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return HfApi().dataset_info(config.path, revision=revision or config.revision, files_metadata=sizes)
    except HFValidationError:
        raise UserError(f"{config.path!r} is neither a folder here nor the id of a dataset of the hub: mend source.path.") from None
    except HfHubHTTPError as error:
        if revision == _CONVERTED and _status(error) == "status 404":
            raise UserError(
                f"{config.path!r} is a script, which is not run, and the hub made no tables of it: export its files, and give source.path their folder."
            ) from None
        raise UserError(f"the hub does not give {config.path!r} at {config.revision!r} ({_status(error)}): mend source.path, or set HF_TOKEN.") from None
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        raise UserError(f"the hub cannot be reached for {config.path!r} ({type(error).__name__}): go online, or give source.path a folder.") from None


def _fetched(config: Config, root: Path) -> tuple[Path, dict[str, Any]]:
    """The folder with the dataset's files at that commit, and what is to be recorded of it."""
    from huggingface_hub import snapshot_download

    info = found = _hub(config, sizes=True)
    card = info.card_data
    origin = {"revision": info.sha, "licence": str(card.get("license") or "") if card else ""}
    names = [sibling.rfilename for sibling in info.siblings or []]
    if not any(name.endswith(ENDINGS) for name in names) and any(name.endswith(".py") for name in names):
        found = _hub(config, _CONVERTED, sizes=True)
        origin["converted"] = found.sha
    num_bytes = sum(sibling.size or 0 for sibling in found.siblings or [] if not config.name or sibling.rfilename.startswith(f"{config.name}/"))
    if num_bytes > config.max_total_bytes:
        raise UserError(
            f"{config.path!r} has {num_bytes:,} bytes, and source.max_total_bytes allows {config.max_total_bytes:,}: raise it, or name a subset as source.name."
        )
    revision = found.sha
    assert revision is not None
    folder = Project(root).cache / "hub" / config.path.replace("/", "--") / revision
    patterns = [f"{config.name}/*"] if config.name else None
    try:
        snapshot_download(config.path, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=patterns, ignore_patterns=["*.py"])
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        raise UserError(f"the files of {config.path!r} could not be fetched ({type(error).__name__}): run again, what is there is kept.") from None
    mark_used(folder)
    return folder / config.name, origin


def _is_of_the_network(error: Exception) -> bool:
    # The hub's client changes its library with its versions (requests, httpx, httpx2, …) and passes the errors of that on.
    return type(error).__module__.startswith(("http", "requests", "urllib3", "huggingface_hub")) or isinstance(error, ConnectionError)


def _status(error: Any) -> str:
    response = getattr(error, "response", None)
    return f"status {response.status_code}" if response is not None else type(error).__name__
