"""Commits, tags and compare-and-swap of refs."""

import getpass
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.git.process import RefConflict, call, configured, failure, run

_FALLBACK_NAME, _FALLBACK_EMAIL = "Genmill", "genmill@localhost"


@dataclass(frozen=True)
class RefUpdate:
    name: str
    new: str | None
    """None: it is deleted."""
    old: str | None
    """What it must be now; None: it must not exist."""


def start_repository(root: Path, message: str, paths: Sequence[str] = (".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")) -> bool:
    """Make ``root`` a repository with a first commit of ``paths``; False where it is one already, which is left alone."""
    if (root / ".git").exists():
        return False
    call(root, "init", "--quiet", "--initial-branch=main")
    call(root, "add", "--", *(path for path in paths if (root / path).exists()))
    call(root, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message, env=_identity(root, default_actor(root)))
    return True


def default_actor(root: Path) -> str:
    """Who acts: git's identity, or the name of the account."""
    name, email = configured(root, "user.name"), configured(root, "user.email")
    if name and email:
        return f"{name} <{email}>"
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return _FALLBACK_NAME


def commit_tree(root: Path, files: Mapping[str, bytes], parents: Sequence[str], message: str, actor: str, *, base: str | None = None) -> str:
    """Write a commit of ``files`` (on top of the tree of ``base``) and give its sha; no ref points to it yet."""
    with tempfile.TemporaryDirectory(prefix="genmill-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if base:
            call(root, "read-tree", base, env=index)
        lines = "".join(f"100644 {_write_blob(root, content)}\t{path}\n" for path, content in sorted(files.items()))
        call(root, "update-index", "--add", "--index-info", given=lines.encode(), env=index)
        tree = call(root, "write-tree", env=index).decode().strip()
    arguments = [part for parent in parents for part in ("-p", parent)]
    return call(root, "commit-tree", tree, *arguments, given=message.encode(), env=_identity(root, actor)).decode().strip()


def make_tag(root: Path, name: str, commit: str, message: str, actor: str) -> str:
    """Write an annotated tag object and give its sha; no ref points to it yet."""
    who = _identity(root, actor)
    tagger = f"{who['GIT_COMMITTER_NAME']} <{who['GIT_COMMITTER_EMAIL']}> {int(time.time())} +0000"
    body = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n"
    return call(root, "mktag", given=body.encode()).decode().strip()


def transaction(root: Path, updates: Sequence[RefUpdate], reason: str) -> None:
    """Move all the refs or none.

    Raises:
        RefConflict: one of them is not what it was said to be, or another git holds its lock.
    """
    nothing = "0" * 40
    lines = [f"update {update.name} {update.new or nothing} {update.old or nothing}" for update in updates]
    script = "\n".join(["start", *lines, "prepare", "commit", ""])
    result = run(root, "update-ref", "-m", reason, "--create-reflog", "--stdin", given=script.encode(), env=_identity(root, _FALLBACK_NAME))
    if result.returncode:
        message = result.stderr.decode(errors="replace").strip()
        if any(sign in message for sign in ("but expected", "already exists", "reference is missing", "Unable to create", "unable to resolve")):
            raise RefConflict(message)
        raise failure(root, "update-ref", message)


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
    name, email = name.strip() or _FALLBACK_NAME, email.rstrip("> ").strip() or _FALLBACK_EMAIL
    name, email = (configured(root, "user.name") or name), (configured(root, "user.email") or email)
    names = {f"GIT_{role}_NAME": os.environ.get(f"GIT_{role}_NAME") or name for role in ("AUTHOR", "COMMITTER")}
    return {**names, **{f"GIT_{role}_EMAIL": os.environ.get(f"GIT_{role}_EMAIL") or email for role in ("AUTHOR", "COMMITTER")}}


def _write_blob(root: Path, content: bytes) -> str:
    return call(root, "hash-object", "-w", "--stdin", given=content).decode().strip()
