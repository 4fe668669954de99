"""Flow: plan first, then prepare and train what has work to do, each thing once."""

from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from components import params
from components.data.publish import DataVersion, find_version
from components.errors import UserError
from components.project import Project
from components.report.run import RunReport
from components.tracking import Tracker
from pipelines import console
from pipelines.catalog import Catalog, ModelEntry, load_catalog, params_from
from pipelines.flow_runs import HOOKS, find_record, params_of, remember_versions
from pipelines.outcomes import BuildFailed, DatasetOutcome, ModelOutcome, RunInterrupted
from pipelines.plan import ModelPlan, check_starts, plan_model
from pipelines.prepare import prepare
from pipelines.promote import mend, promote_automatically
from pipelines.reporting import dataset_entry, links, model_entry
from pipelines.sweep import describe, stand_for_missed, sweep
from pipelines.tasks import brisk_subflows
from pipelines.train import resume_command, reused_outcome, train, unfinished_outcome

LONGEST_NAME = 60


@task(name="plan models", cache_policy=NO_CACHE)
def plan_models(project: str, models: list[str], versions: dict[str, DataVersion], size: str | None, refresh: bool, seeds: int | None) -> list[ModelPlan]:
    """For each model: reuse, resume or train, and why."""
    where = Project(Path(project))
    catalog, tracker = load_catalog(where, size=size, seeds=seeds), Tracker.of(where)
    entries = [catalog.model(name) for name in models]
    return [plan_model(where, tracker, entry, versions[entry.block.dataset], refresh=refresh) for entry in entries]


def _run_name() -> str:
    """What the list of runs shows: `build vae-digits, gpt-pydocs`."""
    asked = runtime.flow_run.parameters
    others = "everything" if asked.get("everything") else f"on {asked['dataset']}" if asked.get("dataset") else "default set"
    what = ", ".join(asked.get("models") or []) or others
    return f"build {what}" if len(what) <= LONGEST_NAME else f"build {what[:LONGEST_NAME]}…"


@flow(name="build", flow_run_name=_run_name, **HOOKS)
def build(
    project: str,
    models: list[str] | None = None,
    size: str | None = None,
    refresh: bool = False,
    everything: bool = False,
    dataset: str | None = None,
    families: list[str] | None = None,
    seeds: int | None = None,
    resumes: str | None = None,
) -> list[ModelOutcome]:
    """The whole chain for the default set, the models named, everything, or those on one dataset (of ``families``); cheapest first.

    With ``seeds`` each is trained that many times, from seeds that follow its own, for the uncertainty of its figures. With ``resumes``, the id of an
    earlier flow run, it goes by the params and the data versions of that one.

    One model that fails does not keep the others from being built. What begins with a model of the same build is planned when that one is there.

    Raises:
        BuildFailed: some models failed; it carries what became of all.
    """
    where = Project(Path(project))
    stand_for_missed()
    with params_from(params_of(where, resumes) if resumes else None), where.lock("build", "genmill run", console.say), brisk_subflows():
        catalog = load_catalog(where, size=size, seeds=seeds)
        chosen = catalog.choose(models or [], everything=everything, dataset=dataset, families=families or ())
        report = RunReport(where.reports / "run.html", project=str(where.root), plan=[*catalog.datasets_of(chosen), *(entry.name for entry in chosen)])
        _mend(where)
        check_starts(where, Tracker.of(where), chosen)
        outcomes = _build_all(where, catalog, chosen, report, refresh=refresh, resumes=resumes)
        outcomes = _promote_automatically(where, chosen, outcomes, report)
    create_table_artifact(key="models", table=[outcome_row(outcome) for outcome in outcomes], description="What this build did with each model")
    report.finish(links=links(where))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise BuildFailed(outcomes)
    if all(outcome.status == "reused" for outcome in outcomes):
        # A state says in the list of runs what happened; whoever called gets its data.
        return Completed(message=f"Nothing changed: {len(outcomes)} models reused", data=outcomes)  # type: ignore[return-value]
    return outcomes


def _build_all(project: Project, catalog: Catalog, chosen: list[ModelEntry], report: RunReport, *, refresh: bool, resumes: str | None) -> list[ModelOutcome]:
    names, size, seeds = [entry.name for entry in chosen], catalog.size, catalog.seeds
    versions = _prepare_all(project, catalog, chosen, report, resumes)
    later = {entry.name for entry in chosen if entry.begins_with in names}
    early = plan_models(str(project.root), [name for name in names if name not in later], versions, size, refresh, seeds)
    plans = {plan.model: plan for plan in early}
    outcomes = []
    for entry in chosen:
        plan = plans.get(entry.name) or _planned_late(str(project.root), entry, versions, size, refresh, seeds)
        outcomes.append(_build_one(project, entry, plan, refresh, report))
    return outcomes


def _mend(project: Project) -> None:
    """Close what killed processes left open, runs and promotions; a broken ledger keeps nobody from training, and nothing from being told."""
    for sentence in describe(project, sweep(project)):
        console.say(f"[yellow]![/] {sentence}")
    _mend_guarded(project, Tracker.of(project))


def _mend_guarded(project: Project, tracker: Tracker) -> None:
    """Mend an interrupted promotion; a broken ledger keeps nobody from training, and nothing from being told."""
    try:
        mend(project, tracker)
    except UserError as error:
        console.say(f"[red]✗[/] {error}")


