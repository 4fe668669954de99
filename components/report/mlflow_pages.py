"""What a person sees in the MLflow UI: the comparison of an experiment's runs, and what each run, model and version says of itself.

Everything is written from what the store holds, so that a page can be laid out again at any time, by any process.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from components.evaluation.protocol import Figure
from components.models.family import Family, family_names, find_family
from components.params import Strict
from components.registry.registration import CARD_ARTIFACT, CHAMPION
from components.registry.stored import stored_figures
from components.registry.verdicts import GatesTable, stored_table
from components.report.page import number
from components.tracking import DESCRIPTION_LENGTH, EVIDENCE_KEYS, Chart, ModelVersion, RunRecord, Section, Tracker, View, attribute, metric, param, tag

COMPARISON = "comparison"
"""The key of the saved view that compares the runs of an experiment."""
SHOWN_PARAMS = ("size", "seed", "max_steps")
MAX_DIFFERING_PARAMS = 8
OF_MODELS = "tags.`genmill.model` != ''"
"""Those that trained a model: the trials of a search have no such tag, stand below their search, and would crowd a comparison."""
OWN_SECTIONS = ("test", "cost", "train", "validation")
"""Behind the headline and the pictures: the prefixes of the metrics, in the order in which one wants to read them."""
FIRST_PICTURES = ("samples", "reconstructions", "nearest")
"""What tells most about a model, where it has it; the other pictures follow by name."""
BETTER = {"min": "lower is better", "max": "higher is better"}


class DatasetText(Strict):
    """What the experiment's page says of its dataset."""

    modality: str
    source: str
    licence: str
    versions: tuple[str, ...]
    """One line each, newest first."""


# -- the experiment ----------------------------------------------------------------------------------------------------


def lay_out_experiment(tracker: Tracker, dataset: str, about: DatasetText) -> None:
    """Give the experiment of ``dataset`` its saved comparison, and a description that links to it."""
    runs = [run for run in tracker.runs(dataset) if run.tag("model")]
    headline = headline_figures(tracker, runs)
    tracker.save_view(dataset, comparison_view(runs, headline, picture_keys(tracker, runs)))
    links = tracker.view_link(dataset, COMPARISON), tracker.view_link(dataset, COMPARISON, charts=True)
    tracker.describe_experiment(dataset, _experiment_text(*links, dataset, about, runs, headline))


def headline_figures(tracker: Tracker, runs: Sequence[RunRecord]) -> dict[str, Figure | None]:
    """By name the figures that rank the families of ``runs`` and those that guard them, as one run measured them; None where none has yet."""
    figures: dict[str, Figure | None] = {}
    for name, family in _families(runs).items():
        newest = _newest_finished(runs, name)
        measured = {figure.name: figure for figure in stored_figures(tracker, newest.run_id)} if newest else {}
        for key in family.headline:
            figures[key] = figures.get(key) or measured.get(key)
    return figures


def picture_keys(tracker: Tracker, runs: Sequence[RunRecord]) -> list[str]:
    """The keys of the pictures that the families of ``runs`` log, as one run of each logged them; those that tell most come first."""
    newest = [run for name in _families(runs) if (run := _newest_finished(runs, name)) is not None]
    keys = {key for run in newest for key in tracker.image_keys(run.run_id)}
    order = {name: place for place, name in enumerate(FIRST_PICTURES)}
    return sorted(keys, key=lambda key: (order.get(key.rpartition("/")[2], len(order)), key))


def comparison_view(runs: Sequence[RunRecord], headline: Iterable[str], pictures: Sequence[str] = ()) -> View:
    """The table and the charts that compare ``runs``: headline figures first, then ``pictures``, the other figures, cost, and curves of training."""
    headline = tuple(headline)
    columns = (
        tag("genmill.family"), tag("genmill.gates"), attribute("Dataset"), *(metric(f"test/{name}") for name in headline), attribute("Models"),
        *(param(key) for key in (*SHOWN_PARAMS, *differing_params(runs))), attribute("Duration"),
    )  # fmt: skip
    measured = {key for run in runs for key in run.metrics}
    charts = tuple(Chart(kind="bar", keys=(f"test/{name}",)) for name in headline if f"test/{name}" in measured)
    own = (Section(name=name) for name in OWN_SECTIONS)
    sections = (Section(name="Headline figures", charts=charts, height=280), *_picture_sections(pictures), *own)
    return View(key=COMPARISON, name="Comparison", columns=columns, sections=sections, shows=OF_MODELS)


