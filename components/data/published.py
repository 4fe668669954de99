"""Which versions of a dataset are published, and what is recorded of them: annotated tags, and commits of branch `data-versions`."""

import json
from pathlib import Path
from typing import Any

from components import git
from components.data.changes import Changes
from components.data.dataset import Manifest, read_manifest, stage_folder
from components.data.result import ValidationResult
from components.errors import UserError, nearest
from components.params import Strict
from components.project import Project

BRANCH = "data-versions"
_NEWEST = "Newest:"
"""Line of a commit's message with the newest version of every dataset."""


class FlowOrigin(Strict):
    """The flow that published a version."""

    flow: str
    """`build`, `watch`, …"""
    run_id: str
    """Of the flow run in Prefect."""
    deployment: str = ""
    """The schedule or trigger that began it; empty for a person's command."""

    def __str__(self) -> str:
        return f"flow {self.flow}, run {self.run_id[:8]}{f', of {self.deployment}' if self.deployment else ''}"


class DataVersion(Strict):
    """A published version of a dataset."""

    dataset: str
    version: str
    """`v1`, `v2`, …"""
    sha256: str
    """`Manifest.sha256`: digest of the content."""
    tag: str
    """`data/digits/v3`."""
    commit: str
    created: str
    """UTC, ISO 8601."""
    actor: str
    rows: dict[str, int]
    """By split, added rows included."""
    bytes: int
    validation: str
    """`passed` or `warnings`."""
    source: str
    flow: FlowOrigin | None = None
    """None where no flow published it, and for a version from before flows were noted."""
    changes: Changes | None = None
    """Against the version before; None for a version from before changes were noted."""
    formerly: str = ""
    """Its number before others were known of who had taken it meanwhile, e.g. `v2`."""
    new: bool = False
    """True only in the answer of the publish that made it."""
    note: str = ""
    """What else is to be said in the answer of a publish, e.g. that the refs could not be pushed."""

    @property
    def number(self) -> int:
        return int(self.version[1:])


def versions(project: Project, name: str) -> list[DataVersion]:
    """Every published version of ``name``, newest first."""
    found = [version for ref in git.list_refs(project.root, f"refs/tags/data/{name}/") if (version := parse_tag(ref))]
    return sorted(found, key=lambda version: -version.number)


def published_datasets(project: Project) -> list[str]:
    """Every dataset that has a version, whether params.yaml still names it or not."""
    return sorted({ref.name.split("/")[3] for ref in git.list_refs(project.root, "refs/tags/data/") if parse_tag(ref)})


def current_version(project: Project, name: str) -> DataVersion | None:
    """The newest published version, or None."""
    return next(iter(versions(project, name)), None)


def prepared_version(project: Project, name: str) -> DataVersion | None:
    """The published version whose content lies in the project's folders now, or None."""
    manifest = read_manifest(stage_folder(project, name, "augment"))
    return version_of_content(project, name, manifest.sha256) if manifest else None


def find_version(project: Project, name: str, ref: str) -> DataVersion:
    """The version that ``ref`` names: `v3`, `3`, `NAME@v3`, `data/NAME/v3`; `latest` or nothing is the newest.

    Raises:
        UserError: there is no such version; the message lists those that are there.
    """
    wanted = ref.removeprefix(f"data/{name}/").removeprefix(f"{name}@")
    found = versions(project, name)
    if not found:
        raise UserError(f"Dataset {name!r} has no published version ({nearest(name, published_datasets(project))}) Run `genmill run --dataset {name}`.")
    if wanted in ("", "latest"):
        return found[0]
    match = next((version for version in found if version.version in (wanted, f"v{wanted}")), None)
    if match is None:
        known = ", ".join(version.version for version in reversed(found))
        raise UserError(f"Dataset {name!r} has no version {wanted!r}: it has {known}; see `genmill data log {name}`.")
    return match


