"""Verbs that prove what a registered model is: audit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import writing
from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from components.registry.lineage import AuditReport

RefArgument = Annotated[str, typer.Argument(help="MODEL, MODEL@champion, MODEL/3 or a run id.", autocompletion=complete_model)]
MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}


def add_to(app: typer.Typer) -> None:
    app.command()(audit)


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
