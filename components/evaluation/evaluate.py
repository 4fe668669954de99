"""Scores a trained model by what it can do, never by its family's name."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from components.data.dataset import Dataset
from components.evaluation.config import EvaluationConfig
from components.evaluation.evidence import Evidence
from components.evaluation.extractors import require_extractor
from components.evaluation.images import score_images
from components.evaluation.judged import judged, named
from components.evaluation.scoring import require_enough_images
from components.evaluation.telling import Teller
from components.models.capabilities import (
    AnswersQuestions,
    CaptionsImages,
    DataSpec,
    DrawsFromText,
    EmbedsText,
    FillsCaptions,
    FillsMasks,
    HasLatentSpace,
    HasTokenVectors,
    JudgesPairs,
    MapsText,
    MatchesImagesAndText,
    PredictsContext,
    Reconstructs,
    RendersViews,
    SamplesImages,
    ScoresImages,
    ScoresText,
)
from components.models.prompting import answers


def evaluate(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, tell: Teller) -> Evidence:
    """All evidence about ``model`` on the test split of ``dataset``; ``cache`` keeps extractors and reference features.

    Raises:
        UserError: the dataset is too small for a figure.
    """
    part = judged(dataset, data_spec, config.buffer_mib)
    return named(_evaluated(model, part, data_spec, config=config, cache=cache, tell=tell), dataset, part)


def _evaluated(model: Any, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, cache: Path, tell: Teller) -> Evidence:
    evidence = Evidence()
    with _evaluation_mode(model):
        if isinstance(model, (SamplesImages, DrawsFromText, ScoresImages, Reconstructs)):
            evidence = evidence.plus(score_images(model, dataset, data_spec, config=config, cache=cache, tell=tell))
        if isinstance(model, HasLatentSpace):
            from components.evaluation.latent import score_latent_space

            evidence = evidence.plus(score_latent_space(model, dataset, data_spec, config=config, cache=cache, tell=tell))
        if isinstance(model, (MatchesImagesAndText, JudgesPairs)):
            from components.evaluation.retrieval import score_retrieval

            evidence = evidence.plus(score_retrieval(model, dataset, data_spec, config=config, tell=tell))
        if isinstance(model, CaptionsImages):
            from components.evaluation.captions import score_captions

            evidence = evidence.plus(score_captions(model, dataset, data_spec, config=config, tell=tell))
        if isinstance(model, JudgesPairs):
            from components.evaluation.pairs import score_matching

            evidence = evidence.plus(score_matching(model, dataset, data_spec, config=config, tell=tell))
        if isinstance(model, FillsCaptions):
            from components.evaluation.pairs import score_filled_captions

            evidence = evidence.plus(score_filled_captions(model, dataset, data_spec, config=config, tell=tell))
        if isinstance(model, AnswersQuestions) and data_spec.questions:
            from components.evaluation.questions import score_answers

            evidence = evidence.plus(score_answers(model, dataset, data_spec, config=config, tell=tell))
        evidence = evidence.plus(_of_text(model, dataset, data_spec, config, tell))
        if isinstance(model, RendersViews):
            from components.evaluation.views import score_views

            evidence = evidence.plus(score_views(model, dataset, data_spec, config=config, tell=tell))
    assert evidence.figures, f"{type(model).__name__} offers nothing that can be scored"
    return evidence


def _of_text(model: Any, dataset: Dataset, data_spec: DataSpec, config: EvaluationConfig, tell: Teller) -> Evidence:
    """What a model of text alone can do."""
    evidence = Evidence()
    if isinstance(model, ScoresText):
        evidence = evidence.plus(_score_causal(model, dataset, data_spec, config, tell))
    if isinstance(model, FillsMasks):
        from components.evaluation.masked import score_masked

        evidence = evidence.plus(score_masked(model, dataset, data_spec, tell=tell))
    if isinstance(model, EmbedsText):
        from components.evaluation.probe import score_probe

        evidence = evidence.plus(score_probe(model, dataset, data_spec, tell=tell))
    if isinstance(model, MapsText):
        evidence = evidence.plus(_score_mapping(model, dataset, data_spec, config, tell))
    if isinstance(model, PredictsContext):
        from components.evaluation.contexts import score_contexts

        evidence = evidence.plus(score_contexts(model, dataset, data_spec, tell=tell))
    if isinstance(model, HasTokenVectors):
        from components.evaluation.embeddings import show_embeddings

        evidence = evidence.plus(show_embeddings(model, dataset, data_spec, seed=config.seed, tell=tell))
    return evidence


def _score_mapping(model: MapsText, dataset: Dataset, data_spec: DataSpec, config: EvaluationConfig, tell: Teller) -> Evidence:
    """By the gaps that it fills in texts where it has learnt that, else by the targets of pairs."""
    if model.sentinels:
        from components.evaluation.spans import score_spans

        return score_spans(model, dataset, data_spec, tell=tell)
    from components.evaluation.mapping import score_mapping

    return score_mapping(model, dataset, data_spec, config=config, tell=tell)


def require_enough(dataset: Dataset) -> None:
    """Refuse, before anything is trained, a dataset that is too small to be scored on.

    Raises:
        UserError: naming the split and the least number of rows.
    """
    if dataset.modality in ("image", "image-text"):
        require_enough_images(dataset)
    if dataset.modality in ("text", "text-pairs"):
        from components.evaluation.documents import require_enough_texts

        require_enough_texts(dataset)
    if dataset.modality == "views":
        from components.evaluation.views import require_enough_views

        require_enough_views(dataset)


def require_scorable(model: Any, dataset: Dataset, data_spec: DataSpec, config: EvaluationConfig) -> None:
    """Refuse, before ``model`` is trained, documents that it cannot be scored on, and an extractor that cannot look at its images.

    Raises:
        UserError: naming what they lack.
    """
    if isinstance(model, (SamplesImages, DrawsFromText)):
        require_extractor(config.extractor, dataset, data_spec.image_size)
    if isinstance(model, MapsText) and model.sentinels:
        from components.evaluation.spans import require_pieces

        require_pieces(dataset, data_spec)


def _score_causal(model: ScoresText, dataset: Dataset, data_spec: DataSpec, config: EvaluationConfig, tell: Teller) -> Evidence:
    if answers(data_spec):
        from components.evaluation.responses import score_responses

        return score_responses(model, dataset, data_spec, config=config, tell=tell)
    from components.evaluation.text import score_text

    return score_text(model, dataset, data_spec, config=config, tell=tell)


@contextlib.contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    """No dropout, no gradients, products in full float32 (figures must not hang on the caller's settings); all is put back."""
    training, precision = model.training, torch.get_float32_matmul_precision()
    model.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        model.train(training)
