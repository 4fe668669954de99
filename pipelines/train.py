"""Flow: train → evaluate → register, for one model."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from components import git
from components.data.publish import DataVersion, find_version
from components.evaluation.protocol import Figure
from components.project import Project
from components.registry.registration import register_package
from components.registry.stored import stored_figures
from components.registry.trainings import REPLICATE_TAG, record_trainings
from components.report.mlflow_pages import lay_out_version, run_name
from components.tracking import ModelVersion, RunRecord, Tracker
from components.training.identity import code_of, library_versions, params_sha256
from components.training.launch import launch
from components.training.spec import RunResult, RunSpec
from pipelines import console
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.flow_runs import HOOKS
from pipelines.gates import check_gates, kept_gates
from pipelines.limits import one_at_a_time
from pipelines.outcomes import ModelOutcome, RunFailed, RunInterrupted
from pipelines.plan import ModelPlan, evaluation_of, experiment_of, plan_model
from pipelines.reporting import lay_out_experiment_of
from pipelines.servers import find_server
from pipelines.tasks import a_retry_can_help

CODE_AND_LOCKS = ("components", "pipelines", "genmill", "pyproject.toml", "requirements.lock")
"""What a run's result hangs on besides its own record; data has a version of its own, and `dvc.lock` moves with every one."""


@task(name="open run", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=3, retry_condition_fn=a_retry_can_help)
def open_run(project: str, entry: ModelEntry, version: DataVersion, plan: ModelPlan, replicate_of: str = "") -> RunSpec:
    """Open the MLflow run, or the interrupted one of the same identity again; ``replicate_of`` is the identity of the run whose uncertainty it serves."""
    where = Project(Path(project))
    tracker = Tracker.of(where)
    tags = {**run_tags(where, entry, version, plan), REPLICATE_TAG: replicate_of}
    run_dir = where.runs / plan.identity[:16]
    if plan.refresh:
        shutil.rmtree(run_dir, ignore_errors=True)
    if plan.run is not None:
        tracker.reopen_run(plan.run.run_id, {"resumed_from": plan.run.status.lower(), "flow_run_id": tags["flow_run_id"], REPLICATE_TAG: replicate_of})
        run_id = plan.run.run_id
    else:
        params = {"family": entry.block.family, "size": entry.block.size, "seed": entry.block.seed, **entry.config.model_dump()}
        params |= {"augment": json.dumps(entry.augment)} if entry.augment else {}
        run_id = tracker.start_run(experiment_of(entry), run_name(entry.name, seed=entry.block.seed, identity=plan.identity), tags, params)
        tracker.log_dataset(run_id, name=version.dataset, digest=version.version, source=version.tag, context="training", profile=version.rows)
    lay_out_experiment_of(where, tracker, version.dataset)
    return RunSpec(
        model=entry.name, family=entry.block.family, size=entry.block.size, seed=entry.block.seed, config=entry.config.model_dump(),
        evaluation=evaluation_of(where, entry), dataset=entry.block.dataset, batches=entry.batches, data_version=version.version,
        data_sha256=version.sha256, identity=plan.identity, project=where.root, run_dir=run_dir,
        tracking_uri=tracker.uri, experiment=experiment_of(entry), mlflow_run_id=run_id, start=plan.start, augment=entry.augment,
    )  # fmt: skip


@task(name="train and evaluate", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=3, retry_condition_fn=a_retry_can_help)
def train_and_evaluate(spec: RunSpec) -> RunResult:
    """Train, evaluate and package in one child process; a retry goes on from the last checkpoint."""
    resume = resume_command(Project(spec.project), spec.model)
    result = launch(spec, on_event=console.events_of(spec.model))
    if result.status == "interrupted":
        raise RunInterrupted(f"{spec.model} was interrupted at step {result.steps}; its checkpoint is kept.", resume=resume)
    if result.status == "diverged":
        raise RunFailed(f"{spec.model}: {result.message}", resume=resume)
    if result.status == "failed":
        raise RuntimeError(f"{spec.model}: {result.message}")
    return result


