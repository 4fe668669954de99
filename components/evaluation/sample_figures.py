"""Draws a model's images and has them looked at: by the dataset's own extractor, by one that the user names, and for copies of training images."""

from collections.abc import Callable

from torch import Tensor

from components.errors import UserError
from components.evaluation.alarms import alarms
from components.evaluation.config import EvaluationConfig
from components.evaluation.copying import Copying
from components.evaluation.diffusing import diffusion_pictures
from components.evaluation.draw_figures import Draws, distance_figures, distance_notes, kind_figures
from components.evaluation.editing import MOST_EDITED, editing_evidence
from components.evaluation.evidence import Evidence
from components.evaluation.extractors import Extractor, look_at, named_extractor, split_seen
from components.evaluation.features import OwnExtractor, Seen, as_images, own_extractor, read_pixels
from components.evaluation.membership import NearestSample, not_drawn
from components.evaluation.protocol import Recorded
from components.evaluation.sampling import draw_images, labels_like_train, samples_picture
from components.evaluation.scoring import LEAST_IMAGES, Scoring, shuffled
from components.evaluation.telling import Teller
from components.evaluation.utility import Utility
from components.models.capabilities import OWN_SETTINGS, EditsImages, SamplesImages, SamplesInSteps, ShowsDiffusion

MOST_SAMPLES = 10_000
SAMPLING_SEEDS = 3
NO_UTILITY = "accuracy_tstr and accuracy_augmented are left out: they need a model that is told classes, and training rows that no model drew."


def score_samples(model: SamplesImages, scoring: Scoring, tell: Teller) -> Evidence:
    """Draws as many samples as there are test images, for each of three seeds, and measures and shows them."""
    config = scoring.config
    utility = requested_utility(model, scoring)

    def labels_for(num: int) -> Tensor | None:
        return labels_like_train(scoring.dataset, model, num)

    def see(images: Tensor) -> None:
        labels = labels_for(len(images))
        if utility is not None and labels is not None:
            utility.look_at(images, labels)

    evidence = score_draws(model, scoring, tell, labels_for, see)
    if utility is not None:
        evidence = evidence.plus(Evidence(utility.figures(how_drawn(model, scoring), tell)))
    elif config.utility:
        evidence = evidence.plus(Evidence(notes=(NO_UTILITY,)))
    samples = samples_picture(model, scoring.data_spec, seed=config.seed, num=100, settings=config.settings)
    return evidence.plus(Evidence(pictures={"samples": samples})).plus(_at_work(model, scoring, tell))


def requested_utility(model: SamplesImages, scoring: Scoring) -> Utility | None:
    """Where it is asked for, and samples have classes that the model was told."""
    if labels_like_train(scoring.dataset, model, 1) is None:
        return None
    return utility_of(scoring)


def utility_of(scoring: Scoring) -> Utility | None:
    """Of the draws of `score_draws`, where it is asked for and there are real rows to train on beside them."""
    if not scoring.config.utility or not not_drawn(scoring.dataset, "train"):
        return None
    return Utility(scoring, SAMPLING_SEEDS * num_drawn(scoring.config, scoring.dataset.manifest.rows("test")))


def score_draws(
    model: SamplesImages, scoring: Scoring, tell: Teller, labels_for: Callable[[int], Tensor | None], see: Callable[[Tensor], None] | None = None
) -> Evidence:
    """The figures of draws for the labels that ``labels_for`` gives for their number, and the picture `nearest`; ``see`` gets each draw [num, C, S, S]."""
    config = scoring.config
    own = own_extractor(scoring.dataset, scoring.cache, tell, scoring.size)
    named = named_extractor(config.extractor, scoring.dataset.project.root)
    judges = [Judging(judge, scoring, tell) for judge in (own, named) if judge is not None]
    num = num_drawn(config, len(judges[0].test.features))
    labels, copying, leaking = labels_for(num), Copying(scoring), NearestSample(scoring)
    for time, seed in enumerate(range(config.seed, config.seed + SAMPLING_SEEDS), 1):
        what = f"drawing {num:,} samples, {time} of {SAMPLING_SEEDS} times"
        images = draw_images(model, num, seed=seed, labels=labels, settings=config.settings, tell=tell, what=what)
        copying.look_at(images)
        for judge in judges:
            judge.look_at(images)
        leaking.look_at(images)
        if see is not None:
            see(images)
    recorded = how_drawn(model, scoring)
    tell.say("measuring the samples")
    drawn = [judge.draws(recorded) for judge in judges]
    figures = [figure for draws in drawn for figure in distance_figures(scoring, draws)]
    figures += [*kind_figures(scoring, drawn[0], judges[0].train), *copying.figures(recorded), *leaking.figures(recorded)]
    notes = (*alarms(figures), *_floor_notes(drawn[0], judges[0]), *_extractor_notes(own, named), *(note for draws in drawn for note in distance_notes(draws)))
    return Evidence(tuple(figures), {"nearest": copying.picture()}, notes=(*notes, *copying.notes(), *leaking.notes()))


