"""The tracker: every call on a tracking store and its model registry."""

import getpass
import io
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.errors import UserError
from components.project import Project
from components.tracking.records import PREFIX, PROCESS_TAG, MetricPoint, ModelVersion, RunRecord
from components.tracking.store import absolute_uri, connect, default_artifacts, embedded_uri
from components.tracking.view import TRAINING, VIEW_TAG, View, view_path

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DESCRIPTION_LENGTH = 5000
"""Characters of a description that the registry keeps."""
NOTE_TAG = "mlflow.note.content"
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""Without a kind the UI asks for it when the experiment is opened."""


class Tracker:
    """A tracking store with its registry. Cheap to make: nothing is imported or opened before the first call."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        """``artifacts`` is the folder for new experiments of a store without a server; a server decides for itself."""
        self.uri = uri
        self._artifacts = artifacts or default_artifacts(uri)
        self._connected: Any = None
        self._folders: dict[str, Path | None] = {}

    @classmethod
    def of(cls, project: Project) -> "Tracker":
        """The store of MLFLOW_TRACKING_URI where that is set, else the one embedded in the project."""
        named = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
        if named:
            return cls(absolute_uri(named))
        return cls(embedded_uri(project), project.mlflow / "artifacts")

    def prepare(self) -> None:
        """Open the store, and create it where there is none: about 5 s the first time, so worth starting early."""
        self._client.search_experiments(max_results=1)

    # Runs

    def find_run(self, experiment: str, identity: str) -> RunRecord | None:
        """The newest run of ``experiment`` with that run identity, whatever its status."""
        return next(self._runs(experiment, "identity", identity), None)

    def latest_run(self, experiment: str, model: str) -> RunRecord | None:
        """The newest run of ``experiment`` that trained ``model``, whatever its status; not one that only serves another run's uncertainty."""
        return next((run for run in self._runs(experiment, "model", model) if not run.tag("replicate_of")), None)

    def runs_with(self, experiment: str, tag: str, value: str) -> list[RunRecord]:
        """The runs of ``experiment`` whose tag of ours is ``value``, newest first, whatever their status."""
        return list(self._runs(experiment, tag, value))

    def runs(self, experiment: str) -> list[RunRecord]:
        """Every run of ``experiment`` that was not deleted, newest first; none where there is no such experiment."""
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return []
        return [self._record(run, found.name) for run in self._pages(self._client.search_runs, experiment_ids=[found.experiment_id])]

    def start_run(self, experiment: str, name: str, tags: Mapping[str, Any], params: Mapping[str, Any]) -> str:
        """Open a run and return its id; nested params are written with dotted names."""
        own = {"mlflow.user": _user(), "mlflow.source.name": "genmill", "mlflow.source.type": "LOCAL", PROCESS_TAG: _this_process()}
        run = self._client.create_run(self._experiment(experiment), tags={**own, **_prefixed(tags)}, run_name=name)
        run_id: str = run.info.run_id
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in _flatten(params)]
        for start in range(0, len(flat), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=flat[start : start + PARAMS_PER_BATCH])
        return run_id

    def reopen_run(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set a run back to RUNNING, owned by this process."""
        self._client.update_run(run_id, status="RUNNING")
        self.set_tags(run_id, {**tags, PROCESS_TAG: _this_process()})

    def rename_run(self, run_id: str, name: str) -> None:
        self._client.update_run(run_id, name=name)

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        self._client.set_terminated(run_id, status=status)

    def get_run(self, run_id: str) -> RunRecord:
        """The run ``run_id``.

        Raises:
            UserError: the store has no such run.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._record(self._client.get_run(run_id))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        raise UserError(f"There is no MLflow run {run_id!r} in {self.uri}: `genmill models` lists the models with their runs.")

    def sweep_running(self) -> list[str]:
        """Set runs that still say RUNNING although their process on this machine is dead to KILLED; returns their ids."""
        experiments = [found.experiment_id for found in self._client.search_experiments()]
        running = self._client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
        stale = [run.info.run_id for run in running if _is_dead(run.data.tags.get(PROCESS_TAG, ""))]
        for run_id in stale:
            self.end_run(run_id, "KILLED")
        return stale

    def run_url(self, run_id: str, server: str | None = None) -> str:
        """The run's page in the UI of ``server`` (default: the store, when that is a server); empty without one."""
        server = server or (self.uri if self.uri.startswith("http") else "")
        if not server:
            return ""
        return f"{server.rstrip('/')}/{self.run_link(run_id)}"

    def view_urls(self, view: str, server: str | None = None) -> dict[str, str]:
        """The address of the saved view ``view`` of every experiment that has it, in the UI of ``server`` (default: as in `run_url`); empty without one."""
        server = server or (self.uri if self.uri.startswith("http") else "")
        found = [one for one in self._pages(self._client.search_experiments) if VIEW_TAG + view in one.tags] if server else []
        return {one.name: f"{server.rstrip('/')}/{view_path(one.experiment_id, view)}" for one in sorted(found, key=lambda one: one.name)}

    # What the pages of the UI say

    def describe_experiment(self, experiment: str, text: str) -> None:
        """Put ``text`` (Markdown) on top of the experiment's page."""
        experiment_id = self._experiment(experiment)
        self._client.set_experiment_tag(experiment_id, KIND_TAG, KIND)
        self._client.set_experiment_tag(experiment_id, NOTE_TAG, text)

    def save_view(self, experiment: str, view: View) -> None:
        """Offer ``view`` among the saved views of the experiment's page, in place of one of the same key."""
        self._client.set_experiment_tag(self._experiment(experiment), VIEW_TAG + view.key, view.encoded(int(time.time() * 1000)))

    def run_link(self, run_id: str) -> str:
        """The address of the run's page, as a link on any page of the same server has it."""
        return f"#/experiments/{self._client.get_run(run_id).info.experiment_id}/runs/{run_id}?{TRAINING}"

    def view_link(self, experiment: str, view: str, *, charts: bool = False) -> str:
        """The address of the experiment's page with its saved view ``view``, as a link on any page of the same server has it."""
        return view_path(self._experiment(experiment), view, charts=charts)

    @staticmethod
    def version_link(name: str, version: int) -> str:
        """The address of the version's page, as a link on any page of the same server has it."""
        return f"#/models/{name}/versions/{version}?{TRAINING}"

    def describe_run(self, run_id: str, text: str) -> None:
        """Give the run's page its description (Markdown)."""
        self._client.set_tag(run_id, NOTE_TAG, text)

    def describe_model(self, name: str, text: str) -> None:
        """Give the registered model's page its description (Markdown); the store keeps its first 5,000 characters."""
        self._client.update_registered_model(name, text[:DESCRIPTION_LENGTH])

    def describe_version(self, name: str, version: int, text: str) -> None:
        self._client.update_model_version(name, str(version), text[:DESCRIPTION_LENGTH])

    # What a run logs

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags; a name without a dot-prefix of ours or MLflow's gets ``genmill.``."""
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in _prefixed(tags).items()])

    def log_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Log any number of points; one that is logged twice stands there once."""
        from mlflow.entities import Metric

        for start in range(0, len(points), METRICS_PER_BATCH):
            batch = points[start : start + METRICS_PER_BATCH]
            self._client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp_ms, p.step) for p in batch])

    def log_image(self, run_id: str, key: str, png: bytes, step: int) -> None:
        """Log a picture so that the UI's image grid shows ``key`` of several runs side by side, step by step.

        MLflow finds pictures by the artifact name (`images/KEY+step+STEP+…`). A step that already has one keeps it,
        so that a resumed run shows each step once.
        """
        from PIL import Image

        prefix = f"images/{key.replace('/', '~')}+step+{step}+"
        if not any(found.path.startswith(prefix) for found in self._client.list_artifacts(run_id, "images")):
            self._client.log_image(run_id, Image.open(io.BytesIO(png)), key=key, step=step)

    def image_keys(self, run_id: str) -> list[str]:
        """The keys under which the run logged pictures, by name."""
        names = [path.removeprefix("images/").split("+step+")[0] for path in self.list_artifacts(run_id, "images")]
        return sorted({name.replace("~", "/") for name in names})

    def log_text(self, run_id: str, text: str, artifact_path: str) -> None:
        self._client.log_text(run_id, text, artifact_path)

    def log_bytes(self, run_id: str, data: bytes, artifact_path: str) -> None:
        folder, _, name = artifact_path.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_bytes(data)
            self._client.log_artifact(run_id, str(file), folder or None)

    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any]) -> None:
        """Note a dataset as the run's input; ``digest`` is the data version (at most 36 characters, MLflow's limit)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        assert len(digest) <= 36, "MLflow allows 36 characters for a dataset's digest"
        dataset = Dataset(name, digest, "local", json.dumps({"uri": source}), schema=None, profile=json.dumps(dict(profile)))
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    # What a run stored

    def read_artifact(self, run_id: str, artifact_path: str) -> bytes | None:
        """The bytes of one artifact, or None where the run has none of that name."""
        local = self._artifact_folder(run_id)
        if local is not None:
            return (local / artifact_path).read_bytes() if (local / artifact_path).is_file() else None
        folder = artifact_path.rpartition("/")[0]
        if artifact_path not in self.list_artifacts(run_id, folder):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return Path(self._client.download_artifacts(run_id, artifact_path, scratch)).read_bytes()

    def list_artifacts(self, run_id: str, folder: str = "") -> list[str]:
        """The names of the files directly in ``folder``, with the folder, sorted."""
        local = self._artifact_folder(run_id)
        if local is not None:
            return sorted(path.relative_to(local).as_posix() for path in (local / folder).glob("*") if path.is_file())
        return sorted(found.path for found in self._client.list_artifacts(run_id, folder or None) if not found.is_dir)

    def metric_history(self, run_id: str, key: str) -> list[MetricPoint]:
        return [MetricPoint(m.key, m.value, m.step, m.timestamp) for m in self._client.get_metric_history(run_id, key)]

    def download(self, uri: str, to: Path) -> Path:
        """Copy the folder or file at ``uri`` (a version's source, `runs:/…`, `models:/…`) below ``to``; returns where it lies."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        to.mkdir(parents=True, exist_ok=True)
        repository = get_artifact_repository(self._artifact_uri(uri), tracking_uri=self.uri, registry_uri=self.uri)
        return Path(repository.download_artifacts("", str(to)))

    @staticmethod
    def local_path(uri: str) -> Path | None:
        """The folder behind ``uri`` where it lies on this machine, else None: then `download` fetches a copy."""
        parts = urlsplit(uri)
        path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(uri) if parts.scheme == "" else None
        return path if path is not None and path.exists() else None

    # Models

    def log_model(self, run_id: str, folder: Path, *, name: str, params: Mapping[str, Any] | None = None) -> str:
        """Upload a ready-made MLflow model folder as a logged model of the run; returns its URI (`models:/m-…`)."""
        from mlflow.entities import LoggedModelOutput, Metric

        run = self._client.get_run(run_id)
        logged_params = {key: str(value) for key, value in (params if params is not None else run.data.params).items()}
        model = self._client.create_logged_model(
            run.info.experiment_id, name=name, source_run_id=run_id, tags={"mlflow.user": _user()}, params=logged_params, model_type="pyfunc"
        )
        self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        last = [self._client.get_metric_history(run_id, key)[-1] for key in run.data.metrics]
        self._client.log_batch(run_id, metrics=[Metric(m.key, m.value, m.timestamp, m.step, model_id=model.model_id) for m in last])
        return f"models:/{model.model_id}"

    def register(self, name: str, source: str, run_id: str, tags: Mapping[str, Any], description: str = "") -> ModelVersion:
        """A new version of model ``name``; the version there is when this run was registered before.

        ``description`` is Markdown (the model's card); the store keeps its first 5,000 characters.
        """
        from mlflow.exceptions import MlflowException

        known = [version for version in self.model_versions(name) if version.run_id == run_id]
        if known:
            return known[0]
        if name not in self.model_names():
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
        made = self._client.create_model_version(
            name, self._artifact_uri(source), run_id=run_id, tags=_prefixed(tags), description=description[:DESCRIPTION_LENGTH], model_id=model_id
        )
        return self.model_version(name, int(made.version))

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, Any]) -> None:
        for key, value in _prefixed(tags).items():
            self._client.set_model_version_tag(name, str(version), key, value)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        self._client.set_registered_model_tag(name, PREFIX + key, value)

    def model_tag(self, name: str, key: str) -> str:
        """Our tag ``key`` of the registered model itself, or the empty string."""
        return str(self._client.get_registered_model(name).tags.get(PREFIX + key, ""))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._client.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        self._client.delete_registered_model_alias(name, alias)

    def alias(self, name: str, alias: str) -> int | None:
        """The version that ``alias`` stands on, None where the model has no such alias."""
        return self.aliases(name).get(alias)

    def aliases(self, name: str) -> dict[str, int]:
        """Every alias of the model with its version; empty for a model that is not registered."""
        if name not in self.model_names():
            return {}
        return {alias: int(version) for alias, version in self._client.get_registered_model(name).aliases.items()}

    def model_names(self) -> list[str]:
        return sorted(model.name for model in self._pages(self._client.search_registered_models))

    def model_versions(self, name: str) -> list[ModelVersion]:
        """Every version of the model with its aliases, newest first; empty for a model that is not registered."""
        aliases = self.aliases(name)
        found = self._pages(self._client.search_model_versions, filter_string=f"name = '{name}'")
        return sorted((_version(one, aliases) for one in found), key=lambda version: -version.version)

    def versions_of_run(self, run_id: str) -> list[ModelVersion]:
        """The versions that the run registered; usually one, and none where it did not finish."""
        found = list(self._pages(self._client.search_model_versions, filter_string=f"run_id = '{run_id}'"))
        return [_version(one, self.aliases(one.name)) for one in found]

    def model_version(self, name: str, version: int) -> ModelVersion:
        """One version; asking for one that is not there is our own mistake (names are resolved by the registry first)."""
        return _version(self._client.get_model_version(name, str(version)), self.aliases(name))

    # The inside

    @property
    def _client(self) -> Any:
        if self._connected is None:
            self._connected = connect(self.uri)
        return self._connected

    def _artifact_folder(self, run_id: str) -> Path | None:
        """Where the run's artifacts lie on this machine, None where a server hands them out.

        MLflow's own client copies each file into a scratch folder, and asks the store where it is every time.
        """
        if run_id not in self._folders:
            self._note_folder(self._client.get_run(run_id).info)
        return self._folders[run_id]

    def _note_folder(self, info: Any) -> None:
        parts = urlsplit(info.artifact_uri)
        self._folders[info.run_id] = Path(unquote(parts.path)) if parts.scheme in ("", "file") else None

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            folder = (self._artifacts / name).as_uri() if self._artifacts is not None else None
            try:
                return str(self._client.create_experiment(name, artifact_location=folder, tags={KIND_TAG: KIND}))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            raise UserError(f"The MLflow experiment {name!r} in {self.uri} is deleted: restore it with `mlflow experiments restore -x {found.experiment_id}`.")
        return str(found.experiment_id)

    def _runs(self, experiment: str, tag: str, value: str) -> Iterator[RunRecord]:
        """The runs of ``experiment`` whose ``tag`` is ``value``, newest first."""
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return
        search = {"filter_string": f"tags.`{PREFIX}{tag}` = '{value}'", "order_by": ["attributes.start_time DESC"], "max_results": 20}
        yield from map(self._record, self._pages(self._client.search_runs, experiment_ids=[found.experiment_id], **search))

    def _record(self, run: Any, experiment: str = "") -> RunRecord:
        info, data = run.info, run.data
        self._note_folder(info)
        return RunRecord(
            run_id=info.run_id,
            experiment=experiment or self._client.get_experiment(info.experiment_id).name,
            name=info.run_name,
            status=info.status,
            params=dict(data.params),
            metrics=dict(data.metrics),
            tags=dict(data.tags),
            artifact_uri=info.artifact_uri,
            start_ms=info.start_time,
            end_ms=info.end_time,
        )

    def _artifact_uri(self, uri: str) -> str:
        """The address of the bytes; MLflow would look `models:/` up in a store of its own choice."""
        scheme, _, rest = uri.partition(":/")
        if scheme == "runs":
            run_id, _, path = rest.partition("/")
            return f"{self._client.get_run(run_id).info.artifact_uri}/{path}"
        if scheme == "models" and rest.startswith("m-"):
            return str(self._client.get_logged_model(rest).artifact_location)
        if scheme == "models":
            name, _, version = rest.partition("/")
            return str(self._client.get_model_version_download_uri(name, version))
        return uri

    @staticmethod
    def _pages(search: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(**arguments, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _prefixed(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key if key.startswith((PREFIX, "mlflow.")) else PREFIX + key: str(value) for key, value in tags.items()}


def _flatten(params: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; what a person's own words are the keys of stays whole, for MLflow takes no question mark in a name."""
    for key, value in params.items():
        if isinstance(value, Mapping) and all(re.fullmatch(r"[\w.-]+", str(name)) for name in value):
            yield from _flatten(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _version(found: Any, aliases: Mapping[str, int]) -> ModelVersion:
    return ModelVersion(
        name=found.name,
        version=int(found.version),
        run_id=found.run_id or "",
        source=found.source,
        tags=dict(found.tags),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == int(found.version))),
        created_ms=found.creation_timestamp,
        description=found.description or "",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _this_process() -> str:
    """Names this process on this machine; the start time tells a recycled pid."""
    import psutil

    return f"{platform.node()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def _is_dead(process: str) -> bool:
    """Whether a process tag names a process of this machine that is gone; one of another machine is left alone."""
    import psutil

    host, _, rest = process.rpartition("/")[0].rpartition("/")[0], None, process.rsplit("/", 2)[1:]
    if host != platform.node() or len(rest) != 2:
        return False
    try:
        return f"{psutil.Process(int(rest[0])).create_time():.0f}" != rest[1]
    except psutil.NoSuchProcess:
        return True
