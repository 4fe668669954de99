"""The only file that runs git: reads, and compare-and-swap of refs. The user's branch, index and work tree are never touched.

Everything but `start_repository` is plumbing (hash-object, a temporary index, commit-tree, mktag, update-ref), so it works on
a detached HEAD, in a second work tree, in a shallow clone, and before the first commit.
"""

import getpass
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError

_REDIRECTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_COMMON_DIR")
"""Set inside git hooks; they would send our commands to another repository or index."""
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""For an archive that git makes of this repository; Pythons before 3.11.4 have no filters."""
_PATIENCE_S = 120
"""With a remote, whose answer is some refs and what a few commits hold."""
FALLBACK_NAME, FALLBACK_EMAIL = "Genmill", "genmill@localhost"


class GitError(Exception):
    """A git command failed in a way that is not the user's to mend."""


class RemoteUnreachable(Exception):
    """A git remote does not answer, or lets nobody in; the message is git's, and may hold an address with a password."""


class RefConflict(Exception):
    """Somebody moved a ref in between: read again and try again."""


@dataclass(frozen=True)
class Ref:
    name: str
    """Full name, e.g. `refs/tags/data/digits/v1`."""
    sha: str
    """The object it points to (the tag object for an annotated tag)."""
    commit: str
    """The commit at the end of it."""
    message: str = ""
    """The tag's or the commit's message."""


@dataclass(frozen=True)
class RefUpdate:
    name: str
    new: str | None
    """None: it is deleted."""
    old: str | None
    """What it must be now; None: it must not exist."""


def require_repository(root: Path) -> None:
    """Raise a UserError with the fix unless ``root`` is the top of a git work tree."""
    if not root.is_dir():
        raise UserError(f"There is no folder {root}.")
    try:
        top = _git(root, "rev-parse", "--show-toplevel").decode().strip()
    except FileNotFoundError:
        raise UserError("git is not installed: install it (e.g. `apt install git`), then run again.") from None
    except GitError as error:
        if "dubious ownership" in str(error):
            raise UserError(f"git refuses {root} because another user owns it: run `git config --global --add safe.directory {root}`.") from None
        raise UserError(f"{root} is not a git repository, which the versions are kept in: run `git init {root}`.") from None
    if not top or Path(top).resolve() != root.resolve():
        raise UserError(f"{root} lies inside the git repository {top}, but a project needs its own: run `git init {root}`.")


def start_repository(root: Path, message: str, paths: Sequence[str] = (".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")) -> bool:
    """Make ``root`` a repository with a first commit of ``paths``; False where it is one already, which is left alone."""
    if (root / ".git").exists():
        return False
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", "--", *(path for path in paths if (root / path).exists()))
    _git(root, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message, env=_identity(root, default_actor(root)))
    return True


def head(root: Path) -> str | None:
    """The commit that is checked out, None before the first one."""
    return _resolve(root, "HEAD")


