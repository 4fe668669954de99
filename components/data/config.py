"""The `datasets:` block of params.yaml: one typed, frozen config per dataset, each mistake named with its line."""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from components import git
from components.data.dataset import Split
from components.data.modalities import Additions, Limits, Modality, find_modality
from components.data.sources import Source, SourceConfig, find_source
from components.errors import UserError, nearest
from components.params import Block, Strict, load
from components.project import Project

KEYS = ("modality", "source", "split", "clean", "augment", "expect")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class SplitConfig(Strict):
    """How rows are dealt to train, validation and test."""

    method: Literal["hash", "given", "blocks"] = "hash"
    """`hash` of the id of the group's first member; `given` by the source, where `validation` is the share of train that becomes
    validation when the source has none; `blocks`: long documents are cut into contiguous blocks, which are dealt by hash."""
    train: float = Field(0.8, gt=0, le=1)
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    seed: int = 0
    """Another seed is another draw: for small datasets whose shares came out uneven."""
    block_chars: int = Field(2000, ge=1)
    """Longest block of method `blocks`, in characters."""

    @model_validator(mode="after")
    def _sum_is_one(self) -> "SplitConfig":
        total = self.train + self.validation + self.test
        if self.method != "given" and abs(total - 1) > 1e-6:
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        return self

    @property
    def fractions(self) -> dict[Split, float]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Rule(Strict):
    """One rule of `expect:`: the name of a Great Expectations rule, its arguments, and how bad a failure is."""

    rule: str
    severity: Literal["critical", "warning"] = "critical"
    arguments: dict[str, Any] = {}

    def to_params(self) -> dict[str, Any]:
        return {"rule": self.rule, "severity": self.severity, **self.arguments}

    @classmethod
    def from_params(cls, value: dict[str, Any]) -> "Rule":
        known = {key: value[key] for key in ("rule", "severity") if key in value}
        return cls(**known, arguments={key: item for key, item in value.items() if key not in known})


@dataclass(frozen=True)
class DatasetConfig:
    """One dataset, resolved: every default is filled in."""

    name: str
    modality: str
    source: SourceConfig
    split: SplitConfig
    clean: Limits
    augment: Additions
    expect: tuple[Rule, ...]

    @property
    def modality_module(self) -> Modality:
        return find_modality(self.modality)

    @property
    def source_module(self) -> Source:
        return find_source(self.source.kind)

    def load_time(self) -> dict[str, Any]:
        """What a training does to its rows as it draws them, as plain JSON values; empty where it takes them as they are."""
        return _plain(self.augment) if self.augment.when == "load" else {}

    def stage_params(self, stage: str) -> dict[str, Any]:
        """The resolved params on which ``stage`` depends, as plain JSON values."""
        params: dict[str, dict[str, Any]] = {
            "collect": {"source": _plain(self.source)},
            "clean": {"split": _plain(self.split), "clean": _plain(self.clean)},
            "augment": {"augment": _plain(self.augment)},
            "validate": {
                "clean": _plain(self.clean),
                "split": _plain(self.split),
                "augment": _plain(self.augment),
                "expect": [rule.to_params() for rule in self.expect],
            },
        }
        return {"name": self.name, "modality": self.modality, **params[stage]}


class VersionSettings(Strict):
    """The `versions:` block."""

    git_remote: str | None = None
    """A git remote (`git remote -v`) to which the branches and tags of versions and promotions are pushed; null keeps them here."""


def find_git_remote(project: Project) -> str | None:
    """The remote that `versions.git_remote` names.

    Raises:
        UserError: git knows no such remote; the message has the line.
    """
    block = load(project.params).child("versions")
    remote = block.validate(VersionSettings).git_remote
    if remote is None or remote in (known := git.remotes(project.root)):
        return remote
    message = f"versions.git_remote: git has no remote {remote!r}; {nearest(remote, known)} Add it with `git remote add {remote} URL`, or take the key out."
    raise block.error(message, "git_remote")


def load_project_datasets(project: Project) -> dict[str, DatasetConfig]:
    return load_datasets(load(project.params))


def load_datasets(params: Block) -> dict[str, DatasetConfig]:
    """Every dataset of params.yaml by name.

    Raises:
        UserError: anything is misspelt, missing or contradictory; the message has the line.
    """
    datasets = {name: parse_dataset(name, block) for name, block in params.child("datasets").children()}
    for name, dataset in datasets.items():
        for other in dataset.source.reads:
            if other not in datasets:
                raise dataset_block(params, name).error(f"datasets.{name}.source: there is no dataset {other!r}; {nearest(other, datasets)}", "source")
    try:
        TopologicalSorter({name: dataset.source.reads for name, dataset in datasets.items()}).prepare()
    except CycleError as error:
        first, *others = error.args[1]
        message = f"datasets.{first}.source: its rows come from itself, by {', '.join(others)}: let one of them come from elsewhere."
        raise dataset_block(params, first).error(message, "source") from None
    return datasets


