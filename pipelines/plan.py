"""What would run and why, before anything does."""

from collections.abc import Sequence
from typing import Literal

from components.data.publish import DataVersion
from components.evaluation.config import EvaluationConfig
from components.evaluation.extractor_files import pinned
from components.params import Strict
from components.project import Project
from components.registry.trainings import TRAININGS_TAG
from components.tracking import RunRecord, Tracker
from components.training.identity import code_of, params_sha256, run_identity
from components.training.start import Start
from pipelines.catalog import ModelEntry

Action = Literal["train", "resume", "reuse"]


class ModelPlan(Strict):
    """What a build would do with one model, and why."""

    model: str
    action: Action
    why: str
    identity: str
    data_version: str
    run: RunRecord | None = None
    """The run that is reused or goes on."""
    refresh: bool = False
    """Nothing of an earlier run may be used."""
    start: Start | None = None
    """Weights that training begins with."""
    replicates: tuple["ModelPlan", ...] = ()
    """The same of the trainings from other seeds."""

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do: all is trained, and the figures know of the other seeds."""
        others = [one.run.run_id for one in self.replicates if one.action == "reuse" and one.run is not None]
        known = self.run.tag(TRAININGS_TAG) if self.run is not None else ""
        return self.action == "reuse" and len(others) == len(self.replicates) and (not others or known == ",".join(others))

    @property
    def work(self) -> Action:
        """What is done, the trainings from other seeds among it."""
        return "train" if self.action == "reuse" and not self.is_done else self.action


def start_of(project: Project, tracker: Tracker, entry: ModelEntry) -> Start | None:
    """What `init_from` of ``entry`` means now."""
    block = entry.block
    if block.init_from is None:
        return None
    from components.training.starts import find_start  # with torch, which a plan does without as a rule

    return find_start(project, tracker, model=entry.name, family=block.family, config=entry.config, init_from=block.init_from, lora=block.lora)


def check_starts(project: Project, tracker: Tracker, chosen: Sequence[ModelEntry]) -> None:
    """Refuse weights that a model of ``chosen`` cannot begin with, before its data is prepared; those that are only to be trained here are not there yet.

    Raises:
        UserError: with the sentence of the first one.
    """
    names = {entry.name for entry in chosen}
    for entry in chosen:
        if entry.begins_with not in names:
            start_of(project, tracker, entry)


def evaluation_of(project: Project, entry: ModelEntry) -> EvaluationConfig:
    """How ``entry`` is scored, with the digest of the files of an extractor that it names."""
    return pinned(entry.block.evaluation, project.root)


def identity_of(project: Project, entry: ModelEntry, version: DataVersion, start: Start | None = None) -> str:
    """The identity of training ``entry`` on ``version`` with the code that stands here."""
    return run_identity(
        family=entry.block.family,
        config=entry.config,
        size=entry.block.size,
        seed=entry.block.seed,
        evaluation=evaluation_of(project, entry),
        batches=entry.batches,
        data_sha256=version.sha256,
        start=start,
        augment=entry.augment,
    )


def experiment_of(entry: ModelEntry) -> str:
    """Runs on one dataset stand in one experiment, so that the UI compares what can be compared."""
    return entry.block.dataset


def plan_model(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, *, refresh: bool = False) -> ModelPlan:
    """Reuse a finished run of the same identity, go on with an interrupted one, or train; the same for each training from another seed."""
    plan = _plan_one(project, tracker, entry, version, refresh)
    others = tuple(_plan_one(project, tracker, one, version, refresh, replicate=True) for one in entry.replicates())
    missing = sum(one.action != "reuse" for one in others)
    why = plan.why if not missing else f"{plan.why}; {missing} more of {entry.block.seeds} seeds"
    return plan.model_copy(update={"replicates": others, "why": why})


def _plan_one(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, refresh: bool, *, replicate: bool = False) -> ModelPlan:
    start = start_of(project, tracker, entry)
    identity = identity_of(project, entry, version, start)
    run = tracker.find_run(experiment_of(entry), identity)
    plan = ModelPlan(model=entry.name, action="train", why="", identity=identity, data_version=version.version, start=start)
    if refresh:
        return plan.model_copy(update={"why": "asked for with --refresh", "refresh": True})
    if run is None:
        return plan.model_copy(update={"why": _what_changed(project, tracker, entry, version, start)})
    if run.status == "FINISHED" and (replicate or run.tag("registered")):
        return plan.model_copy(update={"action": "reuse", "why": "nothing changed", "run": run})
    return plan.model_copy(update={"action": "resume", "why": f"its run was {run.status.lower()}", "run": run})


def _what_changed(project: Project, tracker: Tracker, entry: ModelEntry, version: DataVersion, start: Start | None) -> str:
    last = tracker.latest_run(experiment_of(entry), entry.name)
    if last is None:
        return "never trained"
    changed = []
    if last.tag("data_sha256") != version.sha256:
        changed.append(f"data ({last.tag('data_version')} → {version.version})")
    if last.tag("init_from_sha256") != (start.sha256 if start else ""):
        changed.append("the weights it begins with")
    elif last.tag("params_sha256") != params_sha256(entry.config, entry.block.seed, evaluation_of(project, entry), start, entry.augment):
        changed.append("params")
    if last.tag("code_sha256") != code_of(entry.block.family, entry.batches):
        changed.append("code")
    return f"{' and '.join(changed) or 'the identity'} changed"
