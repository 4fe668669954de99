"""The verb `data add`: a dataset and a model from a path or an address, in one step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmill.options import JsonOption, ProjectOption, complete_family, open_project

if TYPE_CHECKING:
    from components.data.adding.look import Look
    from pipelines.add import Addition

FamiliesOption = Annotated[
    list[str] | None, typer.Option("--family", help="A family of models to train on it; can be given again.", autocompletion=complete_family)
]
_SHOWN = 3


def add(
    name: Annotated[str, typer.Argument(help="What to call the dataset: lower-case letters, digits, - and _.")],
    where: Annotated[str, typer.Argument(help="A folder, a file, an archive, or an address: https://, s3://, hf://OWNER/NAME.")],
    family: FamiliesOption = None,
    modality: Annotated[str | None, typer.Option("--modality", help="What its samples are, where the guess is wrong.")] = None,
    size: Annotated[str, typer.Option("--size", help="Of the models: tiny, small or base.")] = "tiny",
    licence: Annotated[str, typer.Option("--licence", help="Of the data; it is recorded with every version.")] = "",
    allow_private: Annotated[bool, typer.Option("--allow-private", help="Fetch from an address of your own network, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at data of yours, write the blocks that train on it into params.yaml, and print the command that does.

    Example: [bold]genmill data add flowers ../pictures/flowers --family gan[/]
    """
    where_is = open_project(project)
    from genmill.console import print_json
    from pipelines.add import add_dataset, write_addition

    addition = add_dataset(where_is, name, where, Path.cwd(), modality=modality, families=family or (), licence=licence, size=size, allow_private=allow_private)
    if not dry_run:
        write_addition(where_is, addition)
    if as_json:
        print_json(_as_json(addition))
        return
    written = "would be written into" if dry_run else "were written into"
    # As it is, for it is YAML and a command to be copied.
    lines = [*_told(addition), "", f"These blocks {written} {where_is.params}:", "", addition.blocks, "Train on it:", "", f"  {addition.command}"]
    typer.echo("\n".join(lines))


def _told(addition: "Addition") -> list[str]:
    """What was understood."""
    from genmill.console import human_bytes

    look = addition.look
    some = f"{'' if look.is_exact else 'more than '}{look.num:,} sample{'' if look.num == 1 else 's'}"
    size = f", {human_bytes(look.num_bytes)}" if look.num_bytes else ""
    lines = [f"{addition.name}: {some} of {look.modality}{size}."]
    if look.class_names:
        shown = ", ".join(look.class_names[:10]) + (", …" if len(look.class_names) > 10 else "")
        lines.append(f"{len(look.class_names)} classes: {shown}.")
    if look.splits:
        lines.append(f"The source has its own splits: {', '.join(sorted(look.splits))}.")
    bad = len(look.rows) - len(look.good)
    if bad:
        lines.append(f"{bad:,} of {len(look.rows):,} samples that were read are not usable as they are; cleaning will say why.")
    return [*lines, "For example:", *(f"  {text}" for text in _samples(look))]


def _samples(look: "Look") -> list[str]:
    rows = look.rows[:: max(1, len(look.rows) // _SHOWN)][:_SHOWN]
    return [look.describe(row) for row in rows]


def _as_json(addition: "Addition") -> dict[str, object]:
    look = addition.look
    return {
        "dataset": addition.name,
        "modality": look.modality,
        "samples": look.num,
        "exact": look.is_exact,
        "bytes": look.num_bytes,
        "class_names": list(look.class_names),
        "splits": sorted(look.splits),
        "examples": _samples(look),
        "block": addition.dataset,
        "models": addition.models,
        "command": addition.command,
    }