def with_read(datasets: Mapping[str, DatasetConfig], names: Iterable[str]) -> list[str]:
    """``names``, each once, behind the datasets that its source reads."""
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys([*with_read(datasets, datasets[name].source.reads), name])
    return list(found)


def find_dataset(params: Block, name: str) -> DatasetConfig:
    """One dataset; the others are not looked at, so their mistakes do not stand in its way."""
    datasets = params.child("datasets")
    if name not in datasets.value:
        raise datasets.error(f"there is no dataset {name!r}; {nearest(name, datasets.value)}")
    return parse_dataset(name, datasets.child(name))


def dataset_block(params: Block, name: str) -> Block:
    return params.child("datasets").child(name)


def parse_dataset(name: str, block: Block) -> DatasetConfig:
    if not _NAME.fullmatch(name):
        better = re.sub("[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "mine"
        raise block.error(f"dataset {name!r}: a name is lower-case letters, digits, - and _, e.g. {better!r}.")
    for key in block.value:
        if key not in KEYS:
            raise block.error(f"unknown key {key!r} in datasets.{name}; {nearest(key, KEYS)}", key)
    modality = _modality(name, block)
    source = _source(name, block, str(block.value["modality"]))
    split = _split(name, block, source)
    if split.method == "blocks" and not modality.CAN_CUT:
        message = f"datasets.{name}: {block.value['modality']} samples cannot be cut into blocks: set split.method to hash or given."
        raise block.error(message, "split", "method")
    return DatasetConfig(
        name=name,
        modality=str(block.value["modality"]),
        source=source,
        split=split,
        clean=block.child("clean").validate(modality.CleanConfig),
        augment=block.child("augment").validate(modality.AugmentConfig),
        expect=_rules(name, block),
    )


def _modality(name: str, block: Block) -> Modality:
    if "modality" not in block.value:
        raise block.error(f"datasets.{name}.modality is missing: add it, e.g. `modality: image`.")
    try:
        return find_modality(str(block.value["modality"]))
    except UserError as error:
        raise block.error(f"datasets.{name}: {error}", "modality") from None


def _source(name: str, block: Block, modality: str) -> SourceConfig:
    source = block.child("source")
    if "kind" not in source.value:
        raise block.error(f"datasets.{name}.source.kind is missing: add it, e.g. `source: {{kind: folder, path: ../pictures}}`.", "source")
    kind = str(source.value["kind"])
    try:
        module = find_source(kind)
    except UserError as error:
        raise source.error(f"datasets.{name}: {error}", "kind") from None
    if modality not in module.MODALITIES:
        raise source.error(f"datasets.{name}: a {kind} source gives {' or '.join(module.MODALITIES)}, not {modality}: change modality or source.kind.", "kind")
    return source.validate(module.Config)


def _split(name: str, block: Block, source: SourceConfig) -> SplitConfig:
    only, given = source.only_split, block.child("split")
    split = given.validate(SplitConfig, {"method": only, **given.value} if only else None)
    if only and split.method != only:
        message = f"datasets.{name}: its {source.kind} source says the split of each row: set split.method to {only}, or leave it out."
        raise block.error(message, "split", "method")
    return split


def _rules(name: str, block: Block) -> tuple[Rule, ...]:
    values = block.value.get("expect") or []
    if not isinstance(values, list):
        raise block.error(f"datasets.{name}.expect must be a list of rules, e.g. `- {{rule: expect_column_values_to_not_be_null, column: label}}`.", "expect")
    rules: list[Rule] = []
    for index, value in enumerate(values):
        if not isinstance(value, dict) or "rule" not in value:
            raise block.error(f"datasets.{name}.expect: a rule is a mapping with `rule:` and the rule's arguments.", "expect", index)
        if value["rule"] not in known_rules():
            message = f"datasets.{name}.expect: there is no rule {value['rule']!r}; {nearest(str(value['rule']), known_rules())}"
            raise block.error(message, "expect", index, "rule")
        severity = value.get("severity", "critical")
        if severity not in ("critical", "warning"):
            raise block.error(f"datasets.{name}.expect: severity must be critical or warning, not {severity!r}.", "expect", index, "severity")
        rules.append(Rule.from_params(value))
    return tuple(rules)


def known_rules() -> frozenset[str]:
    """Names of Great Expectations' rules, read from its files because importing it takes seconds."""
    spec = importlib.util.find_spec("great_expectations")
    assert spec is not None
    assert spec.origin is not None
    return frozenset(path.stem for path in (Path(spec.origin).parent / "expectations" / "core").glob("expect_*.py"))


def _plain(config: Strict) -> dict[str, Any]:
    return config.model_dump(mode="json")
