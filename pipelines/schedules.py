"""`schedules:`, `triggers:` and `notify:` of params.yaml: what runs by itself, when, and who is told when it fails."""

import difflib
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from components.errors import UserError, nearest
from components.params import Block, Strict

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ONLY_FOR = {
    "models": ("build", "generate"),
    "datasets": ("prepare",),
    "rows": ("generate",),
    "seed": ("generate",),
    "to": ("generate",),
    "params": ("generate",),
}
"""Settings that belong to some of the flows only."""


class Schedule(Strict):
    """One block of `schedules:`."""

    cron: str | None = None
    """Five fields, in ``timezone``."""
    interval: str | None = None
    """A number and its unit, e.g. `30s`, `10m`, `6h`, `1d`; instead of ``cron``."""
    timezone: str = "UTC"
    flow: Literal["build", "prepare", "generate"] = "build"
    models: tuple[str, ...] = ()
    """Of `build`, empty for the default set of `run:`; of `generate` the one that draws."""
    datasets: tuple[str, ...] = ()
    """Of `prepare`: whose sources are looked at; empty for those that the default set trains on."""
    rows: int | None = Field(None, ge=1)
    """Of `generate`: how many samples a time."""
    seed: int | None = None
    """Of `generate`; without one every time takes the next."""
    to: str | None = None
    """Of `generate`: the folder."""
    params: dict[str, Any] = {}
    """Of `generate`: what the model is asked to draw with, e.g. `steps: 20`."""
    active: bool = True
    catch_up: bool = True
    """Whether a time that passed while nothing ran is made up for, once, when `genmill up` starts the worker again."""

    @field_validator("interval", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """A bare number is told to lack its unit rather than not to be a string."""
        return str(value) if isinstance(value, int) else value

    @property
    def every(self) -> timedelta | None:
        return None if self.interval is None else parse_interval(self.interval)

    def __str__(self) -> str:
        """When, for a person."""
        return f"every {self.interval}" if self.interval else f"{self.cron} ({self.timezone})"


class Trigger(Strict):
    """One block of `triggers:`: a new version of a dataset starts the training of models that use it."""

    dataset: str
    models: tuple[str, ...] = ()
    """Empty: those of the default set that train on the dataset, or all that do where the default set has none."""
    active: bool = True


class Notify(Strict):
    """The `notify:` block: who is told of a failed or crashed run, beside the log."""

    block: str | None = Field(None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    """A notification block of the Prefect server, TYPE/NAME, e.g. `slack-webhook/ops`."""


def parse_interval(text: str) -> timedelta:
    """`90s`, `10m`, `6h` or `1d` as a length of time.

    Raises:
        UserError: it is none of these, or no time at all.
    """
    found = re.fullmatch(r"(\d+)\s*([smhd])", text.strip())
    if not found or int(found[1]) == 0:
        raise UserError(f"{text!r} is no interval: give a number and its unit, e.g. '30s', '10m', '6h' or '1d'.")
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])


def load_schedules(whole: Block, models: Collection[str], datasets: Collection[str]) -> dict[str, Schedule]:
    """The schedules by name, each checked against what there is.

    Raises:
        UserError: names the line and what stands wrong there.
    """
    return {name: _schedule(block, models, datasets) for name, block in whole.child("schedules").children()}


def load_triggers(whole: Block, models_on: Mapping[str, str], default_set: Collection[str], datasets: Collection[str]) -> dict[str, Trigger]:
    """The triggers by name, each with its models; ``models_on`` gives the dataset of every model.

    Raises:
        UserError: names the line and what stands wrong there.
    """
    schedules = whole.child("schedules").value
    triggers = {}
    for name, block in whole.child("triggers").children():
        if name in schedules:
            raise whole.child("triggers").error(f"{name!r} is a schedule already: call the trigger something else.", name)
        triggers[name] = _trigger(block, models_on, default_set, datasets)
    return triggers


def _schedule(block: Block, models: Collection[str], datasets: Collection[str]) -> Schedule:
    schedule = block.validate(Schedule)
    _check_when(block, schedule)
    for key, flows in ONLY_FOR.items():
        if key in block.value and schedule.flow not in flows:
            raise block.error(f"{key} is for a schedule with flow: {' or '.join(flows)}, and this one has flow: {schedule.flow}: leave it out.", key)
    if schedule.flow == "generate" and (len(schedule.models) != 1 or schedule.rows is None):
        raise block.error("a schedule with flow: generate names one model and how many rows, e.g. models: [gan-digits], rows: 500.", "flow")
    _check_names(block, "models", schedule.models, models)
    _check_names(block, "datasets", schedule.datasets, datasets)
    return schedule


def _check_when(block: Block, schedule: Schedule) -> None:
    if (schedule.cron is None) == (schedule.interval is None):
        raise block.error("give either cron, e.g. '0 3 * * *' for 3 o'clock every night, or interval, e.g. '6h'.", "cron" if schedule.cron else "interval")
    if schedule.cron is not None and not _is_cron(schedule.cron):
        raise block.error(f"{schedule.cron!r} is no cron expression: give five fields, e.g. '0 3 * * *' for 3 o'clock every night.", "cron")
    if schedule.interval is not None:
        try:
            parse_interval(schedule.interval)
        except UserError as error:
            raise block.error(str(error), "interval") from None
    if schedule.timezone not in available_timezones():
        near = difflib.get_close_matches(schedule.timezone, available_timezones(), n=1, cutoff=0.5)
        raise block.error(f"there is no timezone {schedule.timezone!r}: give an IANA name, e.g. {(near or ['Europe/Berlin'])[0]!r}.", "timezone")


def _trigger(block: Block, models_on: Mapping[str, str], default_set: Collection[str], datasets: Collection[str]) -> Trigger:
    trigger = block.validate(Trigger)
    _check_names(block, "dataset", [trigger.dataset], datasets)
    _check_names(block, "models", trigger.models, models_on)
    fitting = [model for model, dataset in models_on.items() if dataset == trigger.dataset]
    for model in trigger.models:
        if model not in fitting:
            raise block.error(f"{model} trains on {models_on[model]}, not on {trigger.dataset}: leave it out, or change the dataset.", "models")
    if not fitting:
        raise block.error(f"no model in params.yaml trains on {trigger.dataset}: add one, or remove the trigger.", "dataset")
    chosen = trigger.models or tuple(model for model in fitting if model in default_set) or tuple(fitting)
    return trigger.model_copy(update={"models": chosen})


def _check_names(block: Block, key: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise block.error(f"there is no {key.removesuffix('s')} {name!r}; {nearest(name, known)}", key)


def _is_cron(expression: str) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        return len(expression.split()) == 5 and CronSim(expression, datetime.now(UTC)) is not None
    except CronSimError:
        return False
