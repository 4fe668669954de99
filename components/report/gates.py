"""The verdicts of the gates as a version keeps them."""

from pydantic import BaseModel, ConfigDict

from components.tracking import GATES_ARTIFACT, Tracker


class Verdict(BaseModel):
    """One rule; what a later form has besides is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rule: str
    figure: str = ""
    value: float | None = None
    limit: str = ""
    verdict: str
    note: str = ""


class Verdicts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    passed: bool
    rows: tuple[Verdict, ...] = ()

    @property
    def summary(self) -> str:
        failed = [row.figure or row.rule for row in self.rows if row.verdict == "failed"]
        return f"failed: {', '.join(failed)}" if failed else f"{len(self.rows)} passed"


def stored_verdicts(tracker: Tracker, run_id: str) -> Verdicts | None:
    """What the gates said of the run's version; None where they were not asked."""
    data = tracker.read_artifact(run_id, GATES_ARTIFACT)
    return Verdicts.model_validate_json(data) if data else None
