"""What differs between the data versions that several models were trained on: rows, what was dropped, and how the rows are distributed."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from components import git
from components.data.profile import Lengths, Profile, bin_start
from components.data.published import DataVersion, find_trained_on, read_published, read_published_validation
from components.errors import UserError
from components.params import Strict
from components.project import Project
from components.report.page import number, size
from components.report.svg import Columns, column_chart, compact

MOST_CLASSES = 24
"""Columns of a chart; where there are more classes, those are shown in which the versions differ most."""


class VersionFacts(Strict):
    """What is recorded of one published version."""

    name: str
    """`digits@v1`."""
    dataset: str
    facts: dict[str, str]
    """What is said of it, in words: rows by split, dropped rows by reason, validation, source, …"""
    profile: Profile


class Distribution(Strict):
    """Rows by class or by length in every version of one dataset."""

    title: str
    bins: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """By version, then by bin."""
    versions: tuple[str, ...]
    note: str = ""

    def chart(self, colours: Mapping[str, int]) -> Markup:
        return column_chart(self.title, self.bins, [Columns(name, colours[name], counts) for name, counts in zip(self.versions, self.counts, strict=True)])


class DataDiff(Strict):
    """The versions, what differs between them, and their distributions."""

    versions: tuple[VersionFacts, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """What differs, with a value per version."""
    distributions: tuple[Distribution, ...]
    notes: tuple[str, ...]


def data_diff(project: Project, names: Sequence[tuple[str, str, str]]) -> DataDiff:
    """The difference of the published versions ``names`` (dataset, version and sha256 of its content), from their manifests and the gate's results."""
    found, notes = list[VersionFacts](), list[str]()
    for dataset, version, sha256 in dict.fromkeys(names):
        try:
            found.append(_facts(project, find_trained_on(project, dataset, version, sha256)))
        except (UserError, FileNotFoundError, git.GitError):
            notes.append(f"{dataset}@{version} is not in this project's git, so its rows are not compared.")
    facts = dict.fromkeys(name for version in found for name in version.facts)
    rows = [(name, tuple(version.facts.get(name, "") for version in found)) for name in facts]
    families = {version.dataset: [one for one in found if one.dataset == version.dataset] for version in found}
    several = [versions for versions in families.values() if len(versions) > 1]
    notes += [_no_profile(version) for versions in several for version in versions if version.profile == Profile()]
    drawn = [one for versions in several for one in distributions([version for version in versions if version.profile != Profile()])]
    return DataDiff(versions=tuple(found), rows=tuple(row for row in rows if len(set(row[1])) > 1), distributions=tuple(drawn), notes=tuple(notes))


def _no_profile(version: VersionFacts) -> str:
    return f"{version.name} was validated before distributions were kept: a version published from now on has them."


def _facts(project: Project, version: DataVersion) -> VersionFacts:
    manifest, result = read_published(project, version), read_published_validation(project, version)
    facts = {
        **{f"rows, {split}": f"{rows:,}" for split, rows in manifest.rows_by_split().items()},
        **{f"dropped, {reason}": f"{rows:,}" for reason, rows in manifest.dropped.items()},
        "size": size(manifest.num_bytes),
        "validation": result.summary,
        **{f"rule, {rule.rule}{f' on {rule.column}' if rule.column else ''}": rule.sentence for rule in result.broken},
        **{f"source, {key}": str(value) for key, value in manifest.source.items()},
        "licence": manifest.licence,
        **{f"lengths, {name}": _span(lengths) for name, lengths in result.profile.lengths.items()},
        "published": f"{version.created} by {version.actor}",
    }
    return VersionFacts(name=f"{version.dataset}@{version.version}", dataset=version.dataset, facts=facts, profile=result.profile)


def _span(lengths: Lengths) -> str:
    """`8 to 32, half of them up to 16`."""
    alike = lengths.smallest == lengths.largest
    return f"{lengths.smallest:,}" if alike else f"{lengths.smallest:,} to {lengths.largest:,}, half of them up to {number(lengths.median)}"


def distributions(versions: Sequence[VersionFacts]) -> list[Distribution]:
    """Of what varies inside a version; a length that is the same in every row has nothing to show."""
    if len(versions) < 2:
        return []
    found = [_by_class(versions)] if any(version.profile.labels for version in versions) else []
    columns = dict.fromkeys(name for version in versions for name in version.profile.lengths)
    return found + [one for name in columns if len((one := _by_length(name, versions)).bins) > 1]


def _by_class(versions: Sequence[VersionFacts]) -> Distribution:
    labels = [version.profile.labels for version in versions]
    names = sorted({name for counts in labels for name in counts}, key=lambda name: (len(name), name))
    kept = names
    if len(names) > MOST_CLASSES:
        apart = sorted(names, key=lambda name: -(max(count := [counts.get(name, 0) for counts in labels]) - min(count)))
        kept = [name for name in names if name in apart[:MOST_CLASSES]]
    note = f"the {len(kept)} that differ most of {len(names)}" if len(kept) < len(names) else ""
    counts = tuple(tuple(counts.get(name, 0) for name in kept) for counts in labels)
    return Distribution(title=f"{versions[0].dataset}: rows by class", bins=tuple(kept), counts=counts, versions=_names(versions), note=note)


def _by_length(column: str, versions: Sequence[VersionFacts]) -> Distribution:
    bins = [lengths.bins if (lengths := version.profile.lengths.get(column)) else {} for version in versions]
    numbers = range(min(min(one, default=0) for one in bins), 1 + max(max(one, default=0) for one in bins))
    counts = tuple(tuple(one.get(bin_number, 0) for bin_number in numbers) for one in bins)
    names = tuple(compact(bin_start(bin_number)) for bin_number in numbers)
    return Distribution(title=f"{versions[0].dataset}: rows by {column}", bins=names, counts=counts, versions=_names(versions))


def _names(versions: Sequence[VersionFacts]) -> tuple[str, ...]:
    return tuple(version.name for version in versions)
