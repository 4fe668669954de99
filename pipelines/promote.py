"""Flow: gates → alias and ledger; and back."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.project import Project
from components.registry import promotion
from components.registry.promotion import PromotionResult
from components.tracking import Tracker
from pipelines.catalog import load_catalog
from pipelines.tasks import a_retry_can_help


@task(name="gates, alias and ledger", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def move_champion(project: str, model: str, version: int | None, reason: str, actor: str) -> PromotionResult:
    """Check the gates, write the intent, move the alias, write that it is done; a retry finishes what was begun."""
    where = Project(Path(project))
    gates = load_catalog(where).model(model).gates
    return promotion.promote(where, Tracker.of(where), model, gates=gates, version=version, reason=reason, actor=actor)


@task(name="alias back", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def move_back(project: str, model: str, reason: str, actor: str) -> PromotionResult:
    where = Project(Path(project))
    return promotion.rollback(where, Tracker.of(where), model, reason=reason, actor=actor)


@flow(name="promote", flow_run_name="promote-{model}")
def promote(project: str, model: str, version: int | None = None, reason: str = "", actor: str = "flow promote") -> PromotionResult:
    """Move `champion` to a version of ``model`` that passes its gates; a refusal is a record too."""
    result = move_champion(project, model, version, reason, actor)
    rows = [row.model_dump(mode="json") for row in result.gates]
    create_table_artifact(key=f"gates-{model.replace('_', '-').lower()}", table=rows, description=result.message)
    return result


@flow(name="rollback", flow_run_name="rollback-{model}")
def rollback(project: str, model: str, reason: str = "", actor: str = "flow rollback") -> PromotionResult:
    """Put the former champion of ``model`` back."""
    return move_back(project, model, reason, actor)