def _promote_automatically(project: Project, chosen: list[ModelEntry], outcomes: list[ModelOutcome], report: RunReport) -> list[ModelOutcome]:
    """Promote what params.yaml says is to be promoted without being asked for; what became of it goes into the outcomes and onto the page."""
    versions = {outcome.model: outcome for outcome in outcomes if outcome.version is not None}
    try:
        results = promote_automatically(project, [entry for entry in chosen if entry.name in versions])
    except UserError as error:
        console.say(f"[red]✗[/] {error}")
        return outcomes
    told = {result.model: result.message for result in results}
    done = [outcome.model_copy(update={"promotion": told.get(outcome.model, "")}) for outcome in outcomes]
    for outcome in done:
        if outcome.promotion:
            report.add_model(model_entry(project, Tracker.of(project), outcome))
    return done


def _planned_late(project: str, entry: ModelEntry, versions: dict[str, DataVersion], size: str | None, refresh: bool, seeds: int | None) -> ModelPlan:
    """The plan of a model that begins with one of this build; where that cannot be used, training says why."""
    try:
        (plan,) = plan_models(project, [entry.name], versions, size, refresh, seeds)
    except UserError as error:
        return ModelPlan(model=entry.name, action="train", why=str(error), identity="", data_version=versions[entry.block.dataset].version)
    return plan


def _prepare_all(project: Project, catalog: Catalog, chosen: list[ModelEntry], report: RunReport, resumes: str | None) -> dict[str, DataVersion]:
    versions: dict[str, DataVersion] = {}
    kept = find_record(project, resumes).versions if resumes else {}
    for name in catalog.datasets_of(chosen):
        if name in kept:
            versions[name] = find_version(project, name, kept[name])
            console.say(f"[green]✓[/] data {name}: {kept[name]}, as the run that goes on had it")
            continue
        if resumes:
            _refuse_changed(project, catalog, name)
        outcome = prepare(str(project.root), name, flow_name="build")
        versions[name] = outcome.version
        report.add_dataset(dataset_entry(project, outcome))
        console.say(_dataset_line(outcome))
    remember_versions(project, str(runtime.flow_run.id), {name: version.version for name, version in versions.items()})
    return versions


def _refuse_changed(project: Project, catalog: Catalog, dataset: str) -> None:
    """The data stages go by params.yaml as it stands: what a resumed run had not prepared yet must be asked for there in the same words."""
    now, then = params.load(project.params).child("datasets").value.get(dataset), catalog.source.child("datasets").value.get(dataset)
    if now != then:
        raise UserError(f"The block of dataset {dataset!r} in params.yaml changed since that run, which had not prepared it yet: `genmill run` starts anew.")


def _build_one(project: Project, entry: ModelEntry, plan: ModelPlan, refresh: bool, report: RunReport) -> ModelOutcome:
    tracker = Tracker.of(project)
    if plan.is_done and plan.run is not None:
        outcome = reused_outcome(project, tracker, entry, plan, plan.run)
        console.say(f"{_mark(outcome)} {entry.name}: version {outcome.version} reused, nothing changed; it {outcome.verdict}")
    else:
        console.say(f"[bold]{entry.name}[/]: {plan.work} ({plan.why})")
        outcome = _train_guarded(project, entry, plan, refresh)
    report.add_model(model_entry(project, tracker, outcome))
    return outcome


def _train_guarded(project: Project, entry: ModelEntry, plan: ModelPlan, refresh: bool) -> ModelOutcome:
    try:
        outcome = train(str(project.root), entry.name, plan.data_version, entry.block.size, refresh, entry.block.seeds)
    except RunInterrupted:
        raise
    except (UserError, RuntimeError) as error:
        resume = getattr(error, "resume", None) or resume_command(project, entry.name)
        console.say(f"[red]✗[/] {error}\n  Go on with: {resume}")
        return unfinished_outcome(entry, plan, f"{error} Go on with: {resume}")
    console.say(f"{_mark(outcome)} {entry.name}: version {outcome.version} is candidate and {outcome.verdict}")
    return outcome


def _mark(outcome: ModelOutcome) -> str:
    return "[green]✓[/]" if outcome.gates is not None and outcome.gates.passed else "[yellow]![/]"


def _dataset_line(outcome: DatasetOutcome) -> str:
    version = outcome.version
    rows = ", ".join(f"{count} {split}" for split, count in version.rows.items())
    dropped = f", {sum(outcome.dropped.values())} in quarantine" if outcome.dropped else ""
    state = f"new version {version.version}" if version.new else f"{version.version}, unchanged"
    return f"[green]✓[/] data {version.dataset}: {state} ({rows}{dropped}; validation {version.validation})"


def outcome_row(outcome: ModelOutcome) -> dict[str, Any]:
    """An outcome as a row of a table."""
    figure = outcome.figure(outcome.primary)
    return {
        "model": outcome.model, "version": outcome.version, "status": outcome.status, "data": f"{outcome.dataset} {outcome.data_version}",
        "figure": outcome.primary, "value": None if figure is None else round(figure.value, 4),
        "floor": None if figure is None or figure.floor is None else round(figure.floor, 4), "trained_s": round(outcome.train_s, 1),
        "evaluated_s": round(outcome.evaluate_s, 1), "gates": outcome.verdict, "promotion": outcome.promotion, "message": outcome.message,
    }  # fmt: skip
