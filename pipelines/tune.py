"""Flow: try settings of one model, confirm the best from fresh seeds, and offer them."""

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from components.data.publish import DataVersion
from components.errors import UserError
from components.evaluation.validation import require_validation
from components.params import Strict
from components.project import Project
from components.report.page import duration
from components.report.tuning import TuningText, write_tuning_page
from components.tracking import Tracker
from components.training.launch import Event
from components.training.spec import RunSpec
from components.tuning.confirmation import confirm_best
from components.tuning.records import Objectives, Search, TrialRecord
from components.tuning.runs import TrialInterrupted, ended, log_trial, open_search
from components.tuning.study import Study, described
from components.tuning.trial import run_confirmation, run_trial
from components.tuning.verdict import Verdict, best_trial
from components.tuning.writing import settings_line, write_settings
from pipelines import console
from pipelines.catalog import ModelEntry, load_catalog
from pipelines.flow_runs import HOOKS
from pipelines.outcomes import RunInterrupted
from pipelines.plan import check_starts, evaluation_of, experiment_of, start_of
from pipelines.prepare import prepare
from pipelines.servers import find_server
from pipelines.sweep import describe, sweep
from pipelines.tasks import brisk_subflows

PAGE = "tuning.html"


class TuneOutcome(Strict):
    """What came of a search."""

    model: str
    study: str
    objectives: Objectives
    trials: tuple[TrialRecord, ...]
    best: int
    """Number of the best trial, from 0, which has the present settings."""
    verdict: Verdict | None = None
    """None where trials are still to be done."""
    line: str = ""
    """What the verdict offers, as a line of the model's block."""
    written: bool = False
    """Whether that was put into params.yaml."""
    page: Path
    run_id: str
    resume: str = ""
    """The command that goes on, where something is still to be done."""


@task(name="trial", task_run_name="trial {asked}", cache_policy=NO_CACHE)
def try_settings(search: Search, parent: str, asked: int, params: dict[str, Any], bounds: dict[int, float], trials: int) -> TrialRecord:
    """One trial in a child process, whatever becomes of it."""
    return run_trial(search, Tracker(search.spec.tracking_uri), parent, asked, params, bounds, _progress_of(f"{search.model} trial {asked + 1} of {trials}"))


@task(name="confirm", task_run_name="confirm trial {number} from seed {seed}", cache_policy=NO_CACHE)
def confirm(search: Search, parent: str, number: int, params: dict[str, Any], seed: int) -> TrialRecord:
    """The settings of a trial once more, from a seed that no trial had."""
    tell = _progress_of(f"{search.model} {_named(number)} seed {seed}")
    return run_confirmation(search, Tracker(search.spec.tracking_uri), parent, number, params, seed, tell)


def _progress_of(label: str) -> Callable[[Event], None]:
    """How far a trial is; what its evaluation has to say would be said as often as there are trials."""
    tell = console.events_of(label)
    return lambda event: tell(event) if event.get("event") == "progress" else None


@flow(name="tune", flow_run_name="tune-{model}", **HOOKS)
def tune(
    project: str,
    model: str,
    trials: int = 20,
    steps: int | None = None,
    seeds: int = 3,
    timeout_s: float | None = None,
    size: str | None = None,
    write: bool = False,
) -> TuneOutcome:
    """Go on with the search for ``model`` until there are ``trials``; then confirm the best from ``seeds`` fresh seeds, and offer it, or ``write`` it.

    No trial begins later than ``timeout_s``; what is missing then is left to the next time.
    """
    where = Project(Path(project))
    catalog = load_catalog(where, size=size)
    entry = catalog.model(model)
    again = _command(where, entry, trials, steps, seeds, size)
    deadline = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    with where.lock("build", "genmill tune", console.say), brisk_subflows():
        for sentence in describe(where, sweep(where)):
            console.say(f"[yellow]![/] {sentence}")
        tracker = Tracker.of(where)
        check_starts(where, tracker, [entry])
        *_, prepared = [prepare(project, dataset, flow_name="tune") for dataset in catalog.datasets_of([entry])]
        search = search_of(where, tracker, entry, prepared.version, steps)
        study = Study(search, where.state / "tuning" / f"{model}.journal")
        _tell_where(study, trials)
        parent = open_search(tracker, search)
        try:
            with ended(tracker, parent) as end:
                _try_all(study, tracker, parent, trials, deadline, again, where)
                outcome = _concluded(study, tracker, parent, trials, seeds, deadline, again, where, write)
                end("FINISHED")
                return outcome
        except TrialInterrupted:
            raise RunInterrupted("The search was interrupted; the trials that are done, and the last checkpoint, are kept.", resume=again) from None


def search_of(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, steps: int | None) -> Search:
    """The search for ``entry`` on ``version``, checked before anything is trained."""
    from components.data.dataset import Dataset

    require_validation(Dataset.open(project, entry.block.dataset))
    block = entry.block
    spec = RunSpec(
        model=entry.name, family=block.family, size=block.size, seed=block.seed, config=entry.config.model_dump(), evaluation=evaluation_of(project, entry),
        dataset=block.dataset, batches=entry.batches, data_version=version.version, data_sha256=version.sha256, identity="", project=project.root,
        run_dir=project.state / "tuning", tracking_uri=tracker.uri, experiment=experiment_of(entry), mlflow_run_id="", start=start_of(project, tracker, entry),
        augment=entry.augment,
    )  # fmt: skip
    return Search(spec=spec, space=entry.space, steps=steps or entry.config.max_steps, validation=version.validation)


