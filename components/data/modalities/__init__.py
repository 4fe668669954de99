"""What a sample is made of: one module per modality, found by its name.

A module of this package has the raw and clean columns, ``CleanConfig`` and ``AugmentConfig`` (blocks of params.yaml), and
the functions of `Modality`. A stage knows nothing of pixels or paragraphs; it asks here.
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast

from pydantic import Field, model_validator

from components.data.near import Likeness
from components.data.sources import PROBLEM
from components.errors import UserError, nearest
from components.params import Block, Strict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Limits(Strict):
    """Base of every modality's ``CleanConfig``."""

    max_quarantine: float = 0.1
    """Share of rows that may go to quarantine as faults of the source (see `FAULTS`) before validation calls it critical."""
    max_drift: float = Field(0.25, ge=0)
    """Population stability index of a column against the version before, above which validation warns."""


class Additions(Strict):
    """Base of every modality's ``AugmentConfig``: its other fields say what is altered, each off by default unless it says otherwise."""

    when: Literal["stage", "load"] = "stage"
    """`stage` writes altered copies beside the rows of the training split, which are part of the data version; `load` alters its rows themselves, anew each
    time that a training draws one, and belongs to the run. Validation and test rows are never altered."""
    copies: int = Field(0, ge=0)
    """Added rows per original of the training split, where the stage makes them; 0 adds none."""
    seed: int = 0

    @model_validator(mode="after")
    def _is_sensible(self) -> Self:
        if self.when == "load" and self.copies:
            raise ValueError("a training alters the rows themselves and makes no copies of them: leave copies out, or set when to stage")
        if self.is_on and not self.alters:
            raise ValueError("nothing is set that would alter a row: say what, or leave augment out")
        if not self.is_on and self.settings:
            raise ValueError(f"{self.settings[0]} alters nothing while copies is 0: set copies, or set when to load")
        return self

    @property
    def is_on(self) -> bool:
        return self.when == "load" or self.copies > 0

    @property
    def settings(self) -> tuple[str, ...]:
        """What is said of how rows are altered, where that is not the default."""
        fields = type(self).model_fields
        return tuple(name for name in fields if name not in Additions.model_fields and getattr(self, name) != fields[name].default)

    @property
    def alters(self) -> bool:
        return bool(self.settings)


UNREADABLE = "unreadable"
"""Reason of a row that the source could not give."""
FAULTS = (UNREADABLE, "corrupt", "incomplete", "out-of-range", "bridges-splits")
"""Reasons that speak against the source; repetitions, and what the user's own rules leave out, do not."""


@dataclass(frozen=True)
class Rejection:
    """Why a row goes to quarantine."""

    reason: str
    """One of `FAULTS`, or `duplicate`, `near-duplicate`, or the name of a rule of the modality's, like `blank` or `language`."""
    detail: str


