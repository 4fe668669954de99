"""What every task and flow here shares: when a retry can help, and the settings they run under."""

import contextlib
from collections.abc import Iterator
from typing import Any

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from components.errors import UserError


async def a_retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
    """False for what only the user can mend: those errors come back the same."""
    try:
        await state.result(raise_on_failure=True)
    except UserError:
        return False
    except BaseException:  # noqa: BLE001 - whatever else broke may be passing: a dropped connection, a killed child
        return True
    return False


@contextlib.contextmanager
def brisk_subflows() -> Iterator[None]:
    """Without the heartbeat thread, whose end costs each sync subflow about a second."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
