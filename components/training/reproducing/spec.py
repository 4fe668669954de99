"""What a run was given, as it stored it: only what a reproduction must know is looked at, the rest is passed on to the code that wrote it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from components.errors import UserError
from components.params import Strict
from components.registry.package import file_hashes, files_digest
from components.registry.references import resolve
from components.tracking import SPEC_ARTIFACT, ModelVersion, RunRecord, Tracker
from components.training.start import WEIGHTS
from components.training.starts import folder_sha256


class StoredStart(Strict):
    """Where the weights came from."""

    model_config = ConfigDict(frozen=True, extra="allow")

    ref: str
    sha256: str
    folder: Path
    kind: Literal["package", "transformers"] = "package"


class StoredExtractor(Strict):
    """What looks at images besides the dataset's own extractor."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str = ""
    """Relative to the project; empty where it is the own one."""

    def located(self, root: Path) -> "StoredExtractor":
        """With the whole path: a reproduction has a project of its own, without these files."""
        return self.model_copy(update={"path": str(root / self.path)}) if self.path else self


class StoredEvaluation(Strict):
    """How the run was scored."""

    model_config = ConfigDict(frozen=True, extra="allow")

    extractor: StoredExtractor | None = None


class StoredSpec(Strict):
    """A stored run.json. Fields that are not named here stay as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: str
    family: str
    size: str
    seed: int
    start: StoredStart | None = None
    dataset: str
    batches: str = ""
    evaluation: StoredEvaluation | None = None
    data_version: str
    data_sha256: str
    identity: str
    project: Path
    run_dir: Path
    tracking_uri: str
    experiment: str
    mlflow_run_id: str

    def placed(self, root: Path, places: Mapping[str, Any]) -> "StoredSpec":
        """As it is in ``places``, with what the user named by a path still below the project ``root``."""
        if self.evaluation is None or self.evaluation.extractor is None:
            return self.model_copy(update=places)
        evaluation = self.evaluation.model_copy(update={"extractor": self.evaluation.extractor.located(root)})
        return self.model_copy(update={**places, "evaluation": evaluation})

    def as_json(self) -> str:
        """Without what was not stored: the code that wrote it may not know it."""
        return self.model_dump_json(indent=1, exclude_unset=True)


def stored_spec(tracker: Tracker, run: RunRecord) -> StoredSpec:
    """The spec of ``run``.

    Raises:
        UserError: it stored none, or another one than it said.
    """
    content = tracker.read_artifact(run.run_id, SPEC_ARTIFACT)
    if content is None:
        raise UserError(f"The run {run.run_id} stored no params ({SPEC_ARTIFACT}), so it cannot be repeated: train the model anew with `genmill run`.")
    recorded = run.tag("spec_sha256")
    if recorded and hashlib.sha256(content).hexdigest() != recorded:
        raise UserError(f"{SPEC_ARTIFACT} of the run {run.run_id} is not what the run stored: restore that artifact; `genmill audit` names what differs.")
    try:
        return StoredSpec.model_validate_json(content)
    except ValidationError:
        raise UserError(f"{SPEC_ARTIFACT} of the run {run.run_id} cannot be understood: train the model anew with `genmill run`.") from None


def find_start(tracker: Tracker, spec: StoredSpec, scratch: Path) -> StoredStart | None:
    """The weights that the run began with, byte for byte; a package that lies elsewhere is copied below ``scratch``.

    Raises:
        UserError: they are not there any more.
    """
    start = spec.start
    if start is None:
        return None
    folder = start.folder if start.kind == "transformers" else _package(tracker, start, scratch)
    if folder is None or not (folder / WEIGHTS).is_file() or _sha256(start, folder) != start.sha256:
        what = "version" if start.kind == "package" else "folder"
        raise UserError(f"{spec.model} began with {start.ref} (sha256 {start.sha256[:12]}…), which is not here as it was: restore that {what}, then run again.")
    return start.model_copy(update={"folder": folder})


def _package(tracker: Tracker, start: StoredStart, scratch: Path) -> Path | None:
    try:
        version: ModelVersion = resolve(tracker, start.ref)
    except UserError:
        return None
    return (tracker.local_path(version.source) or tracker.download(version.source, scratch / "start")) / "artifacts"


def _sha256(start: StoredStart, folder: Path) -> str:
    if start.kind == "package":
        return files_digest(file_hashes(folder.parent))
    try:
        return folder_sha256(folder)
    except FileNotFoundError:
        return ""
