"""The model card: what a version is for, what it was trained on, how good it is and how that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluation.protocol import Figure
from components.evaluation.sections import sections as sections_of
from components.models.family import Family
from components.params import Strict


class CardData(Strict):
    """What the card says of the data."""

    dataset: str
    version: str
    sha256: str
    rows: dict[str, int]
    """Rows per split."""
    licence: str
    source: str
    validation: str


class CardCost(Strict):
    """What the training cost."""

    parameters: int
    steps: int
    train_s: float
    core_s: float
    peak_memory_bytes: int
    device: str = "cpu"


def model_card(
    family: Family,
    *,
    name: str,
    family_name: str,
    size: str,
    data: CardData,
    figures: Sequence[Figure],
    cost: CardCost,
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """The card as Markdown."""
    rows = ", ".join(f"{count:,} {split}" for split, count in data.rows.items())
    sections = [
        f"# {name}\n\nA {family_name} of size {size}: {family.summary or 'a generative model'}.",
        f"## Intended use\n\n{family.intended_use or 'Not stated.'}",
        f"## Limits\n\n{family.limits or 'Not stated.'}",
        f"## Data\n\n{data.dataset} {data.version} (sha256 `{data.sha256[:12]}`): {rows} rows, validation {data.validation}.\n"
        f"Source: {data.source}. Licence: {data.licence}.",
        *_figures(figures),
        f"## Cost\n\n{cost.parameters:,} parameters, {cost.steps:,} steps on {cost.device}: {cost.train_s:.0f} s of training, {cost.core_s:.0f} core "
        f"seconds in all, at most {cost.peak_memory_bytes / 2**20:,.0f} MiB of memory.",
        "## Config\n\n" + "\n".join(f"- `{key}`: {value}" for key, value in config.items()),
    ]
    if notes:
        sections.insert(-2, "## Notes\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(sections) + "\n"


def _figures(figures: Sequence[Figure]) -> list[str]:
    """A section for each kind of figures, the general ones first."""
    first, *others = sections_of(figures)
    return [f"## Figures\n\n{_figures_table(first.figures)}", *(f"## {one.title}\n\n{one.says}\n\n{_figures_table(one.figures)}" for one in others)]


def _figures_table(figures: Sequence[Figure]) -> str:
    if not figures:
        return "None were measured."
    head = "| figure | value | beside it | split | N | measured with |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(_figure_row(figure) for figure in figures)


def _figure_row(figure: Figure) -> str:
    value = f"{figure.value:.4g}" + (f" ± {figure.uncertainty:.2g}" if figure.uncertainty is not None else "") + (f" {figure.unit}" if figure.unit else "")
    floor = f"{figure.floor:.4g} ({figure.floor_name or 'floor'})" if figure.floor is not None else ""
    identity = figure.identity
    return f"| {figure.name} | {value} | {floor} | {identity.split} | {identity.num_samples:,} | {identity.extractor or identity.metric} |"
