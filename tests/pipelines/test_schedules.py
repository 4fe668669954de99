"""`schedules:`, `triggers:` and `notify:`: what they mean, and every mistake in one sentence with its line."""

from datetime import timedelta
from pathlib import Path

import pytest

from components.errors import UserError
from pipelines.catalog import Catalog, load_catalog
from pipelines.deployments import specs
from pipelines.schedules import parse_interval
from tests.pipelines.test_catalog import GOOD, write

BARE = GOOD[: GOOD.index("schedules:")]


def catalog(folder: Path, tail: str) -> Catalog:
    return load_catalog(write(folder, BARE + tail))


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("10m", 600), ("6h", 21_600), ("2 d", 172_800)])
def test_an_interval_is_a_number_and_its_unit(text: str, seconds: int) -> None:
    assert parse_interval(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("block", "hint"),
    [
        ("a: {cron: '0 3 * *'}", "five fields, e.g. '0 3 * * *'"),
        ("a: {cron: '61 3 * * *'}", "five fields, e.g. '0 3 * * *'"),
        ("a: {interval: 10}", "give a number and its unit, e.g. '30s'"),
        ("a: {interval: 0s}", "give a number and its unit, e.g. '30s'"),
        ("a: {interval: 10s, cron: '* * * * *'}", "give either cron"),
        ("a: {}", "give either cron"),
        ("a: {interval: 5m, timezone: Berlin}", "there is no timezone 'Berlin': give an IANA name, e.g. 'Europe/Berlin'"),
        ("a: {interval: 5m, timezone: zzz}", "there is no timezone 'zzz': give an IANA name, e.g. "),
        ("a: {interval: 5m, models: [vae-digts]}", "there is no model 'vae-digts'; did you mean 'vae-digits'?"),
        ("a: {interval: 5m, flow: prepare, datasets: [digit]}", "there is no dataset 'digit'; did you mean 'digits'?"),
        ("a: {interval: 5m, flow: prepare, models: [vae-digits]}", "models is for a schedule with flow: build or generate"),
        ("a: {interval: 5m, rows: 5}", "rows is for a schedule with flow: generate"),
        ("a: {interval: 5m, flow: generate, models: [vae-digits]}", "names one model and how many rows"),
        ("a: {interval: 5m, flow: bild}", "schedules.a.flow"),
        ("a: {interval: 5m}\n  a: {interval: 6m}", "the key 'a' stands twice"),
    ],
)
def test_a_mistake_in_a_schedule_is_named_with_its_line_and_an_example(tmp_path: Path, block: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        catalog(tmp_path, f"schedules:\n  {block}\n")
    assert f"params.yaml line {22 if 'twice' in hint else 21}:" in str(error.value)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("tail", "hint"),
    [
        ("triggers:\n  a: {dataset: digit}\n", "did you mean 'digits'?"),
        ("triggers:\n  a: {dataset: digits, models: [gpt-pydocs]}\n", "gpt-pydocs trains on pydocs, not on digits"),
        ("triggers:\n  a: {}\n", "triggers.a.dataset is missing"),
        ("schedules:\n  a: {interval: 5m}\ntriggers:\n  a: {dataset: digits}\n", "'a' is a schedule already"),
        ("notify: {block: slack}\n", "notify.block"),
    ],
)
def test_a_mistake_in_a_trigger_or_a_notification_is_named(tmp_path: Path, tail: str, hint: str) -> None:
    with pytest.raises(UserError, match=r"params.yaml line \d+:") as error:
        catalog(tmp_path, tail)
    assert hint in str(error.value)


def test_a_trigger_trains_those_of_the_default_set_or_else_all_on_its_dataset(tmp_path: Path) -> None:
    found = catalog(
        tmp_path, "triggers:\n  a: {dataset: digits}\n  b: {dataset: pydocs}\n  c: {dataset: pydocs, models: [gpt-pydocs], active: false}\n"
    ).triggers
    assert {name: (trigger.models, trigger.active) for name, trigger in found.items()} == {
        "a": (("vae-digits",), True),
        "b": (("gpt-pydocs",), True),
        "c": (("gpt-pydocs",), False),
    }


def test_every_schedule_and_trigger_is_a_deployment_of_its_flow_with_its_parameters(tmp_path: Path) -> None:
    found = catalog(
        tmp_path,
        "schedules:\n  a: {interval: 5m}\n  b: {interval: 5m, flow: prepare}\n  c: {cron: '0 3 * * *', flow: generate, models: [vae-digits], rows: 9}\n"
        "triggers:\n  d: {dataset: digits}\n",
    )
    wanted = {spec.name: spec for spec in specs(found.project, found)}
    root = str(tmp_path)
    assert {name: spec.flow for name, spec in wanted.items()} == {"a": "build", "b": "watch", "c": "generate", "d": "build"}
    assert wanted["a"].parameters == {"project": root, "models": None}
    assert wanted["b"].parameters == {"project": root, "datasets": None}
    assert wanted["c"].parameters == {"project": root, "model": "vae-digits", "rows": 9, "seed": None, "to": None, "params": {}}
    assert wanted["d"].parameters == {"project": root, "models": ["vae-digits"]}
    assert wanted["d"].schedule is None


def test_what_changes_a_deployment_changes_its_digest(tmp_path: Path) -> None:
    digests = set()
    for block in ("interval: 5m", "interval: 6m", "interval: 5m, active: false", "interval: 5m, models: [vae-digits]", "interval: 5m, timezone: Asia/Tokyo"):
        found = catalog(tmp_path, f"schedules:\n  a: {{{block}}}\n")
        digests |= {specs(found.project, found)[0].digest, specs(found.project, found, "cluster")[0].digest}
    assert len(digests) == 10
