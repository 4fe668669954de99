"""Verbs on the versions of datasets: data log, diff, restore, verify, gc, push."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import UserError, writing
from genmill.options import JsonOption, ProjectOption, complete_dataset, open_project

if TYPE_CHECKING:
    from components.cache import Unused
    from components.data.diff import DatasetDiff
    from components.data.freed import Freed
    from components.data.gc import Collection
    from components.data.publish import DataVersion
    from components.data.verify import Verification
    from components.project import Project

NameArgument = Annotated[str, typer.Argument(help="A dataset.", autocompletion=complete_dataset)]
RefArgument = Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@vN.", autocompletion=complete_dataset)]


def add_to(app: typer.Typer) -> None:
    for verb in (log, diff, restore, verify, gc, push):
        app.command()(verb)


def log(name: NameArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """The versions of a dataset: what, when, who or which flow, how many rows, what changed, and how validation went.

    Example: [bold]genmill data log digits[/]
    """
    where = open_project(project)
    from components.data.freed import freed_versions
    from components.data.publish import versions
    from genmill.console import out, print_json, print_table

    known_dataset(where, name)
    found, freed = versions(where, name), freed_versions(where, name)
    if as_json:
        print_json([{**version.model_dump(mode="json", exclude={"new", "note"}), "freed": freed.get(version.version)} for version in found])
        return
    rows = [_log_row(version, freed.get(version.version)) for version in found]
    print_table(f"Versions of {name}", ("version", "when (UTC)", "who", "rows", "changed", "size", "validation", "tag", "sha256"), rows)
    for version in found:
        if version.version in freed:
            out.print(f"{freed[version.version].sentence(name)}.", soft_wrap=True)


def _log_row(version: "DataVersion", freed: "Freed | None") -> tuple[Any, ...]:
    from genmill.console import human_bytes

    who = f"{version.actor}\n{version.flow}" if version.flow else version.actor
    changes = version.changes
    changed = "unknown" if changes is None else "first version" if not changes.against else f"{changes}\nagainst {changes.against}"
    return (
        version.version, _minute(version), who, ", ".join(f"{rows:,} {split}" for split, rows in version.rows.items()), changed,
        "freed" if freed else human_bytes(version.bytes), version.validation, version.tag, version.sha256[:12],
    )  # fmt: skip


def _minute(version: "DataVersion") -> str:
    """When it was published, UTC."""
    return version.created[:16].replace("T", " ")


def diff(
    refs: Annotated[
        list[str],
        typer.Argument(help="NAME (its newest version against what is prepared), NAME v1 v2, or NAME@v1 NAME@v2.", autocompletion=complete_dataset),
    ],
    html: Annotated[bool, typer.Option("--html", help="Write a page with pictures and texts of what differs.")] = False,
    out_file: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Where the page goes (default: the reports folder); implies --html.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs between two versions: rows added, removed, changed and moved, distributions, params, source and licence.

    Example: [bold]genmill data diff digits v1 v2 --html[/]

    What is prepared against the newest version: [bold]genmill data diff digits[/]
    """
    where = open_project(project)
    if out_file is not None:
        with writing(out_file):  # before the work, not after it
            out_file.parent.mkdir(parents=True, exist_ok=True)
    from components.data.diff import diff as compare_versions
    from genmill.console import print_json

    name, before, after = _sides(where, refs)
    result = compare_versions(where, name, before, after, show=html or out_file is not None)
    if html or out_file is not None:
        from components.report.dataset_diff import write_diff_page

        result = write_diff_page(where, result, out_file)
    print_json(result) if as_json else _show_diff(result)


def _sides(project: "Project", refs: list[str]) -> tuple[str, str, str]:
    """The dataset and the two sides that the arguments mean."""
    from components.data.diff import PREPARED

    name, version = split_ref(project, refs[0])
    versions = [version] if version else []
    for ref in refs[1:]:
        other, at, number = ref.partition("@")
        if at and other != name:
            raise UserError(f"{refs[0]} and {ref} are two datasets: compare versions of one, e.g. `genmill data diff {name} v1 v2`.")
        versions.append(number if at else ref)
    if len(versions) > 2:
        raise UserError(f"{len(versions)} versions are named: compare two, e.g. `genmill data diff {name} v1 v2`.")
    before, after = [*versions, "latest"][:2] if versions else ("latest", PREPARED)
    return name, before, after


