"""A dataset drawn by a registered model: a folder of Parquet shards with its lineage, drawn batch by batch.

The folder appears whole or not at all; an interrupted drawing goes on behind its last finished shard.
"""

import base64
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import computed_field

from components import git
from components.data.dataset import file_sha256
from components.data.generated import FOLDER, LINEAGE, GeneratedFile, Lineage, changed_file, generated_schema, read_lineage
from components.data.published import find_trained_on, read_published
from components.data.shards import OutputFolder
from components.errors import UserError, writing
from components.evaluation.telling import Teller, counted
from components.params import Strict
from components.project import Project
from components.registry.dealing import LABEL, PROMPT, Asked, Deal, deal, generated_modality
from components.registry.loading import LoadedModel, load_package, package_folder
from components.registry.references import resolve
from components.registry.registration import CHAMPION
from components.tracking import ModelVersion, Tracker

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DRAWN = 256
"""Rows of a batch at most; of large pictures fewer."""
BATCH_VALUES = 2**22
"""Pixels and channels of the pictures of a batch at most."""
SHARD_BATCHES = 16
_REQUEST = "request.json"


class GenerateRequest(Strict):
    """What to draw."""

    model: str
    """`MODEL` (its champion), `MODEL@ALIAS`, `MODEL/3` or a run id."""
    rows: int
    seed: int | None = 0
    """None takes the one behind that of what lies in the folder, so that no sample comes twice."""
    to: Path | None = None
    """None is `data/generated/MODEL` of the project."""
    params: dict[str, Any] = {}
    """Of `wire.Parameters`; `label` and `prompt` hold for every row."""


class Generated(Strict):
    """What lies in the folder now."""

    folder: Path
    lineage: Lineage
    reused: bool
    """Whether all of it was there already."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        lineage = self.lineage
        done = "was drawn before and is unchanged" if self.reused else "drawn"
        return f"{lineage.rows:,} {lineage.modality} rows of {lineage.model}, seed {lineage.seed}, {lineage.dealt}: {done}"


def generate_dataset(project: Project, tracker: Tracker, request: GenerateRequest, tell: Teller) -> Generated:
    """Bring the folder to what is asked for; where it is that already, nothing is drawn.

    Raises:
        UserError: the reference means nothing or has no champion, the model draws nothing, or it does not take what is given.
    """
    if request.rows < 1:
        raise UserError(f"{request.rows} rows are no dataset: ask for at least one with -n.")
    version = champion_or_named(tracker, request.model)
    folder = request.to or project.data / FOLDER / version.name
    with project.lock("generate", f"genmill generate {request.model}", tell.say):
        before = _before(folder)
        asked = request.model_copy(update={"seed": _seed(request, before, version)})
        if before is not None and _is_the_same(before, asked, version) and changed_file(folder, before) is None:
            return Generated(folder=folder, lineage=before, reused=True)
        with load_package(package_folder(project, tracker, version)) as model:
            plan = deal(project, model, version, {name: str(asked.params[name]) for name in (LABEL, PROMPT) if name in asked.params})
            lineage = _lineage(project, model, version, plan, asked)
            lineage = _draw(model, plan, lineage, folder, tell)
    return Generated(folder=folder, lineage=lineage, reused=False)


def champion_or_named(tracker: Tracker, ref: str) -> ModelVersion:
    """The version that ``ref`` means; a bare name means the champion alone, for what waits to be judged should not become data unseen."""
    version = resolve(tracker, ref)
    if ref == version.name and CHAMPION not in version.aliases:
        raise UserError(f"{ref} has no champion: run `genmill promote {ref}`, or name a version, e.g. {version.ref}.")
    return version


# -- what is asked for -----------------------------------------------------------------------------------------------


def _before(folder: Path) -> Lineage | None:
    """What lies in ``folder`` already.

    Raises:
        UserError: something else does.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / LINEAGE).is_file():
        raise UserError(f"{folder} holds something else than a generated dataset: name another folder with --to.")
    return read_lineage(folder)


def _seed(request: GenerateRequest, before: Lineage | None, version: ModelVersion) -> int:
    if request.seed is not None:
        return request.seed
    return before.seed + 1 if before is not None and before.model.partition("/")[0] == version.name else 0


def _is_the_same(before: Lineage, request: GenerateRequest, version: ModelVersion) -> bool:
    """All else follows from the package."""
    known = (before.model, before.package_sha256, before.seed, before.rows, before.params)
    return known == (version.ref, version.tag("package_sha256"), request.seed, request.rows, request.params)


def _lineage(project: Project, model: LoadedModel, version: ModelVersion, plan: Deal, request: GenerateRequest) -> Lineage:
    assert request.seed is not None, "it was chosen"
    return Lineage(
        model=version.ref,
        run_id=version.run_id,
        package_sha256=version.tag("package_sha256"),
        trained_on=f"{version.tag('dataset')}@{version.tag('data_version')}",
        data_sha256=version.tag("data_sha256"),
        modality=generated_modality(model, version.ref),
        class_names=plan.class_names,
        dealt=plan.words,
        seed=request.seed,
        params=request.params,
        rows=request.rows,
        licence=_licence(project, version),
        commit=git.head(project.root) or "",
    )


