"""The code: the commit is there, and what was packaged is what it holds."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from components import git
from components.project import Project
from components.registry.audit.rows import AuditRow, not_rehashed, short
from components.tracking import RunRecord

LINK = "packaged code"


def code_rows(project: Project, run: RunRecord, package: Path | None, *, rehash: bool) -> Iterator[AuditRow]:
    """Rows on the commit of ``run`` and the code in ``package``."""
    commit, dirty = run.tag("git_commit"), run.tag("dirty").lower() == "true"
    if not commit:
        note = "the project had no commit then; the package holds the code"
        yield AuditRow(link="git commit", expected="a commit", found="none was noted", ok=True, note=note)
        return
    known = git.resolve(project.root, commit) == commit
    note = "the work tree had uncommitted changes; the package holds the code that ran" if dirty else ""
    yield AuditRow(link="git commit", expected=short(commit), found=short(commit) if known else "no such commit here", ok=known, note=note)
    if not known or dirty or not holds_code(project, commit):
        return
    if not rehash:
        yield not_rehashed(LINK, f"the files of {short(commit)}")
    elif package is not None:
        wrong = [path for path, content in _packaged_code(package) if _digest_at(project, commit, path) != hashlib.sha256(content).hexdigest()]
        found = "the same files" if not wrong else f"other content of {', '.join(wrong[:3])}"
        yield AuditRow(link=LINK, expected=f"the files of {short(commit)}", found=found, ok=not wrong)


def holds_code(project: Project, commit: str) -> bool:
    """Whether the project's repository is Genmill's own checkout; a project made by `init` holds no code."""
    return _digest_at(project, commit, "components/__init__.py") is not None


def _packaged_code(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "code").rglob("*.py")):
        yield path.relative_to(folder / "code").as_posix(), path.read_bytes()


def _digest_at(project: Project, commit: str, path: str) -> str | None:
    try:
        return hashlib.sha256(git.read_blob(project.root, commit, path)).hexdigest()
    except FileNotFoundError:
        return None
