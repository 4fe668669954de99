"""Schedules and triggers of params.yaml as Prefect deployments and automations, and one of them now."""

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from components.errors import UserError, nearest
from components.params import Strict
from components.project import Project
from pipelines.automations import apply_automations
from pipelines.catalog import Catalog
from pipelines.flow_runs import project_tag
from pipelines.schedules import Schedule, Trigger

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.responses import DeploymentResponse

POOL = "genmill"
TAG = "genmill"
ENTRYPOINTS = {"build": "pipelines.build.build", "watch": "pipelines.prepare.watch", "generate": "pipelines.generate.generate"}
"""The deployed flows by name."""


class Spec(Strict):
    """A deployment as it should be."""

    name: str
    flow: str
    parameters: dict[str, Any]
    description: str
    pool: str
    schedule: Schedule | None = None
    """None for one that a trigger starts."""

    @property
    def digest(self) -> str:
        """Of everything that is written: a deployment that carries it needs no change."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def specs(project: Project, catalog: Catalog, pool: str = POOL) -> list[Spec]:
    """What params.yaml asks for."""
    scheduled = [_of_schedule(project, name, schedule, pool) for name, schedule in catalog.schedules.items()]
    return scheduled + [_of_trigger(project, name, trigger, pool) for name, trigger in catalog.triggers.items()]


def deploy(project: Project, catalog: Catalog, pool: str = POOL) -> dict[str, str]:
    """Make the deployments and automations match `schedules:`, `triggers:` and `notify:`: what is new is made, what changed updated, what is gone removed.

    Returns what happened to each, by name.

    Raises:
        UserError: a name belongs to another project on this server, or the work pool or the notification block is not there.
    """
    from prefect.client.orchestration import get_client

    wanted = specs(project, catalog, pool)
    done: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        _ensure_pool(client, pool)
        flows = {flow: client.create_flow_from_name(flow) for flow in {spec.flow for spec in wanted}}
        known = {(found.name, found.flow_id): found for found in _deployments(client, project)}
        _refuse_names_of_others(client, {spec.name for spec in wanted} - {name for name, _ in known})
        ids: dict[str, UUID] = {}
        for spec in wanted:
            found = known.pop((spec.name, flows[spec.flow]), None)
            done[spec.name] = "created" if found is None else "unchanged" if found.version == spec.digest else "updated"
            ids[spec.name] = found.id if found is not None and found.version == spec.digest else _apply(client, flows[spec.flow], spec, project)
        for (name, _), found in known.items():
            client.delete_deployment(found.id)
            done.setdefault(name, "removed")
        apply_automations(client, project, catalog, ids)
    return done


def trigger(project: Project, catalog: Catalog, name: str) -> UUID:
    """Ask for a run of the schedule or trigger ``name`` now; the worker picks it up. Returns the flow run's id."""
    from prefect.client.orchestration import get_client

    known = [*catalog.schedules, *catalog.triggers]
    if name not in known:
        raise UserError(f"There is no schedule or trigger {name!r} in params.yaml; {nearest(name, known)}")
    with get_client(sync_client=True) as client:
        deployed = {found.name: found.id for found in _deployments(client, project)}
        if name not in deployed:
            raise UserError(f"The schedule {name!r} is not deployed: run `genmill deploy`.")
        return client.create_flow_run_from_deployment(deployed[name]).id


def make_up_for_missed(project: Project, catalog: Catalog, killed: Collection[str]) -> list[str]:
    """Before a worker starts: of the times that passed meanwhile, each schedule runs once, or not at all with `catch_up: false`.

    A run whose process was killed counts as such a time, and the one that makes up for it goes on where it stopped; ``killed`` has the ids of their
    deployments. Returns a sentence for each schedule that something is made up for.
    """
    from prefect.client.orchestration import get_client

    from pipelines.sweep import cancel_missed, close_unbegun

    told = []
    with get_client(sync_client=True) as client:
        for found in _deployments(client, project):
            schedule = catalog.schedules.get(found.name)
            catch_up = schedule is None or (schedule.catch_up and schedule.active)
            broken = close_unbegun(client, found.id) > 0 or str(found.id) in killed
            why = "`genmill up` has the newest made up for" if catch_up else "catch_up is false"
            left = cancel_missed(client, found.id, why, keep_newest=catch_up)
            if catch_up and broken and not left:
                client.create_flow_run_from_deployment(found.id)
            if catch_up and (left or broken):
                told.append(f"{found.name}: a run was missed or killed while nothing ran here; it is made up for, once")
    return told


