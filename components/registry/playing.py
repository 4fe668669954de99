"""What a playground is made of: the versions of a model that stand side by side, the fields that one of them takes, and models kept open."""

import threading
from collections import OrderedDict
from pathlib import Path

from components.errors import UserError
from components.models.capabilities import DataSpec, HeedsControl, HeedsLabels
from components.models.family import find_family
from components.models.prompting import answers
from components.params import Strict
from components.project import Project
from components.registry import wire
from components.registry.asking import PICTURES, TAKE_PICTURES, TEXTS, WORDS, Drawn, SampleRequest
from components.registry.loading import LoadedModel, load_package
from components.registry.references import resolve
from components.registry.registration import CANDIDATE, CHAMPION
from components.registry.runtime import WEIGHTS_FILE
from components.registry.sampling import sample_loaded
from components.registry.serving import checked_package
from components.registry.stored import stored_figures
from components.tracking import ModelVersion, Tracker

MOST_OPEN = 4
MOST_OPEN_BYTES = 2 * 2**30
"""Of the weights of the models that are kept open; one that is larger is open alone."""

_PROMPTED = {
    wire.CONTINUES_TEXT, wire.MAPS_TEXT, wire.FILLS_MASKS, wire.RELATES_WORDS, wire.DRAWS_FROM_TEXT, wire.MATCHES_IMAGES_AND_TEXT, wire.JUDGES_PAIRS,
}  # fmt: skip
_LABELLED = {wire.SAMPLES_IMAGES, wire.EDITS_IMAGES, wire.CONTINUES_TEXT}
_DRAWN_ANEW = {wire.EDITS_IMAGES, wire.DRAWS_FROM_TEXT}
_WRITTEN = {wire.CONTINUES_TEXT, wire.MAPS_TEXT}
_PAINTED = {wire.SAMPLES_IMAGES, wire.DRAWS_FROM_TEXT, wire.RENDERS_VIEWS}
_IN_NUMBERS = {wire.SAMPLES_IMAGES, wire.DRAWS_FROM_TEXT, wire.RENDERS_VIEWS, wire.CONTINUES_TEXT, wire.MAPS_TEXT, wire.FILLS_MASKS, wire.RELATES_WORDS}


class Fields(Strict):
    """What a person may fill in."""

    prompt: bool = False
    example: str = ""
    """A prompt that fits."""
    labels: tuple[str, ...] = ()
    """Classes to choose from."""
    image: bool = False
    strength: bool = False
    steps: bool = False
    """And guidance."""
    temperature: bool = False
    """And the most tokens."""
    num: int | None = None
    """How many, unless said; None where it is always one."""


class Contender(Strict):
    """A version that stands beside another one."""

    ref: str
    role: str
    data: str
    figures: str

    @property
    def title(self) -> str:
        return f"{self.role} · {self.ref}"


class Playground:
    """The registered models of a project, opened when they are needed and kept for the next request."""

    def __init__(self, project: Project, tracker: Tracker) -> None:
        self._project, self._tracker = project, tracker
        self._open: OrderedDict[str, tuple[LoadedModel, int]] = OrderedDict()
        self._lock = threading.Lock()

    def models(self) -> list[str]:
        return [name for name in self._tracker.model_names() if self._tracker.model_versions(name)]

    def contenders(self, model: str) -> list[Contender]:
        """The champion, and the candidate where it is another version; the newest version where there is neither."""
        versions = self._tracker.model_versions(model)
        chosen = [(alias, version) for alias in (CHAMPION, CANDIDATE) for version in versions if alias in version.aliases]
        if len(chosen) == 2 and chosen[0][1].ref == chosen[1][1].ref:
            chosen = [(f"{CHAMPION} and {CANDIDATE}", chosen[0][1])]
        return [self._contender(role, version) for role, version in chosen or [("newest", versions[0])]]

    def fields(self, ref: str) -> Fields:
        """What ``ref`` takes, by what it can do.

        Raises:
            UserError: ``ref`` means nothing, or cannot be opened here.
        """
        with self._lock:
            return fields_of(self._opened(resolve(self._tracker, ref)))

    def draw(self, ref: str, request: SampleRequest) -> Drawn:
        """As `sample_registered`, with the model kept open; one at a time."""
        with self._lock:
            return sample_loaded(self._project, self._tracker, self._opened(resolve(self._tracker, ref)), ref, request)

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._close_oldest()

    def _contender(self, role: str, version: ModelVersion) -> Contender:
        headline = find_family(version.tag("family")).headline
        shown = {figure.name: f"{figure.name} {figure.value:.4g}" for figure in stored_figures(self._tracker, version.run_id)}
        figures = ", ".join(shown[name] for name in headline if name in shown)
        return Contender(ref=version.ref, role=role, data=f"{version.tag('dataset')}@{version.tag('data_version')}", figures=figures)

    def _opened(self, version: ModelVersion) -> LoadedModel:
        key = version.tag("package_sha256")
        if key not in self._open:
            folder = checked_package(self._project, self._tracker, version)
            size = (folder / "artifacts" / WEIGHTS_FILE).stat().st_size
            while self._open and (len(self._open) >= MOST_OPEN or sum(size for _, size in self._open.values()) + size > MOST_OPEN_BYTES):
                self._close_oldest()
            self._open[key] = (_loaded(folder, version.ref), size)
        self._open.move_to_end(key)
        return self._open[key][0]

    def _close_oldest(self) -> None:
        _, (model, _) = self._open.popitem(last=False)
        model.close()


def _loaded(folder: Path, ref: str) -> LoadedModel:
    try:
        return load_package(folder)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{ref} cannot be opened here ({type(error).__name__}: {error}): train the model again.") from error


def fields_of(model: LoadedModel) -> Fields:
    """What ``model`` takes; a package of older code that runs in a process of its own is taken to heed its labels."""
    can, data = set(model.spec.abilities), model.data_spec
    heeds = model.model is None or _heeds_labels(model.model)
    return Fields(
        prompt=bool(can & _PROMPTED),
        example=_example(can, data) if can & _PROMPTED else "",
        labels=data.class_names if can & _LABELLED and heeds else (),
        image=bool(can & TAKE_PICTURES),
        strength=bool(can & _DRAWN_ANEW),
        steps=wire.SAMPLES_IN_STEPS in can,
        temperature=bool(can & _WRITTEN),
        num=None if not can & _IN_NUMBERS else PICTURES if can & _PAINTED else TEXTS if can & _WRITTEN else WORDS,
    )


def _heeds_labels(model: object) -> bool:
    if isinstance(model, HeedsControl):
        return bool(model.control)
    return isinstance(model, HeedsLabels) and model.conditional


def _example(can: set[str], data: DataSpec) -> str:
    """A prompt of the kind that the model has learnt."""
    if answers(data):
        return next(iter(data.example_texts), "")
    if can & {wire.FILLS_MASKS, wire.MAPS_TEXT}:
        return "a [MASK] object"
    if wire.RELATES_WORDS in can:
        return "object"
    return next(iter(data.example_captions), "The ")
