"""What a model drew (`genmill generate`), by itself or beside the real rows of a dataset.

Beside real rows, drawn ones are only ever trained on: they come behind the real rows with the split `train`, so that one which is the same as a
real row of validation or test is put aside, and never moves that row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from components.data.dataset import Dataset, Split
from components.data.generated import Lineage, changed_file, generated_rows, lineage_sha256, missing_file, raw_fields_of, read_lineage
from components.data.modalities import find_modality
from components.data.result import read_result
from components.data.sources import RawRow, SourceConfig
from components.errors import UserError
from components.project import Project

MODALITIES = ("image", "image-text", "text", "text-pairs")
LICENCE = "drawn by a model; see the licence of what it was trained on"
_CARRIED: dict[str, tuple[str, ...]] = {"image-text": ("image", "image-text"), "image": ("image",), "text": ("text",), "text-pairs": ("text-pairs",)}
"""Modalities that a generated dataset can be read as, by its own."""


class Config(SourceConfig):
    kind: Literal["synthetic"]
    path: str
    """The folder that `genmill generate` wrote, relative to the project, or absolute."""
    rows: int | None = Field(None, ge=1)
    """Take the first ``rows`` of what was drawn; null takes all."""
    real: str = ""
    """A dataset of this project, whose rows stand beside what was drawn, each in the split that it has there; empty takes what was drawn alone."""
    train_on: Literal["both", "synthetic"] = "both"
    """`synthetic` leaves the training rows of ``real`` out: train on synthetic data, test on real."""

    @model_validator(mode="after")
    def _synthetic_beside_what(self) -> "Config":
        if self.train_on == "synthetic" and not self.real:
            raise ValueError("train_on needs `real: DATASET`, whose validation and test rows are real: add it, or leave train_on out")
        return self

    @property
    def only_split(self) -> Literal["given"] | None:
        """The real rows keep their splits, and what was drawn is trained on."""
        return "given" if self.real else None

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.real,) if self.real else ()


def check(config: Config, modality: str, root: Path) -> None:
    folder = _folder(config, root)
    lineage = read_lineage(folder)
    _refuse_changed(missing_file(folder, lineage), lineage)
    if modality not in _CARRIED[lineage.modality]:
        raise UserError(f"{folder} holds {lineage.modality} rows of {lineage.model}, not {modality}: set modality to {lineage.modality}.")
    if config.real:
        _check_real(config, modality, root, lineage)


def fingerprint(config: Config, modality: str, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"lineage": lineage_sha256(_folder(config, root)), "rows": config.rows}
    return {**found, "real": _real(config, root).manifest.sha256} if config.real else found


def describe(config: Config, modality: str, root: Path) -> dict[str, Any]:
    """The lineage of what was drawn, and the digest of the real data beside it."""
    folder = _folder(config, root)
    lineage = read_lineage(folder)
    drawn = lineage.model_dump(mode="json", include={"model", "run_id", "package_sha256", "trained_on", "data_sha256", "dealt", "seed", "params", "licence"})
    found = {"kind": "synthetic", "path": config.path, **drawn, "rows": _num_rows(config, lineage), "lineage_sha256": lineage_sha256(folder)}
    return {**found, "real": config.real, "real_sha256": _real(config, root).manifest.sha256, "train_on": config.train_on} if config.real else found


def class_names(config: Config, modality: str, root: Path) -> tuple[str, ...]:
    if modality not in ("image", "image-text"):
        return ()
    return _real(config, root).class_names if config.real else read_lineage(_folder(config, root)).class_names


def read(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    """The real rows, then what was drawn: of two that are alike the first one wins.

    Raises:
        UserError: a file is not what the lineage says.
    """
    folder = _folder(config, root)
    lineage = read_lineage(folder)
    _refuse_changed(changed_file(folder, lineage), lineage)
    if config.real:
        yield from _real_rows(config, modality, root)
    for row in generated_rows(folder, lineage):
        if row["index"] < _num_rows(config, lineage):
            yield _drawn(row, modality, lineage, "train" if config.real else None)


def _drawn(row: dict[str, Any], modality: str, lineage: Lineage, split: str | None) -> RawRow:
    name = f"{lineage.model.replace('/', '-')}-seed{lineage.seed}-{row['index']:06d}"
    return RawRow(id=name, source=f"{lineage.origin}, row {row['index']}", fields=raw_fields_of(row, find_modality(modality)), split=split)


def _real_rows(config: Config, modality: str, root: Path) -> Iterator[RawRow]:
    dataset, module = _real(config, root), find_modality(modality)
    splits: tuple[Split, ...] = ("train", "validation", "test") if config.train_on == "both" else ("validation", "test")
    for split in splits:
        for batch in dataset.table(split, augmented=False).to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                named = {**row, "label": dataset.class_names[row["label"]]} if dataset.class_names else row
                yield RawRow(id=row["id"], source=row["source"], fields=raw_fields_of(named, module), split=split)


def _check_real(config: Config, modality: str, root: Path, lineage: Lineage) -> None:
    dataset = _real(config, root)
    if dataset.modality != modality:
        raise UserError(f"the rows of {config.real} are {dataset.modality}, not {modality}: set modality to {dataset.modality}, or real to another dataset.")
    if not dataset.manifest.rows("validation"):  # else a share of the training rows, drawn ones among them, would become validation
        raise UserError(f"{config.real} has no validation rows: give it some in datasets.{config.real}.split, so that drawn rows are only trained on.")
    result = read_result(dataset.project, config.real)
    if result is None or result.outcome == "failed" or result.manifest_sha256 != dataset.manifest.sha256:
        raise UserError(f"the real rows of {config.real} have not passed their validation: run `genmill run --dataset {config.real}`.")
    if dataset.class_names and not lineage.class_names:
        raise UserError(f"{config.real} has labels and what {lineage.model} drew has none: draw by a model that heeds labels, or leave real out.")
    strange = [name for name in lineage.class_names if name not in dataset.class_names]
    if strange and dataset.class_names:
        raise UserError(f"{lineage.model} drew the class {strange[0]!r}, which {config.real} does not have: draw by a model that was trained on {config.real}.")


def _real(config: Config, root: Path) -> Dataset:
    return Dataset.open(Project(root), config.real)


def _num_rows(config: Config, lineage: Lineage) -> int:
    return min(config.rows or lineage.rows, lineage.rows)


def _folder(config: Config, root: Path) -> Path:
    return root / Path(config.path).expanduser()


def _refuse_changed(problem: str | None, lineage: Lineage) -> None:
    if problem:
        raise UserError(f"{problem}: draw it again with `genmill generate {lineage.model} -n {lineage.rows} --seed {lineage.seed}`.")
