"""Runs git, with what would send a command elsewhere or wait for somebody taken out of its environment."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from components.errors import UserError

_REDIRECTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_COMMON_DIR")
"""Set inside git hooks; they would send our commands to another repository or index."""


class GitError(Exception):
    """A git command failed in a way that is not the user's to mend."""


class RefConflict(Exception):
    """Somebody moved a ref in between: read again and try again."""


def call(root: Path, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """What a command wrote; raises `failure` where it failed."""
    result = run(root, *arguments, given=given, env=env)
    if result.returncode:
        raise failure(root, arguments[0], result.stderr.decode(errors="replace").strip())
    return result.stdout


def run(
    root: Path, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """A command in ``root`` as it ended, well or not."""
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


def failure(root: Path, command: str, message: str) -> Exception:
    """What to raise for a command that failed with ``message``: a sentence with the fix where it is the user's to mend."""
    if "No space left on device" in message:
        return UserError(f"The disk of {root} is full: make room and run again; no version was changed.")
    if "ermission denied" in message:
        return UserError(f"git may not write in {root / '.git'} ({message.splitlines()[0]}): mend the rights of that folder.")
    return GitError(f"git {command} failed in {root}: {message}")


def configured(root: Path, key: str) -> str:
    """The value of a key of git's configuration, or nothing."""
    return run(root, "config", "--get", key).stdout.decode(errors="replace").strip()


def object_name(root: Path, ref: str) -> str | None:
    """The object that ``ref`` names, e.g. a commit or the file `REF:PATH`, or None."""
    result = run(root, "rev-parse", "--verify", "--quiet", ref)
    return result.stdout.decode().strip() or None if result.returncode == 0 else None