def _show_diff(result: "DatasetDiff") -> None:
    from genmill.console import out, print_table

    rows = [(kind, f"{getattr(result.rows, kind):,}", ", ".join(result.ids[kind][:5])) for kind in result.ids]
    print_table(f"{result.before} → {result.after}", ("rows", "number", "for instance"), [*rows, ("same", f"{result.rows.same:,}", "")])
    for move in result.moves:
        out.print(f"{move.rows:,} rows moved from {move.before} to {move.after}")
    if result.facts:
        print_table("What else differs", ("what", result.before, result.after), [(fact.name, fact.before, fact.after) for fact in result.facts])
    if result.drift:
        drifts = [(one.column, f"{one.value:.3g}", f"{one.chance:.2g}", one.verdict) for one in result.drift]
        print_table("Distributions", ("column", "population stability index", "by chance", "verdict"), drifts)
    if result.page:
        out.print(f"Page       {result.page}", soft_wrap=True)


def restore(
    ref: Annotated[str, typer.Argument(help="NAME@vN.")],
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an old version into another folder; the current one is not touched.

    Example: [bold]genmill data restore digits@v1 --to /tmp/digits-v1[/]
    """
    where = open_project(project)
    from components.data.publish import find_version
    from components.data.restore import restore as restore_version
    from genmill.console import out, print_json

    name, version = split_ref(where, ref)
    found = find_version(where, name, version or "")
    folder = restore_version(where, found, to)
    if as_json:
        print_json({"version": f"{name}@{found.version}", "sha256": found.sha256, "folder": str(folder)})
        return
    out.print(f"Restored {name} {found.version} ({sum(found.rows.values())} rows, sha256 {found.sha256[:12]}) to {folder}", soft_wrap=True)


def verify(
    ref: Annotated[str | None, typer.Argument(help="NAME (its newest version) or NAME@vN.", autocompletion=complete_dataset)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every version: of NAME, or without one of every dataset.")] = False,
    mend: Annotated[bool, typer.Option("--mend", help="Write what one place lost anew from a place that has it whole.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Re-hash every byte of a version, here and in the remote; exit code 1 names what is broken and was not mended.

    Example: [bold]genmill data verify digits[/]

    Every version of every dataset, and what is damaged mended: [bold]genmill data verify --all --mend[/]
    """
    where = open_project(project)
    from components.data.verify import verify as verify_version
    from components.data.verify import verify_all
    from genmill.console import print_json

    if ref is None and not everything:
        raise UserError("Nothing is named to be verified: give NAME or NAME@vN, or --all.")
    name, version = split_ref(where, ref) if ref else (None, None)
    if everything and version:
        raise UserError(f"{ref} is one version and --all means all: leave one of them out.")
    result = verify_all(where, name, repair=mend) if everything or name is None else verify_version(where, name, version, repair=mend)
    print_json(result) if as_json else _show_verification(ref or "all datasets", result)
    if not result.ok:
        raise typer.Exit(1)


def _show_verification(what: str, result: "Verification") -> None:
    from genmill.console import human_bytes, out

    for sentence in result.mended:
        out.print(f"[yellow]![/] {sentence}", soft_wrap=True)
    for sentence in result.freed:
        out.print(f"[dim]·[/] {sentence}", soft_wrap=True)
    for problem in result.broken:
        out.print(f"[red]✗[/] {problem}", soft_wrap=True)
    if result.ok:
        out.print(f"[green]✓[/] {what}: {result.checked} objects, {human_bytes(result.bytes)}, every sha256 as recorded")


def gc(
    name: Annotated[str | None, typer.Argument(help="A dataset (default: all, and what belongs to no version).", autocompletion=complete_dataset)] = None,
    keep: Annotated[int, typer.Option("--keep", help="How many of the newest versions of each stay.", min=1)] = 1,
    remote: Annotated[bool, typer.Option("--remote", help="Free them in the remote too: their record stays, their bytes are gone for good.")] = False,
    unused: Annotated[float, typer.Option("--unused", help="Without NAME: days after which what is in .genmill/cache and was not used goes.", min=0)] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    no_registry: Annotated[bool, typer.Option("--no-registry", help="There is no registry: nothing was ever trained on these versions.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Free the bytes of old versions: never of what a registered model was trained on, nor of what a kept version shares or reads.

    Example: [bold]genmill data gc digits --keep 3 --dry-run[/]
    """
    where = open_project(project)
    from components.cache import drop
    from components.cache import unused as find_unused
    from components.data.gc import collect_garbage
    from components.data.published import published_datasets
    from components.git import default_actor
    from components.registry import ledger
    from components.registry.trained_on import protected_versions
    from components.tracking import Tracker
    from genmill.console import print_json

    if name is not None:
        known_dataset(where, name)
    if no_registry and ledger.read(where):
        raise UserError("--no-registry says that nothing was trained, but the ledger has promotions: set MLFLOW_TRACKING_URI to the registry instead.")
    protected = [] if no_registry else protected_versions(where, Tracker.of(where), published_datasets(where))
    result = collect_garbage(where, name, protected, keep=keep, remote=remote, dry_run=dry_run, actor=default_actor(where.root))
    aged = find_unused(where, unused) if name is None else []
    if not dry_run:
        drop(aged)
    if as_json:
        print_json({**result.model_dump(mode="json"), "cached": {"entries": len(aged), "bytes": sum(one.bytes for one in aged)}})
    else:
        _show_collection(result, aged)


def _show_collection(result: "Collection", aged: "list[Unused]") -> None:
    from genmill.console import human_bytes, out, print_table

    print_table("Kept", ("version", "why"), [(kept.version, kept.why) for kept in result.kept])
    where = "the remote and the cache" if result.remote else "the cache (the remote keeps them)"
    if result.versions:
        out.print(f"{'Would free' if result.dry_run else 'Freed'} in {where}: {', '.join(result.versions)}", soft_wrap=True)
    leftovers = f", {result.leftovers} of them of no version" if result.leftovers else ""
    out.print(f"{'Would free' if result.dry_run else 'Freed'} {human_bytes(result.bytes)}: {result.objects} objects{leftovers}")
    if aged:
        size = human_bytes(sum(one.bytes for one in aged))
        out.print(f"{'Would free' if result.dry_run else 'Freed'} {size} of .genmill/cache: {len(aged)} entries that were not used of late")
    for note in result.notes:
        out.print(f"[yellow]![/] {note}", soft_wrap=True)


def push(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Push the branches and tags of versions and promotions to the git remote that `versions.git_remote` names, behind what others published there.

    Example: [bold]genmill data push[/]
    """
    where = open_project(project)
    from components.data.sharing import push_all
    from components.registry.ledger import BRANCH
    from genmill.console import out, print_json

    sharing, notes = push_all(where, (BRANCH,))
    if as_json:
        print_json({**sharing.model_dump(mode="json"), "notes": notes})
    else:
        out.print(f"Pushed to {sharing.remote}: {', '.join(sharing.pushed) or 'nothing, it has everything'}", soft_wrap=True)
        for sentence in [*sharing.sentences, *notes]:
            out.print(f"[yellow]![/] {sentence}", soft_wrap=True)
    if notes:
        raise typer.Exit(1)


def split_ref(project: "Project", ref: str) -> tuple[str, str | None]:
    """NAME or NAME@vN as its two parts."""
    name, _, version = ref.partition("@")
    known_dataset(project, name)
    return name, version or None


def known_dataset(project: "Project", name: str) -> None:
    """Raise a UserError for a dataset that is neither in params.yaml nor published."""
    from components.data.publish import versions
    from pipelines.catalog import load_catalog

    if not versions(project, name):
        load_catalog(project).dataset(name)
