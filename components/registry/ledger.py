"""Who put which version into production, when and why: git branch `promotions`, one commit per record.

The branch holds one file, a JSON record per line; every record carries the digest of the line before it, and every
commit adds lines to the file of its parent and changes none. A change of the state of production is written as an
`intent` before the alias moves and as `done` (or `undone`) after it, so that a kill in between is seen. What did not
happen is a record too: `refused` (by the gates, by the clock, or because another promotion came first) and `rejected` (by a person).
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import ValidationError

from components import git
from components.data.config import find_git_remote
from components.data.sharing import fast_forward, push_branch, say, unreachable
from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.registry.gates import GateRow

BRANCH = "promotions"
LEDGER_FILE = "promotions.jsonl"
ATTEMPTS = 20

Kind = Literal["promote", "rollback"]
State = Literal["intent", "done", "undone", "refused", "rejected"]


class Record(Strict):
    """One line of the ledger."""

    number: int = 0
    when: str = ""
    """UTC, ISO 8601."""
    who: str
    model: str
    kind: Kind
    state: State
    reason: str
    from_version: int | None
    """Champion before; None where there was none."""
    to_version: int
    previous_version: int | None = None
    """Version of the alias `previous` before the intent, to which an undo returns."""
    gates: tuple[GateRow, ...] = ()
    forced: bool = False
    """Whether gates had failed and it was to happen all the same."""
    approval: str = ""
    """Who approved or rejected it, and why, where it had to be approved."""
    note: str = ""
    """Why it did not happen, where neither gates nor approval say it."""
    request: str = ""
    """Names the wish behind it, so that a retry knows its own records."""
    data_version: str = ""
    """e.g. `digits@v3`."""
    data_sha256: str = ""
    run_id: str = ""
    identity: str = ""
    package_sha256: str = ""
    intent: int | None = None
    """Number of the intent that a `done` or `undone` closes."""
    previous_sha256: str = ""
    """Digest of the line before; empty for the first."""

    def line(self) -> str:
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.line().encode()).hexdigest()

    def __str__(self) -> str:
        """One line for a commit's subject."""
        return f"{self.kind} {self.model} {self.from_version or 'nothing'} -> {self.to_version}: {self.state}{' (forced)' if self.forced else ''}"

    @property
    def why_not(self) -> str:
        """What kept it from happening, or what it happened in spite of."""
        failed = [str(row) for row in self.gates if row.verdict == "failed"]
        return "; ".join(part for part in (self.approval, self.note, *failed) if part)


class Mirror(NamedTuple):
    """What the registry remembers of the ledger for one model: a rewritten branch no longer fits it."""

    model: str
    number: int
    sha256: str

    @classmethod
    def parse(cls, model: str, text: str) -> "Mirror | None":
        number, _, sha256 = text.partition(" ")
        return cls(model, int(number), sha256) if number.isdigit() else None

    def __str__(self) -> str:
        return f"{self.number} {self.sha256}"


def append(project: Project, record: Record) -> Record:
    """Write ``record`` as the last one; its number, time and link to the line before are filled in.

    Raises:
        UserError: the ledger is broken, so nothing may be built on it, or the project has no git repository.
    """
    git.require_repository(project.root)
    remote = find_git_remote(project) if project.params.is_file() else None
    for _ in range(ATTEMPTS):
        reachable = remote is None or _caught_up(project, remote)
        head = git.resolve(project.root, f"refs/heads/{BRANCH}")
        before = _file(project, head)
        number = len(_parse(before)) + 1
        # The lines that stand there are kept byte by byte: written anew, those of an older version would gain fields and break the chain.
        last = hashlib.sha256(_lines(before)[-1].encode()).hexdigest() if before else ""
        written = record.model_copy(update={"number": number, "when": datetime.now(UTC).isoformat(timespec="seconds"), "previous_sha256": last})
        content = before + f"{written.line()}\n".encode()
        try:
            commit = git.append_commit(project.root, BRANCH, {LEDGER_FILE: content}, f"{written}\n\n{written.reason}\n", written.who, head)
        except git.RefConflict:
            continue
        if remote is None or not reachable or _pushed(project, remote, commit, head):
            return written
    raise UserError(f"The branch {BRANCH} of {project.root} keeps moving: another process writes to it without end; stop it, then run again.")


def _caught_up(project: Project, remote: str) -> bool:
    """Go on from what others wrote into the ledger; False, which is said, where the git remote cannot be asked."""
    try:
        fast_forward(project, remote, BRANCH)
    except git.RemoteUnreachable as error:
        say(unreachable(project, remote, f"What is written into the branch {BRANCH}", error))
        return False
    return True


def _pushed(project: Project, remote: str, commit: str, head: str | None) -> bool:
    """Bring the record to the git remote; False where somebody else's came first: then ours is taken back, to be written behind it."""
    try:
        note = push_branch(project, remote, BRANCH)
    except git.RemoteUnreachable as error:
        note = unreachable(project, remote, f"What is written into the branch {BRANCH}", error)
    except git.RefConflict:
        git.transaction(project.root, [git.RefUpdate(f"refs/heads/{BRANCH}", head, commit)], "genmill: somebody else's record came first")
        return False
    if note:
        say(note)
    return True


