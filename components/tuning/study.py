"""A study: what a search has learnt so far, kept in Optuna's journal in the project, so that it can go on at any time."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components.models.family import find_family
from components.tuning.pruning import prune_above
from components.tuning.records import Objectives, Search, TrialRecord, objectives_of
from components.tuning.space import Choices, Range, is_whole

RECORD = "record"
PARTS, BEGUN = "parts", "begun"
STARTUP_TRIALS = 5
"""Drawn at random before the sampler trusts what it has seen; those of the present settings are among them."""


class Asked(NamedTuple):
    """A trial that is to be done next."""

    number: int
    params: dict[str, Any]


class Study:
    """The study of ``search`` in the journal of its model; trial 0 has the present settings.

    Two objectives where the family has a guard, sampled by TPE of all fields together. The sampler is seeded by the number of the trial,
    so that an interrupted search goes on as it would have.
    """

    def __init__(self, search: Search, journal: Path) -> None:
        self.search = search
        self._storage = _storage(journal)
        self._study: Any = None
        if search.study in _names(self._storage):
            self._study = _load(search.study, self._storage)
            self._settle()

    @property
    def is_new(self) -> bool:
        """Whether the trial of the present settings is still to be done."""
        return not self.records

    def begin(self, first: TrialRecord) -> None:
        """With the trial of the present settings, which tells what there is to optimise."""
        import optuna

        aims = objectives_of(self.search.spec.family, first)
        values = aims.costs(first)
        assert values is not None, "a finished trial has its figures"
        self._study = optuna.create_study(storage=self._storage, study_name=self.search.study, directions=["minimize"] * len(values), load_if_exists=True)
        self._study.set_user_attr(PARTS, self.search.parts)
        self._study.set_user_attr(BEGUN, time.time())
        encoded = {name: _encoded(part, first.params[name]) for name, part in self.search.space.items()}
        self._study.add_trial(
            optuna.trial.create_trial(
                values=list(values), params=encoded, distributions=_distributions(self.search), user_attrs={RECORD: first.model_dump(mode="json")}
            )
        )

    @property
    def records(self) -> list[TrialRecord]:
        """Of the trials that are done, by number."""
        if self._study is None:
            return []
        return [TrialRecord.model_validate(trial.user_attrs[RECORD]) for trial in self._study.trials if trial.state.is_finished()]

    @property
    def objectives(self) -> Objectives:
        return objectives_of(self.search.spec.family, self.records[0])

    def ask(self) -> Asked:
        """The trial that was interrupted, or the next one."""
        import optuna

        running = self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
        if running:
            trial = running[0]
        else:
            self._study.sampler = _sampler(self.search.spec.seed, len(self._study.trials))
            trial = self._study.ask(_distributions(self.search))
        return Asked(trial.number, {name: _decoded(self.search.space[name], value) for name, value in trial.params.items()})

    def bounds(self, params: Mapping[str, Any]) -> dict[int, float]:
        """The validation loss by step above which a trial of ``params`` is hopeless."""
        return prune_above(self.records, params, find_family(self.search.spec.family).loss_settings, self.search.steps)

    def tell(self, record: TrialRecord) -> None:
        """What became of a trial that was asked for; what did not finish is told as such, with its reason in the record."""
        import optuna

        optuna.trial.Trial(self._study, self._study.trials[record.number]._trial_id).set_user_attr(RECORD, record.model_dump(mode="json"))
        values = self.objectives.costs(record) if record.status == "finished" else None
        if values is not None:
            self._study.tell(record.number, list(values))
        else:
            pruned = record.status == "pruned"
            self._study.tell(record.number, state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.FAIL)

    def _settle(self) -> None:
        """A kill may have come between what became of a trial and its end."""
        for trial in self._study.trials:
            if not trial.state.is_finished() and RECORD in trial.user_attrs:
                self.tell(TrialRecord.model_validate(trial.user_attrs[RECORD]))

    def confirmed(self, key: str) -> TrialRecord | None:
        """The training of the confirmation that was kept as ``key``."""
        found = self._study.user_attrs.get(key)
        return None if found is None else TrialRecord.model_validate(found)

    def keep_confirmed(self, key: str, record: TrialRecord) -> None:
        self._study.set_user_attr(key, record.model_dump(mode="json"))

    def importances(self) -> dict[str, float]:
        """How much each field moved the primary figure over the finished trials (fANOVA, shares of 1); empty where there are too few to tell."""
        import optuna

        if sum(one.status == "finished" for one in self.records) < 2 * len(self.search.space):
            return {}
        found = optuna.importance.get_param_importances(self._study, target=lambda trial: trial.values[0])
        return {name: float(share) for name, share in found.items()}

    def what_changed(self) -> list[str]:
        """In what the newest other study of the model, if there is one, differs from this one: why it was not gone on with."""
        others = [self._parts_of(name) for name in _names(self._storage) if name != self.search.study]
        if not others:
            return []
        _, newest = max(others, key=lambda other: other[0])
        return sorted(name for name, digest in self.search.parts.items() if newest.get(name) != digest)

    def _parts_of(self, name: str) -> tuple[float, dict[str, str]]:
        attributes = _load(name, self._storage).user_attrs
        return attributes.get(BEGUN, 0.0), attributes.get(PARTS, {})


def _storage(journal: Path) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


def _names(storage: Any) -> list[str]:
    return [study.study_name for study in storage.get_all_studies()]


def _load(name: str, storage: Any) -> Any:
    import optuna

    return optuna.load_study(study_name=name, storage=storage)


def _sampler(seed: int, number: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, multivariate=True, seed=seed * 100_003 + number)


def _distributions(search: Search) -> dict[str, Any]:
    return {name: _distribution(part, is_whole(search.config, name)) for name, part in search.space.items()}


def _distribution(part: Range | Choices, whole: bool) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(part, Choices):
        return CategoricalDistribution([json.dumps(value) for value in part.choices])
    return IntDistribution(int(part.low), int(part.high), log=part.log) if whole else FloatDistribution(part.low, part.high, log=part.log)


def _encoded(part: Range | Choices, value: Any) -> Any:
    """Choices may be lists, which Optuna knows as text only."""
    return json.dumps(value) if isinstance(part, Choices) else value


def _decoded(part: Range | Choices, value: Any) -> Any:
    if isinstance(part, Choices):
        return json.loads(value)
    # What is written into params.yaml should be readable, and it is what was tried.
    return value if isinstance(value, int) else min(part.high, max(part.low, float(f"{value:.4g}")))


def described(params: Mapping[str, Any]) -> str:
    """`learning_rate 0.0021, batch_size 64`."""
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {json.dumps(value)}" for name, value in params.items())
