"""What the gate found: data/validation/NAME/result.json, readable without Great Expectations."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from components.data.profile import Profile
from components.errors import UserError
from components.params import Strict
from components.project import Project

Outcome = Literal["passed", "warnings", "failed"]
RESULT, REPORT = "result.json", "report.html"


class RuleResult(Strict):
    """One rule and how it went."""

    rule: str
    column: str = ""
    severity: Literal["critical", "warning"]
    success: bool
    expected: str = ""
    """The rule's arguments in a few words."""
    observed: str = ""
    checked: int = 0
    unexpected: int = 0
    samples: tuple[str, ...] = ()
    """Up to three rows that break the rule, as `id: value`."""
    problem: str = ""
    """Why the rule could not be applied, e.g. the column is missing."""
    origin: Literal["genmill", "user"] = "genmill"

    @property
    def sentence(self) -> str:
        where = f" on column {self.column!r}" if self.column else ""
        if self.problem:
            return f"{self.rule}{where}: {self.problem}"
        counts = f"{self.unexpected:,} of {self.checked:,} rows break it" if self.unexpected else f"found {self.observed}"
        shown = f", e.g. {'; '.join(self.samples)}" if self.samples else ""
        return f"{self.rule}{where} (expected {self.expected or 'true'}): {counts}{shown}"


class ValidationResult(Strict):
    name: str
    outcome: Outcome
    manifest_sha256: str
    """Of the augmented manifest that was looked at."""
    rows: dict[str, int]
    dropped: dict[str, int]
    rules: tuple[RuleResult, ...]
    profile: Profile = Profile()

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if not rule.success)

    @property
    def summary(self) -> str:
        return f"{self.outcome}, {sum(rule.success for rule in self.rules)} of {len(self.rules)} rules hold"


def result_folder(project: Project, name: str) -> Path:
    return project.data / "validation" / name


def read_result(project: Project, name: str) -> ValidationResult | None:
    """The newest result, or None before the first validation."""
    path = result_folder(project, name) / RESULT
    try:
        return ValidationResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise UserError(f"{path} is damaged: delete {path.parent} and run `genmill run --dataset {name}`.") from None
