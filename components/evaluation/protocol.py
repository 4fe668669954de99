"""A figure and the protocol under which it was measured: two figures compare only when their identity matches."""

import statistics
from collections.abc import Iterable

from components.models.family import Goal
from components.params import Strict

OWN_VOCABULARY = "tokenizer"
"""The extractor of figures that count in the tokens of the model itself."""


class Identity(Strict):
    """What must match before two figures may stand side by side."""

    metric: str
    num_samples: int
    reference_sha256: str
    """Digest of the data version that the figure refers to."""
    split: str
    extractor: str = ""
    """Name of the feature extractor or tokenizer-free basis; empty where none is used."""
    extractor_sha256: str = ""
    preprocessing: str = ""


class Recorded(Strict):
    """What is written down beside a figure and may differ."""

    seed: int = 0
    sampler: str = ""
    steps: int | None = None
    guidance: float | None = None
    window: str = ""
    """How much of a text the model itself can see at once; what is scored of it does not hang on that."""
    ema: bool = True
    code: str = ""
    """Digest of the evaluation code."""


class Figure(Strict):
    """One measured number."""

    name: str
    value: float
    goal: Goal
    identity: Identity
    recorded: Recorded = Recorded()
    floor: float | None = None
    """The same metric for real data (or a baseline's value, see ``floor_name``) under the same protocol."""
    floor_name: str = ""
    spread: float | None = None
    """One standard deviation, of what ``spread_over`` says."""
    spread_over: str = ""
    trainings: tuple[float, ...] = ()
    """The same figure of every training from another seed, this one first; empty where there was only this one."""
    unit: str = ""
    note: str = ""

    @property
    def uncertainty(self) -> float | None:
        """One standard deviation: over trainings, which holds that over samples too, where there were several, else ``spread``."""
        return statistics.stdev(self.trainings) if len(self.trainings) > 1 else self.spread

    @property
    def uncertainty_over(self) -> str:
        """What `uncertainty` was taken over."""
        return f"{len(self.trainings)} trainings from other seeds" if len(self.trainings) > 1 else self.spread_over


def mismatch(a: Figure, b: Figure) -> str | None:
    """The first identity field in which two figures differ, or None where they may be compared."""
    for field in Identity.model_fields:
        if getattr(a.identity, field) != getattr(b.identity, field):
            return field
    return None


def find_comparable(figure: Figure, among: Iterable[Figure]) -> Figure | None:
    """The one of ``among`` that may stand beside ``figure``: measured under the same protocol."""
    return next((other for other in among if mismatch(figure, other) is None), None)


def differ_by_vocabulary(a: Figure, b: Figure) -> bool:
    """Whether nothing but the models' own vocabularies keeps two figures apart: scoring one of them again would not bring them together."""
    if a.identity.extractor != OWN_VOCABULARY or mismatch(a, b) is None:
        return False
    return a.identity.model_copy(update={"extractor_sha256": b.identity.extractor_sha256}) == b.identity