def read(project: Project, model: str | None = None) -> list[Record]:
    """The records, oldest first, of one model or of all; empty where there is no ledger yet."""
    records = _parse(_file(project, git.resolve(project.root, f"refs/heads/{BRANCH}")))
    return [record for record in records if model in (None, record.model)]


def history(project: Project, model: str | None = None) -> list[Record]:
    """The records of ``model``, or of all, as a user reads them, newest first: an intent only where nothing closed it."""
    records = read(project, model)
    pending = {record.number for record in open_intents(records)}
    return [record for record in reversed(records) if record.state != "intent" or record.number in pending]


def verify(project: Project, mirrors: Sequence[Mirror] = ()) -> list[str]:
    """What is broken in the ledger, one sentence each: every link, every commit, and what the registry remembers of it."""
    head = git.resolve(project.root, f"refs/heads/{BRANCH}")
    try:
        lines = _lines(_file(project, head))
        return [*_broken_links(lines), *_broken_commits(project, head), *_broken_mirrors(lines, mirrors)]
    except UserError as error:
        return [str(error)]


def open_intents(records: Sequence[Record]) -> list[Record]:
    """Intents that nothing closes: a promotion was killed there."""
    closed = {record.intent for record in records}
    return [record for record in records if record.state == "intent" and record.number not in closed]


def last_move(records: Sequence[Record]) -> Record | None:
    """The record of the last change of the champion among ``records`` of one model."""
    return next((record for record in reversed(records) if record.state == "done"), None)


def champions(records: Sequence[Record]) -> list[int]:
    """The stack of champions that the records of one model add up to; the last one is in production, the one before it is `previous`."""
    stack: list[int] = []
    for record in records:
        if record.state != "done":
            continue
        if record.kind == "rollback" and stack:
            stack.pop()
        if not stack and record.from_version is not None and record.kind == "promote":
            stack.append(record.from_version)
        if not stack or stack[-1] != record.to_version:
            stack.append(record.to_version)
    return stack


def _file(project: Project, head: str | None) -> bytes:
    """The ledger as of the commit ``head``; nothing where there is no branch yet.

    Raises:
        UserError: the branch is there and its file is not: an empty ledger in its place would be written over the one that was.
    """
    if head is None:
        return b""
    try:
        return git.read_blob(project.root, head, LEDGER_FILE)
    except FileNotFoundError:
        raise UserError(_broken(f"{LEDGER_FILE} of commit {head[:12]} cannot be read.")) from None


def _lines(content: bytes) -> list[str]:
    """One record each. Bytes are cut, not text: that would also be cut at the line separators of Unicode, which a person's words may hold."""
    return [line.decode("utf-8", errors="replace") for line in content.splitlines()]


def _broken(what: str) -> str:
    return f"The ledger (branch {BRANCH}) is broken: {what} Restore the branch from a clone or its reflog (`git reflog {BRANCH}`)."


def _parse(content: bytes) -> list[Record]:
    """Every record; a line that is none stops everything that would build on it."""
    lines = _lines(content)
    broken = _broken_links(lines)
    if broken:
        raise UserError(_broken(broken[0]))
    return [Record.model_validate_json(line) for line in lines]


def _broken_links(lines: Sequence[str]) -> list[str]:
    broken, before = [], ""
    for number, line in enumerate(lines, start=1):
        try:
            record = Record.model_validate_json(line)
        except ValidationError:
            broken.append(f"Record {number} cannot be read.")
        else:
            if record.number != number:
                broken.append(f"Record {number} says it is number {record.number}.")
            if record.previous_sha256 != before:
                broken.append(f"Record {number - 1} was changed after record {number} was written.")
        before = hashlib.sha256(line.encode()).hexdigest()
    return broken


def _broken_commits(project: Project, head: str | None) -> list[str]:
    """Each commit must hold its parent's lines and at least one more."""
    broken = []
    commits = [commit for commit, _ in git.log(project.root, head)] if head else []
    child = _file(project, head)
    for commit, parent in itertools.pairwise(commits):
        content = _file(project, parent)
        if not child.startswith(content) or child == content:
            broken.append(f"Commit {commit[:12]} of branch {BRANCH} changes what stood there before.")
        child = content
    if len(child.splitlines()) > 1:
        broken.append(f"Branch {BRANCH} was rewritten: its first commit already holds {len(child.splitlines())} records.")
    return broken


def _broken_mirrors(lines: Sequence[str], mirrors: Sequence[Mirror]) -> list[str]:
    broken = []
    for mirror in mirrors:
        if mirror.number > len(lines):
            broken.append(f"The registry remembers record {mirror.number} of {mirror.model}, but the ledger ends at {len(lines)}.")
        elif hashlib.sha256(lines[mirror.number - 1].encode()).hexdigest() != mirror.sha256:
            broken.append(f"Record {mirror.number} is not the one that the registry remembers for {mirror.model}.")
    return broken
