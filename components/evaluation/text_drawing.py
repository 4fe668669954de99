"""Scores a model that draws what a text says: as any model of images, and by how well its images fit the captions of the test split.

Whether they fit is told by the dataset's own judges, which saw training images and captions alone: its classifier (the class of the image that the
caption belongs to) and its matcher. The similarity is the score of Hessel et al. 2021, "CLIPScore", unscaled; the rank among other captions the
R-precision of Xu et al. 2018, "AttnGAN".
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from components.data.dataset import Dataset, Split
from components.evaluation.editing import MOST_EDITED, editing_evidence
from components.evaluation.evidence import Evidence
from components.evaluation.extractors import split_seen
from components.evaluation.features import OwnExtractor, as_images, own_extractor, read_pixels
from components.evaluation.matcher import POOL, Matcher, own_caption_ranks, own_matcher
from components.evaluation.membership import people, told_by_losses
from components.evaluation.pictures import grid_png, shortened
from components.evaluation.protocol import Figure
from components.evaluation.sample_figures import how_drawn, score_draws, utility_of
from components.evaluation.scoring import Scoring, shuffled
from components.evaluation.telling import Teller
from components.models.capabilities import OWN_SETTINGS, DataSpec, DrawsFromText, HasCaptionLosses, SamplerSettings
from components.models.token_rows import token_rows

SHOWN = 16
DRAWS_EACH = 6
"""Of a caption, in the pictures of training."""
FRAMES = 11
STRIPS = 6


class OfCaptions:
    """What draws from text as what draws from labels: label k asks for caption k of the test split."""

    def __init__(self, model: DrawsFromText, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens

    def sample_images(self, num: int, *, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        assert labels is not None, "a caption is asked for"
        return self.model.draw_from_text(self.tokens[labels], seed=seed, settings=settings)

    def edit_images(self, images: Tensor, *, strength: float, seed: int, labels: Tensor | None = None, settings: SamplerSettings = OWN_SETTINGS) -> Tensor:
        """Image k as caption k says."""
        tokens = self.tokens[: len(images)] if labels is None else self.tokens[labels]
        return self.model.edit_from_text(images, tokens, strength=strength, seed=seed, settings=settings)


class StepsOfCaptions(OfCaptions):
    """The same of a model that draws in steps."""

    @property
    def samplers(self) -> tuple[str, ...]:
        names: tuple[str, ...] = getattr(self.model, "samplers", ())
        return names

    def settled(self, settings: SamplerSettings) -> SamplerSettings:
        out: SamplerSettings = self.model.settled(settings)  # type: ignore[attr-defined]
        return out


def score_text_drawing(model: DrawsFromText, scoring: Scoring, tell: Teller) -> Evidence:
    """The figures of `score_draws` for captions of the test split, and those of how well the images fit; pictures of captions and what was drawn."""
    captions = TestCaptions(scoring.dataset, scoring.data_spec, model.caption_length, scoring.config.seed)
    asked = StepsOfCaptions(model, captions.tokens) if hasattr(model, "settled") else OfCaptions(model, captions.tokens)
    extractor = own_extractor(scoring.dataset, scoring.cache, tell, scoring.size)
    fit = Fit(scoring, captions, extractor, own_matcher(scoring.dataset, scoring.cache, tell, scoring.size))
    utility = utility_of(scoring) if captions.labels is not None else None

    def see(images: Tensor) -> None:
        fit.look_at(images)
        if utility is not None and captions.labels is not None:
            utility.look_at(images, captions.labels[captions.rows(len(images))])

    evidence = score_draws(asked, scoring, tell, captions.rows, see)
    if utility is not None:
        evidence = evidence.plus(Evidence(utility.figures(how_drawn(asked, scoring), tell, "samples of captions of the test split")))
    if isinstance(model, HasCaptionLosses):
        evidence = evidence.plus(_told_by_losses(model, captions, scoring, tell))
    beside = drawn_beside(captions.images(len(fit.shown[0])), fit.shown, captions.texts)
    pictures = {"samples": beside, "reverse_diffusion": _strips(model, captions, scoring.config.seed)}
    features = split_seen(extractor, scoring.dataset, "test", scoring.cache, scoring.size).features
    guides = captions.images(min(MOST_EDITED, len(captions.texts)))
    edited = editing_evidence(asked, guides, features, extractor, seed=scoring.config.seed, settings=scoring.config.settings, tell=tell)
    return Evidence(fit.figures(), pictures).plus(evidence).plus(edited)


class TestCaptions:
    """The test split in a fixed order mixed by ``seed``."""

    __test__ = False  # no test, whatever its name begins with

    def __init__(self, dataset: Dataset, data_spec: DataSpec, length: int, seed: int) -> None:
        pixels, labels = read_pixels(dataset, "test", data_spec.image_size)
        texts = dataset.table("test", columns=["caption"])["caption"].to_pylist()
        order = shuffled(len(texts), seed)
        self.pixels, self.labels = pixels[order], None if labels is None else labels[order]
        self.texts: list[str] = [texts[index] for index in order.tolist()]
        self.tokens = token_rows(data_spec.tokenizer, self.texts, length).tokens

    def rows(self, num: int) -> Tensor:
        """The first ``num`` places, again from the first where that is more."""
        return torch.arange(num) % len(self.texts)

    def images(self, num: int) -> Tensor:
        """Of the first ``num``, [num, C, S, S] in [0, 1]."""
        return as_images(self.pixels[self.rows(num)])


class LossesOfCaptions:
    """What is told captions as what is told labels: label k stands for caption k of ``tokens`` [N, T]."""

    def __init__(self, model: HasCaptionLosses, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens

    def image_losses(self, images: Tensor, *, seed: int, labels: Tensor | None = None) -> Tensor:
        assert labels is not None, "each image has its caption"
        return self.model.caption_losses(images, self.tokens[labels], seed=seed)


def _told_by_losses(model: HasCaptionLosses, captions: TestCaptions, scoring: Scoring, tell: Teller) -> Evidence:
    known, length = people(scoring), captions.tokens.shape[1]
    kinds: dict[Split, Tensor] = {"train": known.member_rows, "test": known.other_rows}
    columns = {split: scoring.dataset.table(split, columns=["caption"], augmented=False)["caption"].to_pylist() for split in kinds}
    texts = [columns[split][row] for split, rows in kinds.items() for row in rows.tolist()]
    places = torch.arange(len(texts))
    known = known._replace(member_labels=places[: len(known.members)], other_labels=places[len(known.members) :])
    return told_by_losses(LossesOfCaptions(model, token_rows(scoring.data_spec.tokenizer, texts, length).tokens), known, scoring, tell)


class Fit:
    """How well draws fit the captions that they were asked for, one draw after the other."""

    def __init__(self, scoring: Scoring, captions: TestCaptions, extractor: OwnExtractor, matcher: Matcher) -> None:
        self.scoring, self.captions, self.extractor, self.matcher = scoring, captions, extractor, matcher
        self.found: list[dict[str, float]] = []
        self.shown: list[Tensor] = []
        self.num = 0

    def look_at(self, images: Tensor) -> None:
        """One draw [N, C, S, S] for the first N captions, again from the first where there are more images."""
        self.shown.append(images[:SHOWN])
        self.num = len(images)
        self.found.append(self._measured(images, self.matcher.images(images)))

    def _measured(self, images: Tensor, ours: Tensor) -> dict[str, float]:
        """Of ``images`` [N, C, S, S] whose vectors are ``ours`` [N, D]."""
        rows = self.captions.rows(len(images))
        theirs = self.matcher.captions([self.captions.texts[row] for row in rows.tolist()])
        found = {
            "clip_score_own": float((ours * theirs).sum(dim=1).mean()),
            "caption_recall_own": float((own_caption_ranks(ours, theirs) == 0).double().mean()),
        }
        if self.captions.labels is not None and self.extractor.kind == "classifier":
            named = self.extractor.logits(self.extractor.features(images)).argmax(dim=1)
            found["class_agreement_own"] = float((named == self.captions.labels[rows]).double().mean())
        return found

    def figures(self) -> tuple[Figure, ...]:
        """Each with what real images of the test split come to, and with what chance does."""
        images = self.matcher.images(self.captions.images(self.num))
        real, chance = self._measured(self.captions.images(self.num), images), self._chance(images)
        return tuple(self._figure(name, real[name], chance[name]) for name in self.found[0])

    def _chance(self, images: Tensor) -> dict[str, float]:
        """Of images that were drawn for another caption: real ones, whose vectors ``images`` are, each a place further."""
        usual = 0.0 if self.captions.labels is None else float(torch.bincount(self.captions.labels).max() / len(self.captions.labels))
        texts = self.captions.texts[: self.num]
        score = float((images[: len(texts)].roll(1, 0) * self.matcher.captions(texts)).sum(dim=1).mean())
        return {"clip_score_own": score, "caption_recall_own": 1 / min(POOL, self.num), "class_agreement_own": usual}

    def _figure(self, name: str, real: float, chance: float) -> Figure:
        values = torch.tensor([found[name] for found in self.found], dtype=torch.float64)
        judge = self.extractor if name == "class_agreement_own" else self.matcher
        detail = f", a pool of {min(POOL, self.num)} captions" if name == "caption_recall_own" else ""
        return self.scoring.figure(
            name, float(values.mean()), "max", self.num, extractor=judge, unit="cosine" if name == "clip_score_own" else "share",
            preprocessing=f"{self.scoring.shape} in [0, 1], captions of the test split, mean of {len(values)} draws{detail}",
            floor=real, floor_name="real images of those captions", spread=float(values.std()), spread_over=f"{len(values)} sampling seeds",
            note=f"chance is {chance:.3f}, judged by {judge.name} {judge.sha256[:12]}",
        )  # fmt: skip


def drawn_beside(real: Tensor, draws: Sequence[Tensor], captions: Sequence[str]) -> bytes:
    """A PNG with a row for each caption: the real image [C, S, S], and those that were drawn for it; ``draws`` are tensors [N, C, S, S]."""
    rows = torch.stack([real[: len(draws[0])], *draws], dim=1)
    names = ("real", *(["drawn"] * len(draws)))
    return grid_png(rows.flatten(0, 1), rows.shape[1], row_captions=[shortened(caption) for caption in captions[: len(rows)]], column_captions=names)


def samples_of_captions(model: DrawsFromText, data_spec: DataSpec, *, seed: int) -> bytes:
    """A PNG with a row of draws for each caption that the data gives as an example."""
    texts = data_spec.example_captions
    tokens = token_rows(data_spec.tokenizer, texts, model.caption_length).tokens
    drawn = model.draw_from_text(tokens.repeat_interleave(DRAWS_EACH, dim=0), seed=seed)
    return grid_png(drawn, DRAWS_EACH, row_captions=[shortened(text) for text in texts])


def _strips(model: DrawsFromText, captions: TestCaptions, seed: int) -> bytes:
    strip = model.text_strip(captions.tokens[:STRIPS], frames=FRAMES, seed=seed)
    return grid_png(strip.flatten(0, 1), strip.shape[1], row_captions=[shortened(text) for text in captions.texts[:STRIPS]])
