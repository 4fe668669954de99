"""Tasks around the gates: check a version, keep the verdicts with it, and show them in Prefect."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.errors import UserError
from components.project import Project
from components.registry import checks
from components.registry.gates import describe
from components.registry.registration import CHAMPION
from components.registry.verdicts import GatesTable, store_table, stored_table
from components.report.mlflow_pages import lay_out_version
from components.tracking import ModelVersion, Tracker
from components.training.rescore import incomparable, rescore
from pipelines import console
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.tasks import a_retry_can_help


@task(name="check gates", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2, retry_condition_fn=a_retry_can_help)
def check_gates(project: str, model: str, version: int) -> GatesTable:
    """Hold a version against the gates of params.yaml, its champion scored anew where that is needed.

    The verdicts are kept in its run, as tags, and as a table in Prefect.
    """
    where = Project(Path(project))
    tracker, entry = Tracker.of(where), load_catalog(where).model(model)
    found = tracker.model_version(model, version)
    if entry.gates.champion is not None:
        compare_fairly(where, tracker, found)
    table = checks.check_gates(where, tracker, found, entry.gates)
    store_table(tracker, found, table)
    lay_out_version(tracker, found)
    rows = [row.model_dump(mode="json") for row in table.rows]
    verdict = "passed its gates" if table.passed else "failed its gates"
    create_table_artifact(key=f"gates-{model.replace('_', '-').lower()}", table=rows, description=f"{found.ref} {verdict}: {describe(table.rows)}")
    return table


def compare_fairly(project: Project, tracker: Tracker, version: ModelVersion) -> None:
    """Have the champion scored under the protocol of ``version`` where its headline figures cannot be compared; where that fails, the gate says so."""
    champion = checks.champion_beside(tracker, version)
    if champion is None:
        return
    missing = incomparable(tracker, champion, version, checks.headline(version))
    if not missing:
        return
    console.say(f"  {champion.ref} is scored again under the protocol of {version.ref}, to compare {', '.join(missing)}")
    try:
        rescore(project, tracker, champion, version, console.events_of(champion.ref))
    except UserError as error:
        console.say(f"[yellow]![/] {error}")


def kept_gates(project: Project, tracker: Tracker, entry: ModelEntry, run_id: str, version: int) -> GatesTable:
    """The verdicts that stand for a version that is reused; checked anew where they failed, or rules or champion have changed since."""
    kept = stored_table(tracker, run_id)
    if kept is not None and kept.version == version and checks.still_holds(kept, entry.gates, tracker.alias(entry.name, CHAMPION)):
        return kept
    return check_gates(str(project.root), entry.name, version)
