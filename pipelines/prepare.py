"""Flow: collect → clean → augment → validate → publish, for one dataset."""

import time
from pathlib import Path

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from components.data import stages
from components.data.config import with_read
from components.data.publish import DataVersion, FlowOrigin
from components.data.publish import publish as publish_dataset
from components.data.stages import StageOutcome
from components.errors import UserError
from components.git import default_actor
from components.project import Project
from pipelines import console
from pipelines.automations import tell_of_version
from pipelines.catalog import load_catalog
from pipelines.flow_runs import HOOKS
from pipelines.outcomes import DatasetOutcome, WatchFailed
from pipelines.sweep import stand_for_missed
from pipelines.tasks import a_retry_can_help, brisk_subflows


@task(name="probe", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def probe(project: str, dataset: str) -> bool:
    """Look, cheaply, whether the source, the params or the code changed."""
    return stages.probe(Project(Path(project)), dataset)


@task(name="collect", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=a_retry_can_help)
def collect(project: str, dataset: str) -> StageOutcome:
    return stages.run_stage(Project(Path(project)), dataset, "collect")


@task(name="clean", cache_policy=NO_CACHE)
def clean(project: str, dataset: str) -> StageOutcome:
    return stages.run_stage(Project(Path(project)), dataset, "clean")


@task(name="augment", cache_policy=NO_CACHE)
def augment(project: str, dataset: str) -> StageOutcome:
    return stages.run_stage(Project(Path(project)), dataset, "augment")


@task(name="validate", cache_policy=NO_CACHE)
def validate(project: str, dataset: str) -> StageOutcome:
    return stages.run_stage(Project(Path(project)), dataset, "validate")


@task(name="publish", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=a_retry_can_help)
def publish(project: str, dataset: str, actor: str, flow_name: str) -> DataVersion:
    where, deployment = Project(Path(project)), str(runtime.deployment.name or "")
    origin = FlowOrigin(flow=flow_name, run_id=str(runtime.flow_run.root_flow_run_id or ""), deployment=deployment)
    # A schedule or a trigger acts for nobody in particular: whose machine the worker happens to run on says nothing.
    who = actor or (f"deployment {deployment}" if deployment else default_actor(where.root))
    return publish_dataset(where, dataset, actor=who, flow=origin)


STAGE_TASKS = {"collect": collect, "clean": clean, "augment": augment, "validate": validate}


@flow(name="prepare", flow_run_name="prepare-{dataset}", **HOOKS)
def prepare(project: str, dataset: str, actor: str = "", flow_name: str = "prepare") -> DatasetOutcome:
    """Bring ``dataset`` up to date and publish it; nothing is published unless validation passes.

    ``actor`` is who is recorded, by default the deployment or the person whose command it is; ``flow_name`` the flow that asked for it.
    """
    started = time.monotonic()
    probe(project, dataset)
    outcomes = []
    for number, (name, run) in enumerate(STAGE_TASKS.items()):
        console.progress(f"data {dataset}", number, len(STAGE_TASKS) + 1, name)
        outcomes.append(run(project, dataset))
    console.progress(f"data {dataset}", len(STAGE_TASKS), len(STAGE_TASKS) + 1, "publish")
    version = publish(project, dataset, actor, flow_name)
    if version.note:
        console.say(f"[yellow]![/] data {dataset}: {version.note}")
    if version.new:
        tell_of_version(Project(Path(project)), version)
    console.progress(f"data {dataset}", 1, 1)
    changed = any(outcome.ran for outcome in outcomes)
    _leave_table(version, outcomes)
    get_run_logger().info("%s is at %s (%s)", dataset, version.version, "new" if version.new else "unchanged")
    dropped = next((outcome.dropped for outcome in outcomes if outcome.stage == "clean"), {})
    return DatasetOutcome(version=version, changed=changed, dropped=dropped, seconds=time.monotonic() - started)


@flow(name="watch", flow_run_name="look for data", **HOOKS)
def watch(project: str, datasets: list[str] | None = None) -> list[DatasetOutcome]:
    """Look whether the sources of ``datasets`` have something new, and publish a version of each that has: new or changed files, params or code.

    By default those that the default set trains on.

    One that cannot be prepared does not keep the others from being looked at.

    Raises:
        WatchFailed: some could not be prepared.
    """
    stand_for_missed()
    catalog = load_catalog(Project(Path(project)))
    names = with_read(catalog.datasets, datasets) if datasets else catalog.datasets_of(catalog.choose([]))
    outcomes, failed = [], {}
    with brisk_subflows():
        for dataset in names:
            try:
                outcomes.append(prepare(project, dataset, flow_name="watch"))
            except (UserError, RuntimeError) as error:
                console.say(f"[red]✗[/] data {dataset}: {error}")
                failed[dataset] = str(error)
    if failed:
        raise WatchFailed(failed, len(names))
    new = [f"{outcome.version.dataset} {outcome.version.version}" for outcome in outcomes if outcome.version.new]
    message = f"New: {', '.join(new)}" if new else f"Nothing new in {', '.join(names)}"
    # A state says in the list of runs what happened; whoever called gets its data.
    return Completed(message=message, data=outcomes)  # type: ignore[return-value]


def _leave_table(version: DataVersion, outcomes: list[StageOutcome]) -> None:
    table = [{"stage": o.stage, "ran": o.ran, "rows": o.rows, "dropped": sum(o.dropped.values()), "seconds": round(o.seconds, 2)} for o in outcomes]
    create_table_artifact(
        key=f"data-{version.dataset.replace('_', '-').lower()}",
        table=table,
        description=f"{version.dataset} {version.version}, tag {version.tag}, validation {version.validation}",
    )
