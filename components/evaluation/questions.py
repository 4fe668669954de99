"""How well a model answers questions about images, as classification over closed answers: Kim et al. 2021 (ViLT), section 4.3."""

import torch
from torch import Tensor

from components.code import code_digest
from components.data.dataset import Dataset
from components.data.pixels import captioned_sheet
from components.evaluation.config import EvaluationConfig
from components.evaluation.documents import text_identity
from components.evaluation.evidence import Evidence
from components.evaluation.features import as_images, read_pixels
from components.evaluation.pictures import images_png
from components.evaluation.protocol import Figure, Recorded
from components.evaluation.retrieval import POOL, device_of
from components.evaluation.scoring import shuffled, standard_error
from components.evaluation.telling import Teller, counted
from components.models.capabilities import AnswersQuestions, DataSpec, Question
from components.models.questions import answer_places, answers_of

SHOWN = 12
COLUMNS = 2
CELL = 96
"""Pixels of an image in the picture, beside which its questions stand."""
_CHUNK = 256


def score_answers(model: AnswersQuestions, dataset: Dataset, data_spec: DataSpec, *, config: EvaluationConfig, tell: Teller) -> Evidence:
    """Figure `answer_accuracy` over all questions, beside always saying the most frequent answer; picture `questions`, text `questions` by question.

    An answer of the test split that the training split does not have is a miss.
    """
    pixels, _ = read_pixels(dataset, "test", data_spec.image_size)
    chosen = shuffled(len(pixels), config.seed)[:POOL]
    images = as_images(pixels[chosen])
    truths = [[found[place] for place in chosen.tolist()] for found in (answers_of(dataset, "test", question.source) for question in data_spec.questions)]
    shares = [_shares(model, images, number) for number in counted(range(len(truths)), "answering questions", tell)]
    hits, usual, lines = [], [], []
    for question, truth, share in zip(data_spec.questions, truths, shares, strict=True):
        asked = torch.tensor([answer is not None for answer in truth])
        wanted = answer_places(question, truth)[asked]
        hits.append((share.argmax(dim=1)[asked] == wanted).double())
        usual.append((wanted == 0).double())
        lines.append(_line(question, hits[-1], usual[-1]))
    all_hits, all_usual = torch.cat(hits), torch.cat(usual)
    if not len(all_hits):
        return Evidence(notes=("No test image has an answer to any question, so answers are not scored.",))
    sources = "; ".join(f"{question.text} {question.source}" for question in data_spec.questions)
    figure = Figure(
        name="answer_accuracy", value=float(all_hits.mean()), goal="max", unit="share",
        identity=text_identity(dataset, "answer_accuracy", len(all_hits), f"{len(images):,} test images, {sources}"),
        recorded=Recorded(seed=config.seed, code=code_digest(__name__)), spread=standard_error(all_hits), spread_over="answers (standard error)",
        floor=float(all_usual.mean()), floor_name="always the most frequent answer", note=", ".join(lines),
    )  # fmt: skip
    return Evidence((figure,), {"questions": _picture(images, data_spec, truths, shares)}, {"questions": "\n".join(lines) + "\n"})


def _shares(model: AnswersQuestions, images: Tensor, question: int) -> Tensor:
    device = device_of(model)
    return torch.cat([model.answer_question(chunk.to(device), question).cpu() for chunk in images.split(_CHUNK)])


def _line(question: Question, hits: Tensor, usual: Tensor) -> str:
    if not len(hits):
        return f"{question.text} has no answer in the test split"
    return f"{question.text} {float(hits.mean()):.1%} of {len(hits):,} ({float(usual.mean()):.1%})"


def _picture(images: Tensor, data_spec: DataSpec, truths: list[list[str | None]], shares: list[Tensor]) -> bytes:
    """Images with what the model answers beside them; where that is wrong, what is right stands behind it."""
    said = []
    for row in range(min(SHOWN, len(images))):
        lines = []
        for question, truth, share in zip(data_spec.questions, truths, shares, strict=True):
            best, right = int(share[row].argmax()), truth[row]
            if right is not None:
                mended = "" if question.answers[best] == right else f" (no: {right})"
                lines.append(f"{question.text} {question.answers[best]} {float(share[row, best]):.0%}{mended}")
        said.append("\n".join(lines))
    return captioned_sheet(images_png(images[: len(said)]), said, COLUMNS, CELL)
