"""What a repository holds: its state, commits, refs and their files."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.git.process import GitError, call, object_name, run

_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""For an archive that git makes of this repository; Pythons before 3.11.4 have no filters."""


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


def require_repository(root: Path) -> None:
    """Raise a UserError with the fix unless ``root`` is the top of a git work tree."""
    if not root.is_dir():
        raise UserError(f"There is no folder {root}.")
    try:
        top = call(root, "rev-parse", "--show-toplevel").decode().strip()
    except FileNotFoundError:
        raise UserError("git is not installed: install it (e.g. `apt install git`), then run again.") from None
    except GitError as error:
        if "dubious ownership" in str(error):
            raise UserError(f"git refuses {root} because another user owns it: run `git config --global --add safe.directory {root}`.") from None
        raise UserError(f"{root} is not a git repository, which the versions are kept in: run `git init {root}`.") from None
    if not top or Path(top).resolve() != root.resolve():
        raise UserError(f"{root} lies inside the git repository {top}, but a project needs its own: run `git init {root}`.")


def head(root: Path) -> str | None:
    """The commit that is checked out, None before the first one."""
    return object_name(root, "HEAD")


def branch(root: Path) -> str | None:
    """The branch that is checked out, None on a detached HEAD."""
    result = run(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return result.stdout.decode().strip() or None


def is_dirty(root: Path, paths: Sequence[str] = ()) -> bool:
    """Whether tracked or new files below ``paths`` (default: anywhere) differ from the commit."""
    return bool(call(root, "status", "--porcelain", "--untracked-files=normal", "--", *paths).strip())


def resolve(root: Path, ref: str) -> str | None:
    """The commit that ``ref`` names, or None."""
    return object_name(root, f"{ref}^{{commit}}")


def read_blob(root: Path, ref: str, path: str) -> bytes:
    """The file ``path`` as of ``ref``.

    Raises:
        FileNotFoundError: there is no such ref or file.
    """
    result = run(root, "cat-file", "blob", f"{ref}:{path}")
    if result.returncode:
        raise FileNotFoundError(f"{ref}:{path}")
    return result.stdout


def list_files(root: Path, ref: str) -> list[str]:
    """The paths of every file as of ``ref``; empty where there is no such ref."""
    result = run(root, "ls-tree", "-r", "-z", "--name-only", ref)
    return [path for path in result.stdout.decode(errors="replace").split("\0") if path] if result.returncode == 0 else []


def is_intact(root: Path, ref: str, path: str) -> bool:
    """Whether the bytes of ``path`` as of ``ref`` still have the name that git gave them; git itself does not look when it reads one.

    Raises:
        FileNotFoundError: there is no such ref or file, or it cannot be read at all.
    """
    content, name = read_blob(root, ref, path), object_name(root, f"{ref}:{path}") or ""
    digest = hashlib.sha256 if len(name) == 64 else hashlib.sha1
    return digest(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == name


def export_tree(root: Path, commit: str, to: Path) -> None:
    """Write the files of ``commit`` below ``to``; the work tree and the index are not looked at.

    Raises:
        FileNotFoundError: there is no such commit.
    """
    result = run(root, "archive", "--format=tar", commit)
    if result.returncode:
        raise FileNotFoundError(commit)
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(to, **_SAFELY)  # noqa: S202 - of git itself


def list_refs(root: Path, prefix: str) -> list[Ref]:
    """Every ref at or below ``prefix``, e.g. `refs/tags/data/digits/`, with its message."""
    # Each field ends in NUL because a message may hold anything else.
    form = "%(refname)%00%(objectname)%00%(*objectname)%00%(contents)%00"
    fields = call(root, "for-each-ref", f"--format={form}", prefix).decode(errors="replace").split("\0")
    rows = [fields[index : index + 4] for index in range(0, len(fields) - 3, 4)]
    return [Ref(name.strip(), sha, peeled or sha, message.strip()) for name, sha, peeled, message in rows]


def read_tag(root: Path, name: str, sha: str) -> Ref | None:
    """The annotated tag object ``sha`` as the ref ``name`` would show it; None where it is no annotated tag."""
    result = run(root, "cat-file", "tag", sha)
    commit = object_name(root, f"{sha}^{{commit}}")
    if result.returncode or commit is None:
        return None
    return Ref(name, sha, commit, result.stdout.decode(errors="replace").partition("\n\n")[2].strip())


def log(root: Path, ref: str, limit: int | None = None) -> list[tuple[str, str]]:
    """(commit, whole message) from newest to oldest; empty where there is no such ref."""
    if object_name(root, ref) is None:
        return []
    chosen = [f"--max-count={limit}"] if limit is not None else []
    text = call(root, "log", "--first-parent", *chosen, "--format=%H%x00%B%x00", ref).decode(errors="replace")
    fields = text.split("\0")
    return [(fields[index].strip(), fields[index + 1].strip()) for index in range(0, len(fields) - 1, 2)]


def is_ancestor(root: Path, commit: str, of: str) -> bool:
    """Whether ``commit`` is ``of`` or comes before it."""
    return run(root, "merge-base", "--is-ancestor", commit, of).returncode == 0


def commits_since(root: Path, base: str, tip: str) -> list[str]:
    """The commits that led to ``tip`` and are not in ``base``, the oldest first."""
    return call(root, "rev-list", "--first-parent", "--reverse", f"{base}..{tip}").decode().split()
