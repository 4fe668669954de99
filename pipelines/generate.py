"""Flow: a dataset drawn by a registered model, with its lineage."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from components.project import Project
from components.registry.generating import Generated, GenerateRequest, generate_dataset
from components.tracking import Tracker
from pipelines import console
from pipelines.flow_runs import HOOKS
from pipelines.sweep import stand_for_missed
from pipelines.tasks import a_retry_can_help


class Telling:
    """Passes what drawing tells on to whoever listens to the flow."""

    def say(self, message: str) -> None:
        console.say(message)

    def progress(self, message: str, done: int, total: int) -> None:
        console.progress(message, done, total)


@task(name="draw rows", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def draw_rows(project: str, request: GenerateRequest) -> Generated:
    where = Project(Path(project))
    return generate_dataset(where, Tracker.of(where), request, Telling())


@flow(name="generate", flow_run_name="generate-{model}", **HOOKS)
def generate(project: str, model: str, rows: int, seed: int | None = None, to: str | None = None, params: dict[str, Any] | None = None) -> Generated:
    """Draw ``rows`` rows by ``model`` into the folder ``to`` (default: `data/generated/MODEL` of the project).

    With a ``seed`` the same version draws the same bytes, and what is there already is left; without one every run takes the next seed, so a schedule
    draws new samples each time. What lay in the folder is replaced: a dataset that is made of it keeps the old rows in its older versions.
    """
    stand_for_missed()
    target = Path(project) / to if to else None
    generated = draw_rows(project, GenerateRequest(model=model, rows=rows, seed=seed, to=target, params=params or {}))
    create_markdown_artifact(key="generated", markdown=f"{generated.message}\n\n`{generated.folder}`", description="What was drawn")
    return generated
