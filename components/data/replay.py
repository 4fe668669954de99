"""Joins what was published here with what others published meanwhile: theirs stands, and ours is published again on top of it."""

from collections.abc import Mapping
from pathlib import Path

from components import git
from components.data.freed import freed_at, freed_path, to_json
from components.data.lockfile import merged_lock
from components.data.published import BRANCH, DataVersion, newest_line, numbers_at, parse_tag, published_datasets, versions, write_tag
from components.errors import UserError
from components.project import Project

_CARRIED = (".dvc/config", "dvc.yaml", "params.yaml")


def join(project: Project, theirs: str, their_tags: Mapping[str, str]) -> dict[str, str]:
    """Move our branch and tags to what others published, with ours on top; the versions that got another number, old to new.

    ``theirs`` is the commit of their branch, ``their_tags`` the tag objects by full name; all of it has been fetched. Nothing of theirs changes.

    Raises:
        RefConflict: something moved meanwhile.
        UserError: a tag here has the name of one of theirs and was not made by a publish.
    """
    root = project.root
    local = git.resolve(root, f"refs/heads/{BRANCH}")
    here = {ref.name: ref.sha for ref in git.list_refs(root, "refs/tags/data/")}
    updates = {name: git.RefUpdate(name, sha, here.get(name)) for name, sha in their_tags.items() if here.get(name) != sha}
    mine = {version.commit: version for name in published_datasets(project) for version in versions(project, name)}
    unsent = git.commits_since(root, theirs, local) if local and not git.is_ancestor(root, local, theirs) else []
    _refuse_foreign(root, updates, here, {mine[commit].tag for commit in unsent if commit in mine})
    tip, renamed = theirs, dict[str, str]()
    if local and git.is_ancestor(root, theirs, local):
        tip, unsent = local, []
    contents = _contents(root, their_tags)
    for commit in unsent:
        version = mine.get(commit)
        if version is None:
            tip = _freed_again(project, commit, tip)
            continue
        ours = f"refs/tags/{version.tag}"
        known = contents.get((version.dataset, version.sha256))
        if known is None:
            known, tip, tag = _published_again(root, version, tip, their_tags)
            updates[f"refs/tags/{known.tag}"] = git.RefUpdate(f"refs/tags/{known.tag}", tag, here.get(f"refs/tags/{known.tag}"))
        if known.tag != version.tag:
            renamed[f"{version.dataset}@{version.version}"] = f"{known.dataset}@{known.version}"
            # Where it is one of theirs as well, it becomes theirs above.
            updates.setdefault(ours, git.RefUpdate(ours, None, here[ours]))
    if tip != local:
        updates[f"refs/heads/{BRANCH}"] = git.RefUpdate(f"refs/heads/{BRANCH}", tip, local)
    if updates:
        git.transaction(root, list(updates.values()), "genmill: join what others published")
    return renamed


def _refuse_foreign(root: Path, updates: Mapping[str, git.RefUpdate], here: Mapping[str, str], unsent: set[str]) -> None:
    """A tag of theirs may take the name of a version that was published here and never sent, and of nothing else."""
    for name in updates:
        if name in here and name.removeprefix("refs/tags/") not in unsent:
            tag = name.removeprefix("refs/tags/")
            raise UserError(f"The tag {tag} here is not the one that others published: delete it (`git -C {root} tag -d {tag}`), then run `genmill data push`.")


def _contents(root: Path, their_tags: Mapping[str, str]) -> dict[tuple[str, str], DataVersion]:
    """Their versions by dataset and content."""
    found = (parse_tag(ref) for name, sha in their_tags.items() if (ref := git.read_tag(root, name, sha)))
    return {(version.dataset, version.sha256): version for version in found if version}


def _published_again(root: Path, version: DataVersion, tip: str, their_tags: Mapping[str, str]) -> tuple[DataVersion, str, str]:
    """The version with the next free number on top of ``tip``; its commit and its tag object."""
    name, before = version.dataset, version.commit
    prefix = f"refs/tags/data/{name}/v"
    taken = [int(tag.removeprefix(prefix)) for tag in their_tags if tag.startswith(prefix) and tag.removeprefix(prefix).isdigit()]
    number = 1 + max([*taken, numbers_at(root, tip).get(name, 0)])
    formerly = version.version if number != version.number else version.formerly
    again = version.model_copy(update={"version": f"v{number}", "tag": f"data/{name}/v{number}", "formerly": formerly})
    paths = (*_CARRIED, f"manifests/{name}.json", f"validation/{name}.json")
    files = {path: git.read_blob(root, before, path) for path in paths}
    files["dvc.lock"] = merged_lock(git.read_blob(root, tip, "dvc.lock"), git.read_blob(root, before, "dvc.lock"), name)
    was = f"\n\nPublished as {version.version} before others were known of.\n" if formerly else "\n"
    message = f"{again.tag}{was}\nActor: {again.actor}\n{newest_line(root, tip, again)}\n"
    commit = git.commit_tree(root, files, [tip], message, again.actor, base=tip)
    made = again.model_copy(update={"commit": commit})
    return made, commit, write_tag(root, made, commit)


def _freed_again(project: Project, commit: str, tip: str) -> str:
    """What ``commit`` wrote of freed versions, on top of ``tip``."""
    root = project.root
    parent = git.resolve(root, f"{commit}^")
    files: dict[str, bytes] = {}
    for path in git.list_files(root, commit):
        name = path.removeprefix("freed/").removesuffix(".json")
        if path != freed_path(name):
            continue
        before, after, theirs = (freed_at(project, one, name) for one in (parent, commit, tip))
        added = {version: one for version, one in after.items() if version not in before}
        merged = {version: one for version, one in {**added, **theirs}.items() if version not in before.keys() - after.keys()}
        if merged != theirs:
            files[path] = to_json(merged)
    if not files:
        return tip
    said = git.log(root, commit, limit=1)[0][1].splitlines()[0]
    return git.commit_tree(root, files, [tip], f"{said}\n\n{newest_line(root, tip)}\n", git.default_actor(root), base=tip)
