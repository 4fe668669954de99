"""The format on disk of what a model drew: Parquet shards beside `lineage.json`, which says who drew them and how, and hashes every file."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components.data.dataset import file_sha256
from components.data.modalities import Modality, find_modality
from components.errors import UserError
from components.params import Strict

if TYPE_CHECKING:
    import pyarrow as pa

LINEAGE = "lineage.json"
FOLDER = "generated"
"""Of the project's data/, where generated datasets lie unless another place is named."""
SYNTHETIC = "synthetic: "
"""How the column `source` of a row begins that a model drew."""


class GeneratedFile(Strict):
    """One Parquet file."""

    name: str
    rows: int
    sha256: str
    bytes: int


class Lineage(Strict):
    """Where every row of the folder came from; all but ``files`` and ``commit`` is what was asked for, and asks for the same bytes again."""

    format: int = 1
    model: str
    """The version that drew, e.g. `gan-digits/3`."""
    run_id: str
    """MLflow run that trained it."""
    package_sha256: str
    trained_on: str
    """Data version, e.g. `digits@v1`."""
    data_sha256: str
    modality: str
    class_names: tuple[str, ...] = ()
    """Of the labels in the files; empty where there are none."""
    dealt: str
    """How many rows each class got, or whose prompts they answer, in words."""
    seed: int
    params: dict[str, Any] = {}
    """Of the sampler, and `label` or `prompt` where all rows have the same."""
    rows: int
    licence: str = ""
    """Of the data that the model was trained on."""
    commit: str = ""
    """Of Genmill's code in the project that drew."""
    files: tuple[GeneratedFile, ...] = ()

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for."""
        return self.model_dump(mode="json", exclude={"files", "commit"})

    @property
    def origin(self) -> str:
        """For the column `source` of a row, in front of its number."""
        return f"{SYNTHETIC}{self.model}, seed {self.seed}"

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_lineage(folder: Path) -> Lineage:
    """What ``folder`` says of itself.

    Raises:
        UserError: it is no generated dataset, or its lineage is damaged.
    """
    path = folder / LINEAGE
    try:
        return Lineage.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is no generated dataset, it has no {LINEAGE}: make one with `genmill generate MODEL --to {folder}`.") from None
    except ValidationError:
        raise UserError(f"{path} is damaged: delete {folder} and run `genmill generate` again.") from None


def is_synthetic(source: str) -> bool:
    """Whether the row that came from ``source`` was drawn by a model."""
    return source.startswith(SYNTHETIC)


def lineage_sha256(folder: Path) -> str:
    return hashlib.sha256((folder / LINEAGE).read_bytes()).hexdigest()


def missing_file(folder: Path, lineage: Lineage) -> str | None:
    """The first file that is not there or has another size, in half a sentence; nothing is read."""
    for file in lineage.files:
        path = folder / file.name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != file.bytes:
            return f"{path} was changed ({path.stat().st_size:,} bytes, {LINEAGE} says {file.bytes:,})"
    return None


def changed_file(folder: Path, lineage: Lineage) -> str | None:
    """The first file that is not what the lineage says, in half a sentence; every byte is hashed."""
    problem = missing_file(folder, lineage)
    if problem:
        return problem
    for file in lineage.files:
        found = file_sha256(folder / file.name)
        if found != file.sha256:
            return f"{folder / file.name} was changed (sha256 {found[:12]}…, {LINEAGE} says {file.sha256[:12]}…)"
    return None


def generated_rows(folder: Path, lineage: Lineage) -> Iterator[dict[str, Any]]:
    """Every row in order, a few in memory at a time."""
    import pyarrow.parquet as pq

    for file in lineage.files:
        with pq.ParquetFile(folder / file.name) as opened:
            for batch in opened.iter_batches(batch_size=256):
                yield from batch.to_pylist()


def generated_schema(modality: str) -> "pa.Schema":
    """The columns of a shard: the number of the row, what cleaning reads of the modality, and what a text was asked with."""
    import pyarrow as pa

    module = find_modality(modality)
    fields = [pa.field("index", pa.int64()), *(_as_text(field) for field in module.raw_fields() if field.name != "messages")]
    fields += [pa.field("prompt", pa.string())] if modality == "text" else []
    return pa.schema(fields, metadata=module.schema_metadata(fields) or None)


def raw_fields_of(row: Mapping[str, Any], modality: Modality) -> dict[str, Any]:
    """A row of text and pictures as a source gives it: text that cleaning reads as bytes is encoded."""
    import pyarrow as pa

    wanted = {field.name: field.type for field in modality.raw_fields()}
    values = {name: row.get(name) for name in wanted}
    return {name: value.encode() if isinstance(value, str) and wanted[name] == pa.binary() else value for name, value in values.items()}


def _as_text(field: "pa.Field") -> "pa.Field":
    """Text that a source gives is bytes until cleaning has looked at it; what a model writes is text."""
    import pyarrow as pa

    return pa.field(field.name, pa.string()) if field.type == pa.binary() else field
