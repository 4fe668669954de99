"""The verdicts of the gates, as they are kept with a version: an artifact of its run, and a tag of both."""

from pydantic import ValidationError

from components.params import Strict
from components.registry.gates import GateRow
from components.tracking import GATES_ARTIFACT, ModelVersion, Tracker

GATES_TAG = "gates"
"""Tag of version and run: `passed` or `failed`."""


class GatesTable(Strict):
    """The verdicts on one version."""

    model: str
    version: int
    passed: bool
    rows: tuple[GateRow, ...]
    champion: int | None = None
    """The version that it was held against."""
    rules_sha256: str = ""
    """Digest of the rules that were applied."""

    @property
    def summary(self) -> str:
        """The rules that failed, or how many passed."""
        failed = [row.figure or row.rule for row in self.rows if row.verdict == "failed"]
        return f"failed: {', '.join(failed)}" if failed else f"{sum(row.verdict == 'passed' for row in self.rows)} passed"


def store_table(tracker: Tracker, version: ModelVersion, table: GatesTable) -> None:
    """Keep ``table`` with the run of ``version``, and its verdict as a tag of both."""
    tracker.log_text(version.run_id, table.model_dump_json(indent=1), GATES_ARTIFACT)
    verdict = {GATES_TAG: "passed" if table.passed else "failed"}
    tracker.set_tags(version.run_id, verdict)
    tracker.set_version_tags(version.name, version.version, verdict)


def stored_table(tracker: Tracker, run_id: str) -> GatesTable | None:
    """The verdicts that were kept; None where a run from before there were any has none."""
    data = tracker.read_artifact(run_id, GATES_ARTIFACT)
    return GatesTable.model_validate_json(data) if data else None


def readable_table(tracker: Tracker, run_id: str) -> GatesTable | None:
    """`stored_table` for a page, which leaves out what is damaged."""
    try:
        return stored_table(tracker, run_id)
    except ValidationError:
        return None
