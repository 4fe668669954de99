"""No two trainings of one model at a time, on whatever machines: Prefect's global concurrency limits, one slot for each model."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from pipelines import console

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LEASE_S = 60.0
"""A slot whose holder is gone, with its machine, is free again after so many seconds; that of a process killed on this machine is freed at the next start."""


@contextlib.contextmanager
def one_at_a_time(model: str) -> Iterator[None]:
    """Hold the slot of ``model``; whoever comes second waits and says so."""
    name = _limit(model)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        if client.read_global_concurrency_limit_by_name(name).active_slots:
            console.say(f"{model}: another run trains it; waiting for that to end (concurrency limit {name})")
    with concurrency(name, occupy=1, lease_duration=LEASE_S):
        yield


def free(client: "SyncPrefectClient", model: str) -> None:
    """Empty the slot of ``model``: its holder was killed."""
    with contextlib.suppress(ObjectNotFound):
        client.update_global_concurrency_limit(_limit(model), GlobalConcurrencyLimitUpdate(active_slots=0))


def _limit(model: str) -> str:
    return f"train-{model}"
