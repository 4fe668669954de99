"""Opens a source as each modality that it may be, reads some of it, and tells what it is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from components.data.modalities import Examined, Modality, Rejection, examined, find_modality
from components.data.sources import PROBLEM, OtherModality, RawRow, Source, find_source, reading
from components.errors import UserError

SAMPLED = 300
"""Rows that are read, spread over the source."""
_MOST_COUNTED = 200_000
"""Rows of files with many rows that are counted; above it, there are more."""
_NEARLY = 0.9
_EXCERPT = 80
"""Characters of a sample that are shown."""


@dataclass(frozen=True)
class Look:
    """A source as samples of one modality."""

    modality: str
    num: int
    is_exact: bool
    """Whether ``num`` is all of them."""
    num_bytes: int | None
    class_names: tuple[str, ...]
    splits: Mapping[str, int]
    """Of the rows that were read, how many the source itself puts into which split; empty where it says none for some."""
    rows: tuple[RawRow, ...]
    good: tuple[Examined, ...]
    """Of them, those that are what the modality wants, as cleaning sees them."""

    def describe(self, row: RawRow) -> str:
        """A row in a line, for people: where it is from, and what it is."""
        found = examined(self.whole, raw_fields(row, self.modality), self.whole.CleanConfig(), bool(self.class_names))
        shown = self.whole.excerpt(raw_fields(row, self.modality), self.whole.CleanConfig())
        said = [f"{row.source}:"]
        if isinstance(found, Rejection):
            said.append(f"{found.reason}, {found.detail}")
        elif found.form:
            said.append("x".join(map(str, found.form[1:])) + f" {found.form[0]}")
        label = row.fields.get("label")
        said += [f"({label})"] if label else []
        caption = row.fields.get("caption")
        shown = caption.decode("utf-8", "replace") if isinstance(caption, bytes) else shown
        if isinstance(shown, str):
            said.append(repr(" ".join(shown.split())[:_EXCERPT]))
        return " ".join(said)

    @property
    def whole(self) -> Modality:
        return find_modality(self.modality)


def look(block: Mapping[str, Any], root: Path, modality: str | None = None) -> Look:
    """The source of the block ``block`` as ``modality``, or as the one that most of it is.

    Raises:
        UserError: it holds nothing that can be trained on, or not what ``modality`` wants.
    """
    source = find_source(str(block["kind"]))
    if modality is not None and modality not in source.MODALITIES:
        raise UserError(f"a {block['kind']} source gives {' or '.join(source.MODALITIES)}, not {modality}: give another --modality.")
    found, problems = list[Look](), list[UserError]()
    for name in [modality] if modality else source.MODALITIES:
        try:
            found.append(_look_as(source, block, name, root))
        except UserError as error:
            problems.append(error)
    if not any(one.good for one in found):
        raise _why_nothing(found, problems)
    return max(found, key=lambda one: _rank(one, found))


def _why_nothing(found: list[Look], problems: list[UserError]) -> UserError:
    """What is wrong with what is there, rather than that it is nothing else."""
    own = next((error for error in problems if not isinstance(error, OtherModality)), None)
    read = next((one for one in found if one.rows), None)
    if own is None and read is not None:
        return UserError(f"there is nothing to train on, for no {read.modality} can be read; the first is {read.describe(read.rows[0])}: mend what is there.")
    return own or next(iter(problems), UserError("there is nothing to train on: the source has no samples, put some there."))


def _rank(one: Look, others: list[Look]) -> tuple[bool, int, int]:
    """Most samples; of those with nearly as many, the one that knows most of each."""
    usable = {other.modality: round(other.num * len(other.good) / max(len(other.rows), 1)) for other in others}
    return usable[one.modality] >= _NEARLY * max(usable.values()), len(one.whole.PARTS), usable[one.modality]


def _look_as(source: Source, block: Mapping[str, Any], modality: str, root: Path) -> Look:
    config = source.Config.model_validate(dict(block))
    source.check(config, modality, root)
    with reading(source, config, modality, root) as found:
        num_parts = sum(1 for _ in found.parts())
        step = max(1, num_parts // SAMPLED)
        per_part = max(1, SAMPLED // max(num_parts, 1))
        rows: list[RawRow] = []
        for index, part in enumerate(found.parts()):
            if index % step == 0 and len(rows) < SAMPLED:
                rows.extend(islice(part.rows(), per_part))
        several = len(rows) > len(range(0, num_parts, step))
        num = sum(1 for _ in islice(chain.from_iterable(part.rows() for part in found.parts()), _MOST_COUNTED)) if several else num_parts
        class_names = found.class_names
    whole = find_modality(modality)
    found_rows = [examined(whole, raw_fields(row, modality), whole.CleanConfig(), bool(class_names)) for row in rows]
    splits = Counter(row.split for row in rows)
    num_bytes = source.fingerprint(config, modality, root).get("bytes")
    return Look(
        modality=modality,
        num=num,
        is_exact=not several or num < _MOST_COUNTED,
        num_bytes=num_bytes,
        class_names=class_names,
        splits={} if None in splits else {str(split): count for split, count in splits.items()},
        rows=tuple(rows),
        good=tuple(one for one in found_rows if isinstance(one, Examined)),
    )


def raw_fields(row: RawRow, modality: str) -> dict[str, Any]:
    """The row as cleaning reads it, with every column of the modality."""
    columns = [PROBLEM, *(field.name for field in find_modality(modality).raw_fields())]
    return {"id": row.id, "split": row.split, "source": row.source, **{column: row.fields.get(column) for column in columns}}