def branch(root: Path) -> str | None:
    """The branch that is checked out, None on a detached HEAD."""
    result = _run(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return result.stdout.decode().strip() or None


def is_dirty(root: Path, paths: Sequence[str] = ()) -> bool:
    """Whether tracked or new files below ``paths`` (default: anywhere) differ from the commit."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=normal", "--", *paths).strip())


def resolve(root: Path, ref: str) -> str | None:
    """The commit that ``ref`` names, or None."""
    return _resolve(root, f"{ref}^{{commit}}")


def read_blob(root: Path, ref: str, path: str) -> bytes:
    """The file ``path`` as of ``ref``.

    Raises:
        FileNotFoundError: there is no such ref or file.
    """
    result = _run(root, "cat-file", "blob", f"{ref}:{path}")
    if result.returncode:
        raise FileNotFoundError(f"{ref}:{path}")
    return result.stdout


def list_files(root: Path, ref: str) -> list[str]:
    """The paths of every file as of ``ref``; empty where there is no such ref."""
    result = _run(root, "ls-tree", "-r", "-z", "--name-only", ref)
    return [path for path in result.stdout.decode(errors="replace").split("\0") if path] if result.returncode == 0 else []


def is_intact(root: Path, ref: str, path: str) -> bool:
    """Whether the bytes of ``path`` as of ``ref`` still have the name that git gave them; git itself does not look when it reads one.

    Raises:
        FileNotFoundError: there is no such ref or file, or it cannot be read at all.
    """
    content, name = read_blob(root, ref, path), _resolve(root, f"{ref}:{path}") or ""
    digest = hashlib.sha256 if len(name) == 64 else hashlib.sha1
    return digest(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == name


def export_tree(root: Path, commit: str, to: Path) -> None:
    """Write the files of ``commit`` below ``to``; the work tree and the index are not looked at.

    Raises:
        FileNotFoundError: there is no such commit.
    """
    result = _run(root, "archive", "--format=tar", commit)
    if result.returncode:
        raise FileNotFoundError(commit)
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(to, **SAFELY)  # noqa: S202 - of git itself


def list_refs(root: Path, prefix: str) -> list[Ref]:
    """Every ref at or below ``prefix``, e.g. `refs/tags/data/digits/`, with its message."""
    # Each field ends in NUL because a message may hold anything else.
    form = "%(refname)%00%(objectname)%00%(*objectname)%00%(contents)%00"
    fields = _git(root, "for-each-ref", f"--format={form}", prefix).decode(errors="replace").split("\0")
    rows = [fields[index : index + 4] for index in range(0, len(fields) - 3, 4)]
    return [Ref(name.strip(), sha, peeled or sha, message.strip()) for name, sha, peeled, message in rows]


def read_tag(root: Path, name: str, sha: str) -> Ref | None:
    """The annotated tag object ``sha`` as the ref ``name`` would show it; None where it is no annotated tag."""
    result = _run(root, "cat-file", "tag", sha)
    commit = _resolve(root, f"{sha}^{{commit}}")
    if result.returncode or commit is None:
        return None
    return Ref(name, sha, commit, result.stdout.decode(errors="replace").partition("\n\n")[2].strip())


def remote_branches(root: Path, name: str) -> list[Ref]:
    """What the last fetch saw of branch ``name`` on each remote."""
    return [ref for ref in list_refs(root, "refs/remotes") if ref.name.split("/", 3)[3:] == [name]]


def log(root: Path, ref: str, limit: int | None = None) -> list[tuple[str, str]]:
    """(commit, whole message) from newest to oldest; empty where there is no such ref."""
    if _resolve(root, ref) is None:
        return []
    chosen = [f"--max-count={limit}"] if limit is not None else []
    text = _git(root, "log", "--first-parent", *chosen, "--format=%H%x00%B%x00", ref).decode(errors="replace")
    fields = text.split("\0")
    return [(fields[index].strip(), fields[index + 1].strip()) for index in range(0, len(fields) - 1, 2)]


def default_actor(root: Path) -> str:
    """Who acts: git's identity, or the name of the account."""
    name, email = _configured(root, "user.name"), _configured(root, "user.email")
    if name and email:
        return f"{name} <{email}>"
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return FALLBACK_NAME


def commit_tree(root: Path, files: Mapping[str, bytes], parents: Sequence[str], message: str, actor: str, *, base: str | None = None) -> str:
    """Write a commit of ``files`` (on top of the tree of ``base``) and give its sha; no ref points to it yet."""
    with tempfile.TemporaryDirectory(prefix="genmill-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if base:
            _git(root, "read-tree", base, env=index)
        lines = "".join(f"100644 {_write_blob(root, content)}\t{path}\n" for path, content in sorted(files.items()))
        _git(root, "update-index", "--add", "--index-info", given=lines.encode(), env=index)
        tree = _git(root, "write-tree", env=index).decode().strip()
    arguments = [part for parent in parents for part in ("-p", parent)]
    return _git(root, "commit-tree", tree, *arguments, given=message.encode(), env=_identity(root, actor)).decode().strip()


def make_tag(root: Path, name: str, commit: str, message: str, actor: str) -> str:
    """Write an annotated tag object and give its sha; no ref points to it yet."""
    who = _identity(root, actor)
    tagger = f"{who['GIT_COMMITTER_NAME']} <{who['GIT_COMMITTER_EMAIL']}> {int(time.time())} +0000"
    body = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n"
    return _git(root, "mktag", given=body.encode()).decode().strip()


def transaction(root: Path, updates: Sequence[RefUpdate], reason: str) -> None:
    """Move all the refs or none.

    Raises:
        RefConflict: one of them is not what it was said to be, or another git holds its lock.
    """
    nothing = "0" * 40
    lines = [f"update {update.name} {update.new or nothing} {update.old or nothing}" for update in updates]
    script = "\n".join(["start", *lines, "prepare", "commit", ""])
    result = _run(root, "update-ref", "-m", reason, "--create-reflog", "--stdin", given=script.encode(), env=_identity(root, FALLBACK_NAME))
    if result.returncode:
        message = result.stderr.decode(errors="replace").strip()
        if any(sign in message for sign in ("but expected", "already exists", "reference is missing", "Unable to create", "unable to resolve")):
            raise RefConflict(message)
        raise _failure(root, "update-ref", message)


def remotes(root: Path) -> list[str]:
    """The names of the repository's remotes."""
    return _git(root, "remote").decode().split()


def remote_refs(root: Path, remote: str, patterns: Sequence[str]) -> dict[str, str]:
    """The refs of a remote that match ``patterns``, as it has them now: sha by full name.

    Raises:
        RemoteUnreachable: it does not answer.
    """
    listed = _talk(root, "ls-remote", "--refs", remote, *patterns).decode(errors="replace")
    return {name: sha for sha, _, name in (line.partition("\t") for line in listed.splitlines())}


def fetch(root: Path, remote: str, refs: Mapping[str, str]) -> None:
    """Bring refs of a remote: ours by theirs; tracking refs, which follow wherever theirs go. No tag is taken along.

    Raises:
        RemoteUnreachable: it does not answer.
    """
    _talk(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, *(f"+{theirs}:{ours}" for theirs, ours in refs.items()))


def push(root: Path, remote: str, refs: Sequence[str]) -> None:
    """Bring ``refs`` to a remote, all or none and never by force.

    Raises:
        RefConflict: one of them is not there what ours was made from.
        RemoteUnreachable: it does not answer, or does not take them.
    """
    try:
        _talk(root, "push", "--quiet", "--atomic", "--no-verify", remote, *(f"{ref}:{ref}" for ref in refs))
    except RemoteUnreachable as error:
        if any(sign in str(error) for sign in ("[rejected]", "fetch first", "cannot lock ref", "failed to update ref", "reference already exists")):
            raise RefConflict(str(error)) from None
        raise


def is_ancestor(root: Path, commit: str, of: str) -> bool:
    """Whether ``commit`` is ``of`` or comes before it."""
    return _run(root, "merge-base", "--is-ancestor", commit, of).returncode == 0


def commits_since(root: Path, base: str, tip: str) -> list[str]:
    """The commits that led to ``tip`` and are not in ``base``, the oldest first."""
    return _git(root, "rev-list", "--first-parent", "--reverse", f"{base}..{tip}").decode().split()


def append_commit(root: Path, branch_name: str, files: Mapping[str, bytes], message: str, actor: str, expected_old: str | None) -> str:
    """Add one commit to branch ``branch_name`` if it still is at ``expected_old``; the commit's sha.

    Raises:
        RefConflict: somebody else added one in between.
    """
    commit = commit_tree(root, files, [expected_old] if expected_old else [], message, actor, base=expected_old)
    transaction(root, [RefUpdate(f"refs/heads/{branch_name}", commit, expected_old)], message.splitlines()[0])
    return commit


def _identity(root: Path, actor: str) -> dict[str, str]:
    """Author and committer: git's own where it is set, else the actor, for a fresh machine has none."""
    name, _, email = actor.partition("<")
    name, email = name.strip() or FALLBACK_NAME, email.rstrip("> ").strip() or FALLBACK_EMAIL
    name, email = (_configured(root, "user.name") or name), (_configured(root, "user.email") or email)
    names = {f"GIT_{role}_NAME": os.environ.get(f"GIT_{role}_NAME") or name for role in ("AUTHOR", "COMMITTER")}
    return {**names, **{f"GIT_{role}_EMAIL": os.environ.get(f"GIT_{role}_EMAIL") or email for role in ("AUTHOR", "COMMITTER")}}


def _configured(root: Path, key: str) -> str:
    return _run(root, "config", "--get", key).stdout.decode(errors="replace").strip()


def _write_blob(root: Path, content: bytes) -> str:
    return _git(root, "hash-object", "-w", "--stdin", given=content).decode().strip()


def _resolve(root: Path, ref: str) -> str | None:
    result = _run(root, "rev-parse", "--verify", "--quiet", ref)
    return result.stdout.decode().strip() or None if result.returncode == 0 else None


def _git(root: Path, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    result = _run(root, *arguments, given=given, env=env)
    if result.returncode:
        raise _failure(root, arguments[0], result.stderr.decode(errors="replace").strip())
    return result.stdout


def _talk(root: Path, *arguments: str) -> bytes:
    """Run a command that speaks with a remote; nobody is asked for a password, and a silent one is not waited for without end."""
    env = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "20"}
    if not (os.environ.get("GIT_SSH_COMMAND") or os.environ.get("GIT_SSH") or _configured(root, "core.sshCommand")):
        env["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes -oConnectTimeout=10"
    try:
        result = _run(root, *arguments, env=env, timeout_s=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise RemoteUnreachable(f"no answer within {_PATIENCE_S} s") from None
    if result.returncode:
        raise RemoteUnreachable(result.stderr.decode(errors="replace").strip())
    return result.stdout


def _run(
    root: Path, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    clean = {key: value for key, value in os.environ.items() if key not in _REDIRECTING}
    # -C keeps the caller's folder out of it; LC_ALL makes messages readable to us.
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        env={**clean, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **(env or {})},
        check=False,
        timeout=timeout_s,
    )


def _failure(root: Path, command: str, message: str) -> Exception:
    if "No space left on device" in message:
        return UserError(f"The disk of {root} is full: make room and run again; no version was changed.")
    if "ermission denied" in message:
        return UserError(f"git may not write in {root / '.git'} ({message.splitlines()[0]}): mend the rights of that folder.")
    return GitError(f"git {command} failed in {root}: {message}")
