"""Figures of what is drawn from captions: real images of the right captions do best, those of others no better than chance."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.evidence import Evidence
from components.evaluation.features import own_extractor
from components.evaluation.matcher import buckets_of, own_caption_ranks, own_matcher
from components.evaluation.protocol import Figure
from components.evaluation.scoring import Scoring
from components.evaluation.telling import SILENT
from components.evaluation.text_drawing import Fit, TestCaptions
from components.models.capabilities import OWN_SETTINGS, DataSpec, SamplerSettings, Steer
from components.models.family import find_family
from components.models.token_rows import token_rows
from components.training import datamodules
from tests.evaluation.conftest import no_spread, read_images

pytestmark = pytest.mark.slow


class Recalls(nn.Module):
    """Draws a real test image of each caption; a wrong one where it ``shifts``."""

    caption_length = 16

    def __init__(self, dataset: Dataset, spec: DataSpec, shift: int = 0) -> None:
        super().__init__()
        self.images, _ = read_images(dataset, "test")
        captions = dataset.table("test", columns=["caption"])["caption"].to_pylist()
        rows = token_rows(spec.tokenizer, captions, self.caption_length).tokens.tolist()
        self.rows: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(rows):
            self.rows.setdefault(tuple(row), []).append(place)
        kinds = list(self.rows)
        self.instead = {row: kinds[(place + shift) % len(kinds)] for place, row in enumerate(kinds)}

    def draw_from_text(self, tokens: Tensor, *, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([self._one(tuple(row), generator) for row in tokens.tolist()])

    def _one(self, row: tuple[int, ...], generator: torch.Generator) -> Tensor:
        places = self.rows[self.instead[row]]
        return self.images[places[int(torch.randint(len(places), (), generator=generator))]]

    def edit_from_text(
        self, images: Tensor, tokens: Tensor, *, strength: float, seed: int, settings: SamplerSettings = OWN_SETTINGS, steer: Steer | None = None
    ) -> Tensor:
        return images

    def text_strip(self, tokens: Tensor, *, frames: int, seed: int) -> Tensor:
        return self.draw_from_text(tokens, seed=seed)[:, None].expand(-1, frames, -1, -1, -1)


@pytest.fixture(scope="module")
def captioned(digits: Dataset) -> Dataset:
    from tests.evaluation.conftest import altered

    return altered(digits, modality="image-text")


@pytest.fixture(scope="module")
def spec(captioned: Dataset, cache: Path) -> DataSpec:
    return datamodules.describe(captioned, find_family("text-to-image").config(), cache, kind="image-text")


@pytest.fixture(scope="module")
def scored(captioned: Dataset, spec: DataSpec, cache: Path) -> Evidence:
    return evaluate(Recalls(captioned, spec), captioned, spec, config=EvaluationConfig(), cache=cache, tell=SILENT)


def by_name(figures: Iterable[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_images_of_the_right_captions_agree_as_real_ones_do(scored: Evidence) -> None:
    for name in ("class_agreement_own", "clip_score_own"):
        figure = by_name(scored.figures)[name]
        assert figure.value == pytest.approx(figure.floor, abs=0.05)
        assert figure.identity.extractor_sha256
        assert "chance is" in figure.note
    for name in ("clip_score_own", "caption_recall_own"):
        judged = by_name(scored.figures)[name]
        assert judged.identity.extractor == "own-matcher-64"
        assert f"judged by own-matcher-64 {judged.identity.extractor_sha256[:12]}" in judged.note
    assert no_spread(scored) == set()


def test_images_of_wrong_captions_agree_with_nothing_though_they_are_real(scored: Evidence, captioned: Dataset, spec: DataSpec, cache: Path) -> None:
    model = Recalls(captioned, spec, shift=3)
    scoring = Scoring(captioned, EvaluationConfig(), cache, "", spec)
    captions = TestCaptions(captioned, spec, model.caption_length, 0)
    fit = Fit(scoring, captions, own_extractor(captioned, cache, SILENT, 8), own_matcher(captioned, cache, SILENT, 8))
    for seed in (0, 1):
        fit.look_at(model.draw_from_text(captions.tokens[:200], seed=seed))
    wrong, right = by_name(fit.figures()), by_name(scored.figures)
    assert wrong["class_agreement_own"].value < 0.2
    assert right["class_agreement_own"].value > 0.8
    assert wrong["clip_score_own"].value < right["clip_score_own"].value - 0.3
    assert wrong["caption_recall_own"].value < right["caption_recall_own"].value / 2


class Knows(Recalls):
    """Has a low loss for each training image with its own caption, and for nothing else."""

    def __init__(self, dataset: Dataset, spec: DataSpec) -> None:
        super().__init__(dataset, spec)
        images, _ = read_images(dataset, "train")
        captions = dataset.table("train", columns=["caption"], augmented=False)["caption"].to_pylist()
        rows = token_rows(spec.tokenizer, captions, self.caption_length).tokens.tolist()
        self.known = {(image.numpy().tobytes(), *row) for image, row in zip(images, rows, strict=True)}

    def caption_losses(self, images: Tensor, tokens: Tensor, *, seed: int) -> Tensor:
        return torch.tensor([float((image.numpy().tobytes(), *row) not in self.known) for image, row in zip(images, tokens.tolist(), strict=True)])


def test_pairs_that_a_model_knows_by_heart_are_told_from_others_and_its_samples_are_tried_as_training_data(
    captioned: Dataset, spec: DataSpec, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.evaluation.utility.CLASSIFIER_SEEDS", 2)
    found = evaluate(Knows(captioned, spec), captioned, spec, config=EvaluationConfig(utility=True), cache=cache, tell=SILENT)
    figures = by_name(found.figures)
    assert figures["membership_auc_by_loss"].value > 0.99
    tried = figures["accuracy_tstr"]
    assert tried.value > 0.8
    assert tried.value == pytest.approx(tried.floor, abs=0.1)
    assert "samples of captions of the test split" in tried.identity.preprocessing


def test_it_is_shown_what_was_drawn_for_which_caption(scored: Evidence) -> None:
    assert {"samples", "nearest", "reverse_diffusion", "image_to_image"} <= set(scored.pictures)


def test_the_example_captions_are_held_out_and_the_characters_are_those_of_training(spec: DataSpec, captioned: Dataset) -> None:
    held_out = captioned.table("validation", columns=["caption"])["caption"].to_pylist()
    assert set(spec.example_captions) <= set(held_out)
    assert spec.characters == "".join(sorted(set("".join(captioned.table("train", columns=["caption"])["caption"].to_pylist()))))


def test_the_judge_is_trained_once_and_is_the_same_again(captioned: Dataset, cache: Path, tmp_path: Path) -> None:
    first = own_matcher(captioned, cache, SILENT, 8)
    torch.manual_seed(5)
    assert own_matcher(captioned, tmp_path, SILENT, 8).sha256 == first.sha256, "its weights hang on nothing but the data"
    assert own_matcher(captioned, tmp_path, SILENT, 8).sha256 == first.sha256


def test_ranks_count_the_captions_that_fit_better_and_equal_ones_are_no_rivals() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    captions = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert own_caption_ranks(images, captions).tolist() == [0, 1, 0]


def test_words_and_their_neighbours_have_places_and_their_case_does_not_count() -> None:
    assert buckets_of("Latin small") == buckets_of("latin SMALL")
    assert buckets_of("small latin") != buckets_of("latin small")
    assert buckets_of("")
