"""The only place that runs git: reads, and compare-and-swap of refs. The user's branch, index and work tree are never touched.

Everything but `start_repository` is plumbing (hash-object, a temporary index, commit-tree, mktag, update-ref), so it works on
a detached HEAD, in a second work tree, in a shallow clone, and before the first commit.
"""

from components.git.process import GitError, RefConflict
from components.git.reading import (
    Ref,
    branch,
    commits_since,
    export_tree,
    head,
    is_ancestor,
    is_dirty,
    is_intact,
    list_files,
    list_refs,
    log,
    read_blob,
    read_tag,
    require_repository,
    resolve,
)
from components.git.remotes import RemoteUnreachable, fetch, push, remote_branches, remote_refs, remotes
from components.git.writing import RefUpdate, append_commit, commit_tree, default_actor, make_tag, start_repository, transaction

__all__ = [
    "GitError",
    "Ref",
    "RefConflict",
    "RefUpdate",
    "RemoteUnreachable",
    "append_commit",
    "branch",
    "commit_tree",
    "commits_since",
    "default_actor",
    "export_tree",
    "fetch",
    "head",
    "is_ancestor",
    "is_dirty",
    "is_intact",
    "list_files",
    "list_refs",
    "log",
    "make_tag",
    "push",
    "read_blob",
    "read_tag",
    "remote_branches",
    "remote_refs",
    "remotes",
    "require_repository",
    "resolve",
    "start_repository",
    "transaction",
]
