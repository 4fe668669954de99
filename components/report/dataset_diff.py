"""The page of two versions of a dataset: counts, samples of what was added, removed and changed, distributions, and what else is recorded."""

import re
from pathlib import Path

from components.data.diff import DatasetDiff
from components.data.profile import Profile
from components.project import Project
from components.report.data_diff import VersionFacts, distributions
from components.report.page import render, write_page


def write_diff_page(project: Project, diff: DatasetDiff, out: Path | None = None) -> DatasetDiff:
    """Write the page to ``out`` (default: the project's reports); ``diff`` with its place. It must have been made with ``show``."""
    sides = (diff.before, diff.after)
    facts = [
        VersionFacts(name=name, dataset=diff.dataset, facts={}, profile=profile)
        for name, profile in zip(sides, diff.profiles, strict=True)
        if profile != Profile()
    ]
    html = render(
        "data_diff.html.j2", title=f"{diff.before} and {diff.after}", diff=diff, sides=sides, distributions=distributions(facts),
        colours={name: index for index, name in enumerate(sides)}, unknown=[name for name in sides if name not in {one.name for one in facts}],
    )  # fmt: skip
    name = re.sub("[^A-Za-z0-9]+", "-", f"data-{diff.before}-{diff.after}").strip("-")
    return diff.model_copy(update={"page": write_page(out or project.reports / f"{name}.html", html)})
