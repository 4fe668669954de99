"""Verbs that prove what a registered model is: audit, reproduce."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import writing
from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from components.registry.lineage import AuditReport
    from components.training.reproducing.reproduce import Reproduction

RefArgument = Annotated[str, typer.Argument(help="MODEL, MODEL@champion, MODEL/3 or a run id.", autocompletion=complete_model)]
VERDICTS = {"identical": "[green]identical[/]", "agrees": "[green]agrees[/]", "differs": "[red]differs[/]", "not measured": "[red]not measured[/]"}
MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}


def add_to(app: typer.Typer) -> None:
    for verb in (audit, reproduce):
        app.command()(verb)


def audit(
    ref: RefArgument,
    html: Annotated[bool, typer.Option("--html", help="Write a page for somebody who knows nothing of the project.")] = False,
    out_file: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Where the page goes (default: the reports folder); implies --html.")] = None,
    rehash: Annotated[bool, typer.Option("--rehash/--no-rehash", help="Compute every digest anew, or only read what is recorded.")] = True,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a model back to the raw bytes, re-hashing everything; exit code 1 names the broken link.

    Example: [bold]genmill audit vae-digits@champion[/]

    For a stranger: [bold]genmill audit vae-digits@champion --html --out audit.html[/]
    """
    where = open_project(project)
    if out_file is not None:
        with writing(out_file):  # before the work, not after it
            out_file.parent.mkdir(parents=True, exist_ok=True)
    from components.registry.lineage import audit as audit_model
    from components.tracking import Tracker
    from genmill.console import print_json

    tracker = Tracker.of(where)
    report = audit_model(where, tracker, ref, rehash=rehash)
    if html or out_file is not None:
        from components.report.audit import write_audit_page

        report = write_audit_page(where, tracker, report, out_file)
    print_json(report) if as_json else _show(report)
    if not report.ok:
        raise typer.Exit(1)


def reproduce(
    ref: RefArgument,
    to: Annotated[Path | None, typer.Option("--to", help="A new folder (default: one below .genmill/reproductions); an interrupted one goes on.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a version again from its recorded code, data and params, in a folder of its own; exit code 1 where a figure does not agree.

    Example: [bold]genmill reproduce vae-digits@champion --to /tmp/again[/]
    """
    where = open_project(project)
    from components.registry.references import resolve
    from components.tracking import Tracker
    from components.training.reproducing.reproduce import default_folder
    from components.training.reproducing.reproduce import reproduce as reproduce_version
    from genmill.console import LiveListener, print_json
    from pipelines import console
    from pipelines.outcomes import RunInterrupted

    tracker = Tracker.of(where)
    version = resolve(tracker, ref)
    folder = to if to is not None else default_folder(where, version)
    with LiveListener() as listener, console.listening(listener):
        try:
            result = reproduce_version(where, tracker, version.ref, to=folder, say=console.say, on_event=console.events_of(version.name))
        except KeyboardInterrupt:
            again = shlex.join(["genmill", "reproduce", version.ref, "--to", str(folder), "--project", str(where.root)])
            raise RunInterrupted("Interrupted; what was restored, and the last checkpoint, are kept.", resume=again) from None
    print_json(result) if as_json else _show_reproduction(result)
    if not result.ok:
        raise typer.Exit(1)


def _show_reproduction(result: "Reproduction") -> None:
    from genmill.console import out, print_table

    rows = [
        (row.figure, f"{row.recorded:.6g}", "–" if row.reproduced is None else f"{row.reproduced:.6g}",
         "–" if row.difference is None else f"{row.difference:.2g}", f"{row.tolerance:.2g}", f"{VERDICTS[row.verdict]} {row.note}".strip())
        for row in result.figures
    ]  # fmt: skip
    print_table(f"{result.version}, trained again", ("figure", "recorded", "reproduced", "difference", "tolerance", "verdict"), rows)
    out.print(f"Weights    {'identical to the last bit' if result.weights == 'identical' else 'not the same bits'}", soft_wrap=True)
    if result.differences:
        print_table("What was not the same", ("what", "recorded", "here"), [(row.what, row.recorded, row.here) for row in result.differences])
    out.print(f"Folder     {result.folder}", soft_wrap=True)


def _show(report: "AuditReport") -> None:
    from genmill.console import out, print_table

    rows = [(MARKS[row.ok], row.link, row.expected, f"{row.found} {row.note}".strip()) for row in report.rows]
    print_table(f"Audit of {report.version}", ("", "link", "recorded", "found"), rows)
    for sentence in report.broken:
        out.print(f"Broken: {sentence}", soft_wrap=True)
    if report.ok:
        out.print("Every link holds, down to the raw bytes." if report.rehashed else "What is recorded agrees; nothing was re-hashed.")
    if report.page:
        out.print(f"Page       {report.page}", soft_wrap=True)