def _licence(project: Project, version: ModelVersion) -> str:
    """That of the training data; nothing where this project does not know the data."""
    try:
        return read_published(project, find_trained_on(project, version.tag("dataset"), version.tag("data_version"), version.tag("data_sha256"))).licence
    except (UserError, git.GitError, FileNotFoundError, ValueError):
        return ""


# -- drawing ---------------------------------------------------------------------------------------------------------


def _draw(model: LoadedModel, plan: Deal, lineage: Lineage, folder: Path, tell: Teller) -> Lineage:
    """Draw what is missing beside ``folder``, and put it in its place."""
    part = folder.with_name(f".{folder.name}.part")
    with writing(folder):
        _resume_or_begin(part, lineage)
    output = OutputFolder(folder.parent, part)
    output.keep(_REQUEST)
    size = _batch_rows(model)
    schema = generated_schema(lineage.modality)
    files, tables = [], _tables(model, plan, lineage, schema, size, part, tell)
    for name, table in tables:
        if table is None:
            output.keep(name)
        else:
            output.write_table(name, table)
        files.append(_file(part / name))
    done = lineage.model_copy(update={"files": tuple(files)})
    (part / _REQUEST).unlink()
    output.write_bytes(LINEAGE, done.to_json().encode())
    output.prune()
    _replace(part, folder)
    return done


def _resume_or_begin(part: Path, lineage: Lineage) -> None:
    """A folder for the shards of this request; those of another one are removed."""
    wanted = Lineage(**lineage.request).to_json()
    if part.is_dir() and not ((part / _REQUEST).is_file() and (part / _REQUEST).read_text(encoding="utf-8") == wanted):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    (part / _REQUEST).write_text(wanted, encoding="utf-8")


def _tables(
    model: LoadedModel, plan: Deal, lineage: Lineage, schema: "pa.Schema", size: int, part: Path, tell: Teller
) -> "Iterator[tuple[str, pa.Table | None]]":
    """Name and rows of each shard, None for one that an earlier attempt has finished."""
    import pyarrow as pa

    starts = range(0, lineage.rows, size)
    shards = [starts[first : first + SHARD_BATCHES] for first in range(0, len(starts), SHARD_BATCHES)]
    told = counted(starts, f"drawing {lineage.rows:,} rows of {lineage.model}", tell)
    for number, shard in enumerate(shards):
        name = f"part-{number:05d}.parquet"
        finished = (part / name).is_file()
        rows: list[dict[str, Any]] = []
        for start, _ in zip(shard, told, strict=False):
            if not finished:
                rows += _batch(model, plan, lineage, start, min(start + size, lineage.rows))
        yield name, None if finished else pa.Table.from_pylist(rows, schema)
    next(told, None)


def _batch(model: LoadedModel, plan: Deal, lineage: Lineage, start: int, stop: int) -> list[dict[str, Any]]:
    """The rows from ``start`` to ``stop``, drawn by one request."""
    groups = plan.asked(start, stop, lineage.rows)
    params = {name: value for name, value in lineage.params.items() if name not in (LABEL, PROMPT)}
    answers = model.predict([{**asked.row, "n": num} for asked, num in groups], {**params, "seed": _batch_seed(lineage.seed, start)})
    drawn_with = [asked for asked, num in groups for _ in range(num)]
    assert len(answers) == stop - start, "a draw for each row"
    return [_row(lineage.modality, start + place, asked, answer) for place, (asked, answer) in enumerate(zip(drawn_with, answers, strict=True))]


def _batch_seed(seed: int, start: int) -> int:
    """Another one for every batch and every seed: a request counts on from its seed, and neighbours would meet."""
    digest = hashlib.sha256(f"{seed}:{start}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - MOST_DRAWN)


def _row(modality: str, index: int, asked: Asked, answer: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the schema of ``modality``."""
    label = asked.label or asked.drawn_label
    if modality in ("image", "image-text"):
        image = {"bytes": base64.b64decode(answer["image"]), "path": f"{index:06d}.png"}
        return {"index": index, "image": image, "label": label, "caption": asked.prompt}
    if modality == "text-pairs":
        return {"index": index, "source_text": asked.prompt, "target_text": answer["text"]}
    prompt = asked.prompt or ""
    return {"index": index, "text": f"{prompt}{answer['text']}", "title": None, "label": label, "prompt": prompt}


def _batch_rows(model: LoadedModel) -> int:
    """Rows that are drawn at once, so that memory does not grow with their number or the size of the pictures."""
    values = model.data_spec.channels * model.data_spec.image_size**2
    return max(1, min(MOST_DRAWN, BATCH_VALUES // values)) if values else MOST_DRAWN // 4


def _file(path: Path) -> GeneratedFile:
    import pyarrow.parquet as pq

    return GeneratedFile(name=path.name, rows=pq.read_metadata(path).num_rows, sha256=file_sha256(path), bytes=path.stat().st_size)


def _replace(part: Path, folder: Path) -> None:
    """``part`` in the place of ``folder``."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def parse_params(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as a person writes it, numbers as numbers.

    Raises:
        UserError: one has no `=`, or names the seed.
    """
    import yaml

    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UserError(f"{one!r} is no parameter: write NAME=VALUE, e.g. --param steps=20.")
        if name == "seed":
            raise UserError("The seed is no parameter: give it with --seed.")
        found[name] = value if name in (LABEL, PROMPT) else yaml.safe_load(value)
    return found
