"""Which version a reference means, and what versions there are."""

import re

from components.errors import UserError, nearest
from components.registry.registration import CANDIDATE, CHAMPION
from components.tracking import ModelVersion, Tracker

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def is_run_id(text: str) -> bool:
    """Whether ``text`` has the form of an MLflow run's id."""
    return _RUN_ID.fullmatch(text) is not None


def resolve(tracker: Tracker, ref: str) -> ModelVersion:
    """The version that ``ref`` means: `MODEL` (the champion, else the candidate, else the newest), `MODEL@ALIAS`, `MODEL/3` or a run id.

    Raises:
        UserError: there is no such version; the message lists what there is.
    """
    if is_run_id(ref):
        return _of_run(tracker, ref)
    name, alias, number = _parse(ref)
    versions = tracker.model_versions(name)
    if not versions:
        raise UserError(_unknown_model(tracker, name))
    if number is not None:
        found = [version for version in versions if version.version == number]
    elif alias:
        found = [version for version in versions if alias in version.aliases]
    else:
        found = sorted(versions, key=lambda version: (CHAMPION not in version.aliases, CANDIDATE not in version.aliases, -version.version))
    if not found:
        wanted = f"version {number}" if number is not None else f"alias {alias!r}"
        raise UserError(f"{name} has no {wanted}; there are:\n{versions_table(versions)}")
    return found[0]


def versions_table(versions: list[ModelVersion]) -> str:
    """One line per version: reference, aliases, data version."""
    rows = [(one.ref, ", ".join(one.aliases) or "-", f"{one.tag('dataset')}@{one.tag('data_version')}", one.run_id) for one in versions]
    return "\n".join(f"  {ref}  {aliases}  {data}  run {run_id}" for ref, aliases, data, run_id in rows)


def _parse(ref: str) -> tuple[str, str, int | None]:
    name, at, alias = ref.partition("@")
    name, slash, number = name.partition("/")
    if (at and slash) or (at and not alias) or (slash and not number.removeprefix("v").isdigit()) or not name:
        raise UserError(f"{ref!r} is no model reference: write MODEL, MODEL@champion, MODEL/3 or a run id.")
    return name, alias, int(number.removeprefix("v")) if slash else None


def _of_run(tracker: Tracker, run_id: str) -> ModelVersion:
    run = tracker.get_run(run_id)
    for version in tracker.versions_of_run(run_id):
        return version
    raise UserError(f"The run {run_id} ({run.name}, {run.status}) registered no model: only a finished run does.")


def _unknown_model(tracker: Tracker, name: str) -> str:
    names = tracker.model_names()
    if not names:
        return f"There is no model {name!r}: none is registered yet, `genmill run` trains and registers them."
    newest = [version for known in names for version in tracker.model_versions(known)[:1]]
    return f"There is no model {name!r}; {nearest(name, names)} There are:\n{versions_table(newest)}"
