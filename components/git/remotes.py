"""Refs of other repositories: read, fetched and pushed."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.git.process import RefConflict, call, configured, run
from components.git.reading import Ref, list_refs

_PATIENCE_S = 120
"""With a remote, whose answer is some refs and what a few commits hold."""


class RemoteUnreachable(Exception):
    """A git remote does not answer, or lets nobody in; the message is git's, and may hold an address with a password."""


def remotes(root: Path) -> list[str]:
    """The names of the repository's remotes."""
    return call(root, "remote").decode().split()


def remote_branches(root: Path, name: str) -> list[Ref]:
    """What the last fetch saw of branch ``name`` on each remote."""
    return [ref for ref in list_refs(root, "refs/remotes") if ref.name.split("/", 3)[3:] == [name]]


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


def _talk(root: Path, *arguments: str) -> bytes:
    """Run a command that speaks with a remote; nobody is asked for a password, and a silent one is not waited for without end."""
    env = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "20"}
    if not (os.environ.get("GIT_SSH_COMMAND") or os.environ.get("GIT_SSH") or configured(root, "core.sshCommand")):
        env["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes -oConnectTimeout=10"
    try:
        result = run(root, *arguments, env=env, timeout_s=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise RemoteUnreachable(f"no answer within {_PATIENCE_S} s") from None
    if result.returncode:
        raise RemoteUnreachable(result.stderr.decode(errors="replace").strip())
    return result.stdout