def _of_schedule(project: Project, name: str, schedule: Schedule, pool: str) -> Spec:
    parameters: dict[str, Any] = {"project": str(project.root)}
    if schedule.flow == "build":
        parameters["models"] = list(schedule.models) or None
        what = f"build {', '.join(schedule.models) or 'the default set'}"
    elif schedule.flow == "prepare":
        parameters["datasets"] = list(schedule.datasets) or None
        what = f"prepare {', '.join(schedule.datasets) or 'the datasets of the default set'} where the source changed"
    else:
        parameters |= {"model": schedule.models[0], "rows": schedule.rows, "seed": schedule.seed, "to": schedule.to, "params": schedule.params}
        what = f"generate {schedule.rows} samples of {schedule.models[0]}"
    flow = "watch" if schedule.flow == "prepare" else schedule.flow
    return Spec(name=name, flow=flow, parameters=parameters, description=f"{what}; {schedule}; project {project.root}", pool=pool, schedule=schedule)


def _of_trigger(project: Project, name: str, trigger: Trigger, pool: str) -> Spec:
    parameters = {"project": str(project.root), "models": list(trigger.models)}
    description = f"build {', '.join(trigger.models)} when {trigger.dataset} has a new version; project {project.root}"
    return Spec(name=name, flow="build", parameters=parameters, description=description, pool=pool)


def _apply(client: "SyncPrefectClient", flow_id: UUID, spec: Spec, project: Project) -> UUID:
    from importlib import import_module

    from prefect.utilities.callables import parameter_schema

    module, _, function = ENTRYPOINTS[spec.flow].rpartition(".")
    return client.create_deployment(
        flow_id=flow_id,
        name=spec.name,
        version=spec.digest,
        entrypoint=ENTRYPOINTS[spec.flow],
        path=str(project.root),
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(project.root)}}],
        parameters=spec.parameters,
        schedules=_schedules_of(spec),
        work_pool_name=spec.pool,
        tags=[TAG, project_tag(project)],
        parameter_openapi_schema=parameter_schema(getattr(import_module(module), function)).model_dump(),
        description=spec.description,
    )


def _schedules_of(spec: Spec) -> "list[DeploymentScheduleCreate]":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    schedule = spec.schedule
    if schedule is None:
        return []
    when: CronSchedule | IntervalSchedule
    if schedule.every is not None:
        when = IntervalSchedule(interval=schedule.every, anchor_date=datetime(2026, 1, 1, tzinfo=UTC), timezone=schedule.timezone)
    else:
        assert schedule.cron is not None, "a schedule has one of the two"
        when = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    return [DeploymentScheduleCreate(schedule=when, active=schedule.active)]


def ensure_pool() -> None:
    """The work pool that the worker serves."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        _ensure_pool(client, POOL)


def _ensure_pool(client: "SyncPrefectClient", pool: str) -> None:
    """Our own pool is made where it is missing; what another pool runs on is for its owner to say."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    if pool != POOL:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            raise UserError(f"There is no work pool {pool!r} on this Prefect server: make one with `prefect work-pool create`, or leave --pool out.") from None
        return
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    except ObjectAlreadyExists:
        return


def _deployments(client: "SyncPrefectClient", project: Project) -> "list[DeploymentResponse]":
    """The deployments of this project; several may share one server."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    return list(client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, project_tag(project)]))))


def _refuse_names_of_others(client: "SyncPrefectClient", names: set[str]) -> None:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    if not names:
        return
    taken = client.read_deployments(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=sorted(names))))
    if taken:
        raise UserError(f"The name {taken[0].name!r} is in use by another project on this Prefect server: rename it in params.yaml.")


def _project_tag(project: Project) -> str:
    return f"project:{project.root}"