def differing_params(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """The params in which runs of one model differ: what somebody changed to see what it does."""
    found: dict[str, None] = {}
    for _, group in groupby(sorted(runs, key=lambda run: run.tag("model")), key=lambda run: run.tag("model")):
        params = [run.params for run in group]
        for key in dict.fromkeys(key for one in params for key in one):
            if len({one.get(key) for one in params}) > 1 and key not in SHOWN_PARAMS:
                found[key] = None
    return tuple(found)[:MAX_DIFFERING_PARAMS]


def _picture_sections(keys: Sequence[str]) -> tuple[Section, ...]:
    """One table of the final pictures, a column per run; and below it those that were drawn while training, step by step."""
    evidence = tuple(key for key in keys if key.startswith(EVIDENCE_KEYS))
    training = tuple(key for key in keys if not key.startswith(EVIDENCE_KEYS))
    found = []
    if evidence:
        alone = tuple(Chart(kind="pictures", keys=(key,), hidden=True) for key in evidence if len(evidence) > 1)
        found.append(Section(name="Pictures", charts=(Chart(kind="pictures", keys=evidence), *alone), per_row=1, height=720))
    if training:
        charts = tuple(Chart(kind="pictures", keys=(key,)) for key in training)
        found.append(Section(name="Pictures while training", charts=charts, height=480))
    return tuple(found)


def _newest_finished(runs: Sequence[RunRecord], family: str) -> RunRecord | None:
    return next((run for run in runs if run.tag("family") == family and run.status == "FINISHED"), None)


def _families(runs: Sequence[RunRecord]) -> dict[str, Family]:
    """The families of ``runs`` by name; one that is no longer there is left out."""
    return {name: find_family(name) for name in sorted({run.tag("family") for run in runs}) if name in family_names()}


def _experiment_text(table: str, charts: str, dataset: str, about: DatasetText, runs: Sequence[RunRecord], headline: dict[str, Figure | None]) -> str:
    families = ", ".join(f"{name} ({family.summary})" for name, family in _families(runs).items())
    rows = "\n".join(_headline_row(name, figure) for name, figure in headline.items())
    versions = "\n".join(f"- {line}" for line in about.versions)
    return (
        f"**Open the comparison** as a [table]({table}) or as [charts with pictures]({charts}): every run with its headline figures, gates and version. "
        f"Select runs there and press Compare to see what differs.\n\n"
        f"Every run here was trained on `{dataset}` ({about.modality}). Source: {about.source}. Licence: {about.licence or 'not stated'}.\n\n{versions}\n\n"
        f"Families: {families or 'none yet'}.\n\n"
        f"| headline figure | better | beside it |\n|---|---|---|\n{rows}\n\n"
        f"Figures are of the test split. Two values may be compared when their whole protocol is the same: dataset and version, number of samples, "
        f"extractor and preprocessing, and for figures in tokens the vocabulary. `genmill compare` checks it, refuses the others and says why."
    )


def _headline_row(name: str, figure: Figure | None) -> str:
    if figure is None:
        return f"| `test/{name}` | | not measured yet |"
    floor = f"{number(figure.floor)} ({figure.floor_name or 'floor'})" if figure.floor is not None else ""
    return f"| `test/{name}` | {BETTER[figure.goal]} | {floor} |"


# -- the run -----------------------------------------------------------------------------------------------------------


def run_name(model: str, *, version: int | None = None, seed: int, identity: str) -> str:
    """`vae-digits v3 · seed 0`; before a run has registered its version, the beginning of its identity tells it from others."""
    return f"{model} v{version} · seed {seed}" if version is not None else f"{model} · seed {seed} · {identity[:8]}"


def lay_out_version(tracker: Tracker, version: ModelVersion) -> None:
    """Name the run after the version that it registered, and let the pages of run, version and model say what they are and how good.

    A version of a family that is no longer there stays as it is.
    """
    run = tracker.get_run(version.run_id)
    family_name = run.tag("family") or version.tag("family")
    if family_name not in family_names():
        return
    family = find_family(family_name)
    figures = _headline_of(family, stored_figures(tracker, run.run_id))
    verdicts = stored_table(tracker, run.run_id)
    comparison = f"[compare it with the other runs]({tracker.view_link(run.experiment, COMPARISON)})"
    name = run_name(version.name, version=version.version, seed=int(run.params.get("seed", 0)), identity=run.tag("identity"))
    tracker.rename_run(run.run_id, name)
    parts = (_what(run, version, family, comparison), _figures_table(figures), _gates_text(version, verdicts), _commands(version))
    tracker.describe_run(run.run_id, "\n\n".join(parts))
    tracker.set_version_tags(version.name, version.version, {figure.name: number(figure.value) for figure in figures})
    card = tracker.read_artifact(run.run_id, CARD_ARTIFACT)
    if card is not None:
        link = f"Trained by [{name}]({tracker.run_link(run.run_id)}); {comparison}."
        text = "\n\n".join((*_in_short(figures, verdicts), link, _gates_text(version, verdicts), "---", card.decode("utf-8")))
        tracker.describe_version(version.name, version.version, _cut(text, f"… (cut here; the whole card is {CARD_ARTIFACT} among the artifacts of the run)"))
    tracker.describe_model(version.name, _model_text(version.name, run, family, comparison))


def _headline_of(family: Family, figures: Sequence[Figure]) -> list[Figure]:
    by_name = {figure.name: figure for figure in figures}
    return [by_name[name] for name in family.headline if name in by_name]


def _what(run: RunRecord, version: ModelVersion, family: Family, comparison: str) -> str:
    data = f"`{run.tag('dataset')}` {run.tag('data_version')} (validation {run.tag('validation') or 'unknown'})"
    begun = f" It begins with the weights of {run.tag('init_from')}." if run.tag("init_from") else ""
    page = f"[{version.name} version {version.version}]({Tracker.version_link(version.name, version.version)})"
    return (
        f"{page}: a {run.tag('family')} of size {run.tag('size')}, which {family.summary}; trained on {data} with seed {run.params.get('seed', '0')}.{begun} "
        f"Or {comparison}."
    )


def _in_short(figures: Sequence[Figure], verdicts: GatesTable | None) -> tuple[str, ...]:
    """One line for the table of versions, which shows the first words of a description as they are; none where nothing is known."""
    said = [f"{figure.name} {number(figure.value)}" for figure in figures]
    if verdicts is not None:
        said.append(f"gates {'passed' if verdicts.passed else 'failed'}")
    return (", ".join(said),) if said else ()


def _figures_table(figures: Sequence[Figure]) -> str:
    if not figures:
        return "No headline figure was measured."
    rows = "\n".join(_figure_row(figure) for figure in figures)
    return f"| headline figure (test split) | value | beside it | better |\n|---|---|---|---|\n{rows}"


def _figure_row(figure: Figure) -> str:
    spread = f" ± {figure.uncertainty:.2g}" if figure.uncertainty is not None else ""
    floor = f"{number(figure.floor)} ({figure.floor_name or 'floor'})" if figure.floor is not None else ""
    return f"| {figure.name} | **{number(figure.value)}**{spread}{f' {figure.unit}' if figure.unit else ''} | {floor} | {figure.goal} |"


def _gates_text(version: ModelVersion, verdicts: GatesTable | None) -> str:
    if verdicts is None:
        return f"**Gates** not asked yet: `genmill promote {version.name} --version {version.version} --dry-run` asks them."
    rows = "\n".join(f"| {row.figure or row.rule} | {number(row.value)} | {row.limit} | {row.verdict} | {row.note} |" for row in verdicts.rows)
    table = f"\n\n| gate | value | asked for | verdict | |\n|---|---|---|---|---|\n{rows}" if rows else ": none are set."
    return f"**Gates {'passed' if verdicts.passed else 'failed'}**{table}"


def _commands(version: ModelVersion) -> str:
    commands = {
        "Put it beside the champion": f"genmill compare {version.name}@{CHAMPION} {version.ref}",
        "Promote it": f"genmill promote {version.name} --version {version.version}",
        "Draw or ask": f"genmill sample {version.ref}",
        "Follow it back to the raw bytes": f"genmill audit {version.ref}",
    }
    return "\n".join(f"- {what}: `{command}`" for what, command in commands.items())


def _model_text(name: str, run: RunRecord, family: Family, comparison: str) -> str:
    return (
        f"A {run.tag('family')} on `{run.tag('dataset')}`, which {family.summary}. {family.intended_use}\n\nLimits: {family.limits or 'not stated.'}\n\n"
        f"`{name}@{CHAMPION}` is in production; a version gets there with `genmill promote {name}`, through its gates, and `genmill history {name}` says who "
        f"promoted what and why. Or {comparison}."
    )


def _cut(text: str, note: str) -> str:
    """``text``, or as much of it as the registry keeps with ``note`` behind it."""
    if len(text) <= DESCRIPTION_LENGTH:
        return text
    return text[: DESCRIPTION_LENGTH - len(note) - 2].rpartition("\n")[0] + "\n\n" + note