@task(name="register", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=3, retry_condition_fn=a_retry_can_help)
def register(project: str, spec: RunSpec, result: RunResult) -> ModelVersion:
    """A new version in the registry with the alias `candidate`."""
    assert result.package is not None, "a finished run has its package"
    where = Project(Path(project))
    tracker = Tracker.of(where)
    version = register_package(tracker, run_id=spec.mlflow_run_id, folder=result.package)
    tracker.set_tags(spec.mlflow_run_id, {"registered": version.version, "train_s": round(result.train_s, 2), "evaluate_s": round(result.evaluate_s, 2)})
    lay_out_version(tracker, version)
    lay_out_experiment_of(where, tracker, spec.dataset)
    return version


@task(name="uncertainty over trainings", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=3, retry_condition_fn=a_retry_can_help)
def measure_uncertainty(project: str, run_id: str, others: list[str], headline: list[str]) -> tuple[Figure, ...]:
    """The figures of a run with what the same training measured from other seeds."""
    tracker = Tracker.of(Project(Path(project)))
    figures = record_trainings(tracker, run_id, others, headline)
    run = tracker.get_run(run_id)
    lay_out_version(tracker, tracker.model_version(run.tag("model"), int(run.tag("registered"))))
    return figures


@flow(name="train", flow_run_name="train-{model}", **HOOKS)
def train(project: str, model: str, data_version: str, size: str | None = None, refresh: bool = False, seeds: int | None = None) -> ModelOutcome:
    """Train ``model`` on one version of its dataset, evaluate it and register it as candidate; then the same from other seeds, where that is asked for."""
    where = Project(Path(project))
    entry = load_catalog(where, size=size, seeds=seeds).model(model)
    version = find_version(where, entry.block.dataset, data_version)
    tracker = Tracker.of(where)
    with one_at_a_time(model):
        plan = plan_model(where, tracker, entry, version, refresh=refresh)
        if plan.action == "reuse" and plan.run is not None:
            outcome = reused_outcome(where, tracker, entry, plan, plan.run)
        else:
            outcome = _train_and_register(where, tracker, entry, version, plan)
        if plan.replicates and not plan.is_done:
            outcome = _replicated(where, tracker, entry, version, plan, outcome)
    assert outcome.version is not None, "what was trained is registered"
    outcome = outcome.model_copy(update={"gates": check_gates(project, model, outcome.version)})
    _leave_artifacts(where, tracker, outcome)
    get_run_logger().info("%s version %s on %s %s", model, outcome.version, version.dataset, version.version)
    return outcome


def _train_and_register(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, plan: ModelPlan) -> ModelOutcome:
    spec = open_run(str(project.root), entry, version, plan)
    with _ended(tracker, spec):
        result = train_and_evaluate(spec)
        registered = register(str(project.root), spec, result)
    return _outcome(entry, plan, result, registered)


def _replicated(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, plan: ModelPlan, outcome: ModelOutcome) -> ModelOutcome:
    """The same training from the other seeds, which registers nothing; returns ``outcome`` with figures that know how far they move."""
    others = []
    for number, (one, other) in enumerate(zip(entry.replicates(), plan.replicates, strict=True), start=2):
        if other.action == "reuse" and other.run is not None:
            others.append(other.run.run_id)
            continue
        console.say(f"  {entry.name}: training {number} of {entry.block.seeds}, seed {one.block.seed}")
        spec = open_run(str(project.root), one, version, other, replicate_of=plan.identity)
        with _ended(tracker, spec):
            train_and_evaluate(spec)
        others.append(spec.mlflow_run_id)
    figures = measure_uncertainty(str(project.root), outcome.run_id, others, list(entry.family.headline))
    return outcome.model_copy(update={"figures": figures, "status": "trained" if outcome.status == "reused" else outcome.status})