@dataclass(frozen=True)
class Examined:
    """What cleaning must know of a good row to compare it with the others."""

    duplicate_key: str
    """Hex digest; equal keys: the same sample."""
    group_key: str = ""
    """Hex digest; rows that share it stay in one split. Empty: a group of its own."""
    form: tuple[Any, ...] = ()
    """What must be the same in all rows, e.g. mode and size."""
    parts: tuple[tuple[str, int], ...] = ()
    """Hex digest and length of each part that may stand in one row only, in order; an empty digest where it may repeat."""
    least: int = 0
    """Length that must remain when the parts of earlier rows are taken away."""
    repeated_key: str = ""
    """Hex digest of what may stand in ``most`` rows, the first ones; empty where it may stand in any number."""
    most: int = 0
    compared: Any = None
    """What the modality's `Likeness` takes; None where the row is not compared."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """What conversion alters inside the row, and how often, e.g. `{"e-mail addresses were replaced": 2}`."""


class Modality(Protocol):
    """The shape of a module in this package. A raw row is a dict by raw column."""

    PARTS: tuple[str, ...]
    """What a sample is made of, e.g. an image and a text."""
    CAN_CUT: bool
    """Whether `split: {method: blocks}` makes sense."""
    TEST_ROWS: int
    """That a test split should have for figures on it to mean something."""
    CleanConfig: type[Limits]
    AugmentConfig: type[Additions]

    def raw_fields(self) -> "Sequence[pa.Field]":
        """The modality's own raw columns (those of every raw row come before them)."""
        ...

    def clean_fields(self) -> "Sequence[pa.Field]":
        """The modality's own columns from cleaning on (id, split, parent_id and source come before them)."""
        ...

    def schema_metadata(self, fields: "Sequence[pa.Field]") -> dict[str, str]:
        """Metadata for the Parquet schema, for other readers."""
        ...

    def content_key(self, row: Mapping[str, Any]) -> str:
        """Digest of a raw row's content: differs when the sample was changed at the source."""
        ...

    def examine(self, row: Mapping[str, Any], config: Any, labelled: bool) -> Examined | Rejection: ...

    def likeness(self, config: Any) -> Likeness | None:
        """How near-duplicates are found; None where they are not looked for."""
        ...

    def excerpt(self, row: Mapping[str, Any], config: Any) -> bytes | str | None:
        """A small PNG or a short text of a raw row, also of a bad one; None where there is nothing to see."""
        ...

    def suggested(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The block `clean:` that suits raw rows like these: what most of them would stand, and what they need."""
        ...

    def common_form(self, forms: Mapping[tuple[Any, ...], int], config: Any, block: Block) -> tuple[Any, ...]:
        """The one form of all rows, from how often each occurs; a UserError that says what to set where they differ."""
        ...

    def convert(self, row: Mapping[str, Any], form: tuple[Any, ...], drop: Sequence[int], config: Any, class_names: Sequence[str]) -> dict[str, Any]:
        """A good raw row's clean columns, without the parts ``drop``."""
        ...

    def blocks(self, row: Mapping[str, Any], size: int) -> Iterator[Mapping[str, Any]]:
        """A raw row cut into contiguous blocks with ids of their own, or the row where it cannot be read; called only where ``CAN_CUT``."""
        ...

    def unfit_setting(self, row: Mapping[str, Any], config: Any, class_names: Sequence[str]) -> tuple[str, str] | None:
        """The setting of ``config`` that makes no sense for clean rows like ``row``, with the rest of the sentence: why, and what to do."""
        ...

    def augment(self, rows: Sequence[Mapping[str, Any]], config: Any, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Added rows for the clean rows of a training shard: id, parent_id and the modality's columns."""
        ...

    def before_after(self, table: "pa.Table", config: Any, class_names: Sequence[str]) -> bytes | str | None:
        """A PNG or a text that shows some training rows and what augmentation makes of them; None where it makes nothing."""
        ...

    def metadata(self, table: "pa.Table", class_names: Sequence[str]) -> "pd.DataFrame":
        """The table that the gate looks at: one line per row, no pixels and no texts, but `content_sha256` of them."""
        ...

    def metadata_columns(self) -> list[str]:
        """Columns that `metadata` needs."""
        ...

    def suite(self, config: Any, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """The rules that every dataset of the modality must pass, written as in `expect:`."""
        ...

    def preview(self, table: "pa.Table") -> bytes | str:
        """A PNG or a text that shows what the rows look like."""
        ...


@functools.cache
def modality_names() -> tuple[str, ...]:
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def modality_module(name: str) -> str:
    """The module's name for the code digest."""
    return f"{__name__}.{name.replace('-', '_')}"


def find_modality(name: str) -> Modality:
    if name not in modality_names():
        raise UserError(f"there is no modality {name!r}; {nearest(name, modality_names())}")
    return cast(Modality, importlib.import_module(modality_module(name)))


def examined(modality: Modality, row: Mapping[str, Any], config: Limits, labelled: bool) -> Examined | Rejection:
    """What cleaning makes of a raw row, also of one that the source could not give."""
    return Rejection(UNREADABLE, row[PROBLEM]) if row[PROBLEM] else modality.examine(row, config, labelled)


def rng_seed(seed: int, *parts: object) -> int:
    """A seed that depends on nothing but its arguments."""
    import hashlib

    return int.from_bytes(hashlib.sha256(":".join(map(str, (seed, *parts))).encode()).digest()[:8], "big")


def spread(table: "pa.Table", num: int) -> "pa.Table":
    """At most ``num`` rows, spread evenly over ``table``."""
    count = min(num, table.num_rows)
    return table.take([index * table.num_rows // count for index in range(count)]) if count else table
