"""Schedules of params.yaml as Prefect deployments, and one of them now."""

from typing import Any
from uuid import UUID

from components.errors import UserError, nearest
from components.project import Project
from pipelines.catalog import Catalog, Schedule

POOL = "genmill"
TAG = "genmill"


def deploy(project: Project, catalog: Catalog) -> dict[str, str]:
    """Make the deployments match `schedules:`: new ones made, changed ones updated, those that are gone removed.

    Returns what happened to each, by name.
    """
    from prefect.client.orchestration import get_client

    done: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        known = {found.name: found.id for found in _deployments(client, project)}
        _refuse_names_of_others(client, set(catalog.schedules) - set(known))
        flow_id = client.create_flow_from_name("build")
        for name, schedule in catalog.schedules.items():
            _apply(client, flow_id, name, schedule, project)
            done[name] = "updated" if name in known else "created"
        for name in set(known) - set(catalog.schedules):
            client.delete_deployment(known[name])
            done[name] = "removed"
    return done


def trigger(project: Project, catalog: Catalog, name: str) -> UUID:
    """Ask for a run of the schedule ``name`` now; the worker picks it up. Returns the flow run's id."""
    from prefect.client.orchestration import get_client

    if name not in catalog.schedules:
        raise UserError(f"There is no schedule {name!r} in params.yaml; {nearest(name, catalog.schedules)}")
    with get_client(sync_client=True) as client:
        deployed = {found.name: found.id for found in _deployments(client, project)}
        if name not in deployed:
            raise UserError(f"The schedule {name!r} is not deployed: run `genmill deploy`.")
        run = client.create_flow_run_from_deployment(deployed[name], parameters=_parameters(project, catalog.schedules[name]))
    return run.id


def _parameters(project: Project, schedule: Schedule) -> dict[str, Any]:
    return {"project": str(project.root), "models": list(schedule.models) or None}


def _apply(client: Any, flow_id: UUID, name: str, schedule: Schedule, project: Project) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.callables import parameter_schema

    from pipelines.build import build

    client.create_deployment(
        flow_id=flow_id,
        name=name,
        entrypoint="pipelines.build.build",
        path=str(project.root),
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(project.root)}}],
        parameters=_parameters(project, schedule),
        schedules=[DeploymentScheduleCreate(schedule=CronSchedule(cron=schedule.cron, timezone=schedule.timezone), active=schedule.active)],
        work_pool_name=POOL,
        tags=[TAG, _project_tag(project)],
        parameter_openapi_schema=parameter_schema(build).model_dump(),
        description=f"genmill: {', '.join(schedule.models) or 'the default set'} of {project.root}",
        concurrency_limit=1,
    )


def ensure_pool() -> None:
    """The work pool that the worker serves."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        _ensure_pool(client)


def _ensure_pool(client: Any) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    except ObjectAlreadyExists:
        return


def _deployments(client: Any, project: Project) -> list[Any]:
    """The deployments of this project; several may share one server."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    return list(client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, _project_tag(project)]))))


def _refuse_names_of_others(client: Any, names: set[str]) -> None:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    if not names:
        return
    taken = client.read_deployments(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=sorted(names))))
    if taken:
        raise UserError(f"The schedule name {taken[0].name!r} is in use by another project on this Prefect server: rename it in params.yaml.")


def _project_tag(project: Project) -> str:
    return f"project:{project.root}"