@contextlib.contextmanager
def _ended(tracker: Tracker, spec: RunSpec) -> Iterator[None]:
    """The MLflow run of ``spec`` ends as the block does."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (RunInterrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracker.end_run(spec.mlflow_run_id, status)


def run_tags(project: Project, entry: ModelEntry, version: DataVersion, plan: ModelPlan) -> dict[str, str]:
    """The tags that make an audit a read."""
    return {
        "model": entry.name, "family": entry.block.family, "size": entry.block.size, "identity": plan.identity,
        "flow_run_id": str(runtime.flow_run.root_flow_run_id or ""), "deployment": str(runtime.deployment.name or ""),
        "git_commit": git.head(project.root) or "", "dirty": str(git.is_dirty(project.root, CODE_AND_LOCKS)).lower(),
        "dataset": version.dataset, "data_version": version.version, "data_sha256": version.sha256, "data_commit": version.commit,
        "validation": version.validation,
        "params_sha256": params_sha256(entry.config, entry.block.seed, evaluation_of(project, entry), plan.start, entry.augment),
        "init_from": plan.start.ref if plan.start else "", "init_from_sha256": plan.start.sha256 if plan.start else "",
        "code_sha256": code_of(entry.block.family, entry.batches), "resumed_from": "", "libraries": json.dumps(library_versions()),
        "primary": entry.family.primary, "pid": str(os.getpid()),
    }  # fmt: skip


def reused_outcome(project: Project, tracker: Tracker, entry: ModelEntry, plan: ModelPlan, run: RunRecord) -> ModelOutcome:
    """The outcome of a run that is finished already, from what MLflow stores of it."""
    return unfinished_outcome(entry, plan, "").model_copy(
        update={
            "status": "reused",
            "run_id": run.run_id,
            "version": int(run.tag("registered")),
            "figures": stored_figures(tracker, run.run_id),
            "gates": kept_gates(project, tracker, entry, run.run_id, int(run.tag("registered"))),
            "train_s": float(run.tag("train_s") or 0),
            "evaluate_s": float(run.tag("evaluate_s") or 0),
        }
    )


def unfinished_outcome(entry: ModelEntry, plan: ModelPlan, message: str) -> ModelOutcome:
    """The outcome of a model that could not be built; ``message`` says why."""
    return ModelOutcome(
        model=entry.name, family=entry.block.family, size=entry.block.size, dataset=entry.block.dataset, data_version=plan.data_version,
        status="failed", identity=plan.identity, primary=entry.family.primary, message=message,
    )  # fmt: skip


def resume_command(project: Project, model: str) -> str:
    return f"genmill run {model} --project {project.root}"


def _outcome(entry: ModelEntry, plan: ModelPlan, result: RunResult, registered: ModelVersion) -> ModelOutcome:
    return unfinished_outcome(entry, plan, "").model_copy(
        update={
            "status": "resumed" if plan.action == "resume" else "trained",
            "run_id": result.mlflow_run_id,
            "version": registered.version,
            "figures": result.figures,
            "train_s": result.train_s,
            "evaluate_s": result.evaluate_s,
        }
    )


def _leave_artifacts(project: Project, tracker: Tracker, outcome: ModelOutcome) -> None:
    key = outcome.model.replace("_", "-").lower()
    create_table_artifact(key=f"figures-{key}", table=figure_rows(outcome.figures), description=f"{outcome.model} version {outcome.version} on the test split")
    server = find_server(project, "mlflow")
    link = tracker.run_url(outcome.run_id, server.url if server else None)
    if link:
        create_link_artifact(key=f"mlflow-{key}", link=link, link_text=f"{outcome.model} in MLflow", description="Its curves, samples, figures and package")


def figure_rows(figures: tuple[Figure, ...]) -> list[dict[str, Any]]:
    """Figures as rows of a table."""
    return [
        {"figure": f.name, "value": round(f.value, 5), "floor": None if f.floor is None else round(f.floor, 5), "spread": f.spread, "n": f.identity.num_samples}
        for f in figures
    ]