class Judging:
    """One extractor at work: the features of the splits, and of one draw after the other."""

    def __init__(self, extractor: Extractor, scoring: Scoring, tell: Teller) -> None:
        self.extractor, self.scoring, self.tell = extractor, scoring, tell
        self.test, self.train = (split_seen(extractor, scoring.dataset, split, scoring.cache, scoring.size, tell) for split in ("test", "train"))
        self.samples: list[Seen] = []

    def look_at(self, images: Tensor) -> None:
        """One draw [N, C, S, S]."""
        self.samples.append(look_at(self.extractor, images, "the samples", self.tell))

    def draws(self, recorded: Recorded) -> Draws:
        real = real_images(self.train, len(self.samples[0].features), self.scoring.config.seed)
        return Draws(self.samples, self.test, real, self.extractor, recorded)


def _floor_notes(draws: Draws, judge: Judging) -> list[str]:
    if draws.real is not None:
        return []
    return [f"The floors are left out: they need {len(draws.samples[0].features):,} images of the training split, which has {len(judge.train.features):,}."]


def _extractor_notes(own: OwnExtractor, named: Extractor | None) -> list[str]:
    beside = (
        [f"Figures that end in _{named.suffix} are of the same draws in the eyes of {named.name} (sha256 {named.sha256[:16]}…)."] if named is not None else []
    )
    if own.kind == "classifier":
        return [f"Features are of the dataset's own classifier, which names {own.test_accuracy:.1%} of the test split rightly.", *beside]
    return ["Features are of the dataset's own encoder, trained without labels (VICReg).", *beside]


def _at_work(model: SamplesImages, scoring: Scoring, tell: Teller) -> Evidence:
    """What a model that draws in steps can show besides."""
    evidence = Evidence()
    if not isinstance(model, (ShowsDiffusion, EditsImages)):
        return evidence
    config = scoring.config
    pixels, _ = read_pixels(scoring.dataset, "test", scoring.size)
    images = as_images(pixels[shuffled(len(pixels), config.seed)[:MOST_EDITED]])  # pictures show fewer still
    if isinstance(model, ShowsDiffusion):
        evidence = evidence.plus(Evidence(pictures=diffusion_pictures(model, images, scoring.data_spec, seed=config.seed)))
    if isinstance(model, EditsImages):
        extractor = own_extractor(scoring.dataset, scoring.cache, tell, scoring.size)
        test = split_seen(extractor, scoring.dataset, "test", scoring.cache, scoring.size).features
        evidence = evidence.plus(editing_evidence(model, images, test, extractor, seed=config.seed, settings=config.settings, tell=tell))
    return evidence


def how_drawn(model: SamplesImages, scoring: Scoring) -> Recorded:
    """What is written beside every figure of samples."""
    settings = model.settled(scoring.config.settings) if isinstance(model, SamplesInSteps) else OWN_SETTINGS
    sampler = settings.method or getattr(model, "sampler", "")
    return Recorded(seed=scoring.config.seed, sampler=sampler, steps=settings.steps, guidance=settings.guidance, code=scoring.code)


def num_drawn(config: EvaluationConfig, num_test: int) -> int:
    """How many samples are drawn for figures of distributions, beside ``num_test`` images of the test split.

    Raises:
        UserError: the config asks for too few.
    """
    num = config.num_samples or min(num_test, MOST_SAMPLES)
    if num < LEAST_IMAGES:
        raise UserError(f"evaluation.num_samples is {num} and fid_own needs at least {LEAST_IMAGES}: set it higher, or to 0.")
    return num


def real_images(train: Seen, num: int, seed: int) -> Seen | None:
    """``num`` of the training split, for the floors; None where there are fewer."""
    places = shuffled(len(train.features), seed)[:num]
    return train.rows(places) if len(places) == num else None