def _tell_where(study: Study, trials: int) -> None:
    search, changed = study.search, study.what_changed() if study.is_new else []
    what = f"{search.model}: {trials} trials of {search.steps} steps over {', '.join(search.space)}, scored on the validation split"
    console.say(f"[bold]{search.model}[/]{what.removeprefix(search.model)}")
    if changed:
        console.say(f"  a new search begins, because of other {', '.join(changed)} than in the one before")
    elif study.records:
        console.say(f"  {len(study.records)} of them are done already")


def _try_all(study: Study, tracker: Tracker, parent: str, trials: int, deadline: float, again: str, where: Project) -> None:
    """Trial by trial; what each one left is kept before the next begins."""
    search, began, begun_with = study.search, time.monotonic(), len(study.records)
    while (done := len(study.records)) < trials and time.monotonic() < deadline:
        if study.is_new:
            record = try_settings(search, parent, 0, search.present, {}, trials)
            if record.status != "finished":
                raise UserError(f"{search.model} cannot be trained with its present settings ({record.reason}): mend them before you search for better ones.")
            study.begin(record)
        else:
            number, params = study.ask()
            record = try_settings(search, parent, number, params, study.bounds(params), trials)
            study.tell(record)
        left = (time.monotonic() - began) / (done + 1 - begun_with) * (trials - done - 1)
        console.say(_trial_line(study, record, trials, left))
        log_trial(tracker, parent, study, record)
        _write_page(study, tracker, parent, where, TuningText(verdict=None, wanted=trials, resume=again))


def _concluded(
    study: Study, tracker: Tracker, parent: str, trials: int, seeds: int, deadline: float, again: str, where: Project, write: bool
) -> TuneOutcome:  # fmt: skip
    search, records, aims = study.search, study.records, study.objectives
    best = best_trial(records, aims)
    verdict = _verdict(study, parent, best, seeds, deadline) if len(records) >= trials else None
    line = settings_line(_given(where, search.model), verdict.settings) if verdict and verdict.offered else ""
    outcome = TuneOutcome(
        model=search.model, study=search.study, objectives=aims, trials=tuple(records), best=best.number, verdict=verdict, line=line, run_id=parent,
        page=_page(where, search), resume="" if verdict else again,
    )  # fmt: skip
    _write_page(study, tracker, parent, where, TuningText(verdict=verdict, line=line, wanted=trials, resume=outcome.resume))
    tracker.log_bytes(parent, outcome.page.read_bytes(), PAGE)
    said = verdict.sentence if verdict else f"{len(records)} of {trials} trials are done."
    tracker.describe_run(parent, f"{said}\n\nBest: trial {best.number + 1}, {described(best.params)}. The page of the search is `{PAGE}` among the artifacts.")
    if write and verdict and verdict.offered:
        write_settings(where.params, search.model, verdict.settings)
        outcome = outcome.model_copy(update={"written": True})
    return outcome


def _verdict(study: Study, parent: str, best: TrialRecord, seeds: int, deadline: float) -> Verdict | None:
    search, aims = study.search, study.objectives

    def train(number: int, params: Mapping[str, Any], seed: int) -> TrialRecord:
        record = confirm(search, parent, number, dict(params), seed)
        figure = record.figure(aims.primary)
        console.say(f"  {_named(number)}, seed {seed}: {f'{figure.name} {figure.value:.4g}' if figure else record.reason}")
        return record

    if best.number:
        what = f"it and the present settings are trained from {seeds} fresh seeds of {search.config.max_steps} steps"
        console.say(f"  trial {best.number + 1} was the best; {what}")
    return confirm_best(study, seeds, train, lambda: time.monotonic() < deadline)


def _named(number: int) -> str:
    return "present settings" if number == 0 else f"trial {number + 1}"


def _trial_line(study: Study, record: TrialRecord, trials: int, left: float) -> str:
    aims = study.objectives
    figures = ", ".join(f"{name} {figure.value:.4g}" for name in aims.names if (figure := record.figure(name)) is not None)
    mark = {"finished": "[green]✓[/]", "pruned": "[yellow]-[/]"}.get(record.status, "[red]✗[/]")
    best = f"the best is trial {best_trial(study.records, aims).number + 1}"
    rest = f"; about {duration(left)} left" if left else ""
    return f"{mark} trial {record.number + 1} of {trials}: {figures or record.reason} ({described(record.params)}); {best}{rest}"


def _write_page(study: Study, tracker: Tracker, parent: str, where: Project, text: TuningText) -> None:
    server = find_server(where, "mlflow")
    address = tracker.run_url(parent, server.url if server else None)
    told = text.model_copy(update={"address": address})
    write_tuning_page(_page(where, study.search), study.search, study.records, study.objectives, study.importances(), told)


def _page(where: Project, search: Search) -> Path:
    return where.reports / f"tune-{search.model}.html"


def _given(where: Project, model: str) -> dict[str, Any]:
    """What stands under `config:` of the model in params.yaml."""
    block = load_catalog(where).source.child("models").value.get(model) or {}
    return dict(block.get("config") or {})


def _command(where: Project, entry: ModelEntry, trials: int, steps: int | None, seeds: int, size: str | None) -> str:
    words: list[str] = ["genmill", "tune", entry.name, "--trials", str(trials), "--seeds", str(seeds)]
    words += ["--steps", str(steps)] if steps else []
    words += ["--size", size] if size else []
    return shlex.join([*words, "--project", str(where.root)])
