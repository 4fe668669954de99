"""Brings the refs of versions and promotions to the git remote that params.yaml names, and those of others here: compare-and-swap, never by force."""

import sys
import time

from components import git
from components.data.config import find_git_remote
from components.data.credentials import hide
from components.data.locking import data_lock
from components.data.published import BRANCH
from components.data.replay import join
from components.errors import UserError
from components.params import Strict
from components.project import Project

LATER = "`genmill data push` pushes them, and so does the next publish"
_ATTEMPTS = 20
_TAGS = "refs/tags/data/"


class Sharing(Strict):
    """What became of bringing the refs to the remote."""

    remote: str
    pushed: tuple[str, ...] = ()
    """Full names."""
    renamed: dict[str, str] = {}
    """Versions of ours that got another number because others had taken theirs: `mine@v2` to `mine@v3`."""

    @property
    def sentences(self) -> list[str]:
        return [f"{old} is {new} from now on: others had published another {old.partition('@')[2]} meanwhile." for old, new in self.renamed.items()]


def share(project: Project, remote: str) -> Sharing:
    """Take over what others published, and push ours; again when somebody publishes in between. The caller holds the data lock.

    Raises:
        RemoteUnreachable: nothing was pushed, what is published here stands.
        UserError: the refs keep moving, or a tag here is in the way.
    """
    renamed: dict[str, str] = {}
    for _ in range(_ATTEMPTS):
        try:
            theirs, moved = _taken_over(project, remote)
            renamed = {**{old: moved.get(new, new) for old, new in renamed.items()}, **moved}
            refs = _unsent(project, theirs)
            if refs:
                git.push(project.root, remote, refs)
                _remember(project, remote)
            return Sharing(remote=remote, pushed=tuple(refs), renamed=renamed)
        except git.RefConflict as conflict:
            reason = str(conflict)
            time.sleep(0.1)
    raise UserError(f"The refs on {remote} keep moving ({hide(project, reason)[:200]}): run `genmill data push` when others are done.")


def take_over(project: Project, remote: str) -> dict[str, str]:
    """Bring what others published here; the versions of ours that got another number."""
    for _ in range(_ATTEMPTS):
        try:
            return _taken_over(project, remote)[1]
        except git.RefConflict:
            time.sleep(0.1)
    raise UserError(f"The refs of {project.root} keep moving: see whether another git command hangs there, then run again.")


def is_unsent(project: Project, remote: str) -> bool:
    """Whether the branch holds something that the last contact with ``remote`` did not show there; nobody is asked."""
    local = git.resolve(project.root, f"refs/heads/{BRANCH}")
    return local is not None and local != git.resolve(project.root, f"refs/remotes/{remote}/{BRANCH}")


def push_all(project: Project, other_branches: tuple[str, ...] = ()) -> tuple[Sharing, list[str]]:
    """`genmill data push`: the versions, then ``other_branches``; what could not be pushed of those, one sentence each.

    Raises:
        UserError: params.yaml names no remote, or it cannot be reached.
    """
    remote = find_git_remote(project)
    if remote is None:
        raise UserError("params.yaml names no git remote to push to: add `versions: {git_remote: origin}`, with a name of `git remote -v`.")
    try:
        with data_lock(project, "genmill: data push"):
            sharing = share(project, remote)
        notes = [note for branch in other_branches if (note := push_branch(project, remote, branch))]
    except git.RemoteUnreachable as error:
        raise UserError(f"The git remote {remote} cannot be reached ({brief(project, error)}): mend `git remote get-url {remote}`, then run again.") from None
    return sharing, notes


def fast_forward(project: Project, remote: str, branch: str) -> None:
    """Move a branch of ours to where ``remote`` has it, where it only grew there."""
    ref, seen = f"refs/heads/{branch}", f"refs/remotes/{remote}/{branch}"
    theirs = git.remote_refs(project.root, remote, [ref]).get(ref)
    if theirs is None:
        return
    git.fetch(project.root, remote, {ref: seen})
    ours = git.resolve(project.root, ref)
    if ours != theirs and (ours is None or git.is_ancestor(project.root, ours, theirs)):
        git.transaction(project.root, [git.RefUpdate(ref, theirs, ours)], f"genmill: {branch} of {remote}")


def push_branch(project: Project, remote: str, branch: str) -> str:
    """Push a branch whose commits cannot be made anew, such as the ledger; why that cannot be, else nothing.

    Raises:
        RemoteUnreachable: it does not answer.
    """
    root, ref = project.root, f"refs/heads/{branch}"
    fast_forward(project, remote, branch)
    ours, theirs = git.resolve(root, ref), git.resolve(root, f"refs/remotes/{remote}/{branch}")
    if ours is None or ours == theirs:
        return ""
    if theirs is not None and not git.is_ancestor(root, theirs, ours):
        return (
            f"Branch {branch} grew here and on {remote} while they could not see each other, and neither is rewritten: look at both "
            f"(`git log {branch} {remote}/{branch}`), and keep one with `git branch -f {branch} {remote}/{branch}`."
        )
    git.push(root, remote, [ref])
    git.fetch(root, remote, {ref: f"refs/remotes/{remote}/{branch}"})
    return ""


def unreachable(project: Project, remote: str, what: str, error: git.RemoteUnreachable) -> str:
    """One sentence for what stands here and is not there."""
    return f"{what} stands here, but its refs are not on {remote}, which cannot be reached ({brief(project, error)}): {LATER}."


def brief(project: Project, error: Exception) -> str:
    """The line of git's message that says why, without credentials."""
    lines = [line.removeprefix("fatal: ") for line in str(error).splitlines() if line.strip()]
    return hide(project, lines[0] if lines else "no reason given")[:200]


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _taken_over(project: Project, remote: str) -> tuple[dict[str, str], dict[str, str]]:
    """The remote's refs, and which versions of ours got another number."""
    root, branch = project.root, f"refs/heads/{BRANCH}"
    theirs = git.remote_refs(root, remote, [branch, f"{_TAGS}*"])
    if branch not in theirs:
        return theirs, {}
    tags = {name: sha for name, sha in theirs.items() if name.startswith(_TAGS)}
    known = {ref.name: ref.sha for ref in git.list_refs(root, _TAGS)}
    wanted = {name: f"refs/genmill/{remote}/{name.removeprefix('refs/')}" for name, sha in tags.items() if known.get(name) != sha}
    git.fetch(root, remote, {branch: f"refs/remotes/{remote}/{BRANCH}", **wanted})
    return theirs, join(project, theirs[branch], tags)


def _unsent(project: Project, theirs: dict[str, str]) -> list[str]:
    """The refs of versions that the remote does not have as they are here: the branch, and tags that it has not at all."""
    root, branch = project.root, f"refs/heads/{BRANCH}"
    local = git.resolve(root, branch)
    refs = [branch] if local and theirs.get(branch) != local else []
    return refs + [ref.name for ref in git.list_refs(root, _TAGS) if ref.name not in theirs]


def _remember(project: Project, remote: str) -> None:
    """The tracking ref, as `git push` leaves it where the remote is configured to be fetched."""
    git.fetch(project.root, remote, {f"refs/heads/{BRANCH}": f"refs/remotes/{remote}/{BRANCH}"})