def find_trained_on(project: Project, name: str, ref: str, sha256: str) -> DataVersion:
    """The version that a run or a model names, with the content ``sha256`` that it recorded, whatever its number is now: others may have taken it.

    Of what recorded no content it is the version of that name.

    Raises:
        UserError: there is none.
    """
    found = version_of_content(project, name, sha256) if sha256 else None
    if found is None:
        found = find_version(project, name, ref)
        if sha256:
            raise UserError(
                f"{name}@{found.version} is not what it was trained on, and no version of {name!r} here has that content: `git fetch` brings others'."
            )
    return found


def read_published(project: Project, version: DataVersion) -> Manifest:
    """The manifest of a published version."""
    return Manifest.from_json(git.read_blob(project.root, version.commit, f"manifests/{version.dataset}.json"))


def read_published_validation(project: Project, version: DataVersion) -> ValidationResult:
    """The result of the gate that let the version pass."""
    return ValidationResult.model_validate_json(git.read_blob(project.root, version.commit, f"validation/{version.dataset}.json"))


def describe(project: Project, name: str, version: str | None = None) -> dict[str, Any]:
    """One version in full, as plain values: counts, who and when, source, what cleaning dropped, the gate's result, digests."""
    found = find_version(project, name, version or "")
    manifest, result = read_published(project, found), read_published_validation(project, found)
    return {
        **found.model_dump(mode="json", exclude={"new", "note", "source"}),
        "source": manifest.source,
        "licence": manifest.licence,
        "class_names": list(manifest.class_names),
        "columns": manifest.columns,
        "dropped": manifest.dropped,
        "notes": list(manifest.notes),
        "rules": {"checked": len(result.rules), "broken": [rule.sentence for rule in result.broken]},
        "shards": {shard.path: shard.sha256 for shard in manifest.shards},
    }


def version_of_content(project: Project, name: str, sha256: str) -> DataVersion | None:
    """The version that has this content, or None."""
    return next((version for version in versions(project, name) if version.sha256 == sha256), None)


def branch_tip(root: Path) -> str | None:
    """The last commit of the branch of versions; in a fresh clone, which knows the branch only as its remote's, that one's."""
    return git.resolve(root, f"refs/heads/{BRANCH}") or next((ref.commit for ref in git.remote_branches(root, BRANCH)), None)


def newest_line(root: Path, tip: str | None, version: DataVersion | None = None) -> str:
    """The line that every commit of the branch ends in: the newest version of each dataset, which a clone without tags goes on from."""
    numbers = {**numbers_at(root, tip), **({version.dataset: version.number} if version else {})}
    return f"{_NEWEST} {' '.join(f'{dataset}=v{newest}' for dataset, newest in sorted(numbers.items()))}"


def numbers_at(root: Path, tip: str | None) -> dict[str, int]:
    """The newest version of every dataset as the commit ``tip`` lists them."""
    for _, message in git.log(root, tip, limit=1) if tip else []:
        for line in message.splitlines():
            if line.startswith(_NEWEST):
                pairs = [entry.split("=v") for entry in line.removeprefix(_NEWEST).split()]
                return {dataset: int(number) for dataset, number in pairs}
    return {}


def write_tag(root: Path, version: DataVersion, commit: str) -> str:
    """Write the annotated tag of ``version`` on ``commit`` and give its sha; no ref points to it yet."""
    body = json.dumps(version.model_dump(mode="json", exclude={"commit", "new", "note"}), indent=1)
    return git.make_tag(root, version.tag, commit, f"{sentence(version)}\n\n{body}", version.actor)


def sentence(version: DataVersion) -> str:
    """The version in a line, for a tag's or a commit's message."""
    rows = ", ".join(f"{split} {number:,}" for split, number in version.rows.items())
    return f"{version.dataset} {version.version}: {rows} rows, {version.bytes:,} bytes, validation {version.validation}"


def parse_tag(ref: git.Ref) -> DataVersion | None:
    """The version that a tag describes; None for a tag that somebody else put there."""
    _, _, body = ref.message.partition("\n\n")
    try:
        return DataVersion.model_validate({**json.loads(body), "commit": ref.commit})
    except ValueError:
        return None
