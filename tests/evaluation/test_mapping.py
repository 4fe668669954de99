"""Figures of models that map text: exact where the model is known, and beside baselines that are what they are called."""

import math
from typing import Any, cast

import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.text.rouge import rouge_score

from components.data.dataset import Dataset, Manifest
from components.errors import UserError
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate, require_scorable
from components.evaluation.evidence import Evidence
from components.evaluation.mapping import Pairs as PairsOfText
from components.evaluation.mapping import answers, score_mapping, score_pairs
from components.evaluation.ngrams import rouge
from components.evaluation.protocol import Figure
from components.evaluation.sampling import draw_samples
from components.evaluation.spans import pieces_of_texts, score_spans
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.models.layers.span_counts import RATE
from components.models.layers.spans import spans_of
from components.models.token_rows import END, PADDING, ROW
from components.training.datamodules.text import train_tokenizer
from tests.evaluation.conftest import no_spread
from tests.evaluation.test_text import TEST, TRAIN, Texts

SAID = [f"Return the number {number} of the things that are there." for number in range(40)]
CODE = [f"def number_{number}(self, things):\n    return things[{number}]" for number in range(40)]
TOKENIZER = train_tokenizer(TRAIN + SAID + CODE, 400, ROW)
VOCAB = TOKENIZER.get_vocab_size()
PAIRS = DataSpec("text-pairs", vocab_size=VOCAB, tokenizer=TOKENIZER.to_str(), example_texts=("def area(width):",))
TEXT = DataSpec("text", vocab_size=VOCAB, tokenizer=TOKENIZER.to_str(), example_texts=("An iterator returns the next object",))


class Pairs:
    """A dataset of pairs at hand, the first 30 of them to train on."""

    name, modality = "pairs", "text-pairs"
    manifest = Manifest(name="pairs", modality="text-pairs", stage="augment", shards=())

    def __init__(self, num_test: int = 10) -> None:
        self.rows = {"train": range(30), "validation": range(0), "test": range(30, 30 + num_test)}

    def table(self, split: str, columns: list[str] | None = None, augmented: bool = True) -> pa.Table:
        chosen = self.rows[split]
        whole = {"source_text": [CODE[row] for row in chosen], "target_text": [SAID[row] for row in chosen], "source": [f"row {row}" for row in chosen]}
        return pa.table({name: pa.array(whole[name], pa.string()) for name in columns or whole})


class Uniform:
    """Gives every token the same probability, and says what ``answer`` is told."""

    target_length = 24

    def __init__(self, sentinels: tuple[int, ...] = (), source_length: int = 64) -> None:
        self.sentinels, self.source_length = sentinels, source_length
        self.scored = 0

    def target_nll(self, source: Tensor, target: Tensor) -> Tensor:
        assert source.size(1) <= self.source_length
        real = target[:, 1:] != PADDING
        self.scored += int(((target[:, 1:] > END) & (target[:, 1:] < VOCAB)).sum())
        return real * math.log(VOCAB)

    def answer(self, source: list[int]) -> list[int]:
        return TOKENIZER.encode("Return the number.", add_special_tokens=False).ids

    def map_text(self, source: Tensor, *, max_new_tokens: int, **options: Any) -> list[list[int]]:
        return [self.answer([token for token in row if token != PADDING])[:max_new_tokens] for row in source.tolist()]


class Knows(Uniform):
    """Has the answer to every source."""

    target_length = 64

    def answer(self, source: list[int]) -> list[int]:
        return TOKENIZER.encode(dict(zip(CODE, SAID, strict=True))[TOKENIZER.decode(source)], add_special_tokens=False).ids


class Remembers(Uniform):
    """Fills every gap with what stood there."""

    def answer(self, source: list[int]) -> list[int]:
        for piece in pieces_of_texts(TOKENIZER, TEST, self):
            if piece.source == source:
                return piece.target[1:-1]
        raise AssertionError("no piece has this source")


class Learnt(Uniform):
    """Is sure of the targets of training, and of no other."""

    def target_nll(self, source: Tensor, target: Tensor) -> Tensor:
        known = {tuple(encoding.ids) for encoding in TOKENIZER.encode_batch(SAID[:30], add_special_tokens=False)}
        sure = torch.tensor([tuple(token for token in row if token > END) in known for row in target.tolist()])
        return torch.where(sure[:, None], 0.01, super().target_nll(source, target))


def scored(model: Any, num_test: int = 10) -> Evidence:
    return score_mapping(model, cast(Dataset, Pairs(num_test)), PAIRS, config=EvaluationConfig(), tell=SILENT)


def spans_scored(model: Any) -> Evidence:
    return score_spans(model, cast(Dataset, Texts(TEST)), TEXT, tell=SILENT)


def figure(evidence: Evidence, name: str) -> Figure:
    return next(found for found in evidence.figures if found.name == name)


# -- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("Return the list of the things that are there", "Return a list of things that are there or nothing"),
        ("an object is raised", "An error is raised by the object"),
        ("Close the file and the socket", "Close the file and the socket"),
    ],
)
def test_rouge_is_that_of_torchmetrics(said: str, wanted: str) -> None:
    expected = rouge_score(said, wanted, rouge_keys=("rouge1", "rouge2", "rougeL"))
    assert rouge(said, wanted) == pytest.approx([float(expected[f"{name}_fmeasure"]) for name in ("rouge1", "rouge2", "rougeL")], abs=1e-6)
    assert rouge("", "") == rouge("", wanted) == (0, 0, 0)


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_a_uniform_model_scores_its_entropy_on_whole_targets() -> None:
    evidence, model = scored(Uniform()), Uniform()
    score_pairs(model, PAIRS, PairsOfText(CODE[30:], SAID[30:]))
    assert no_spread(evidence) == no_spread(spans_scored(Remembers(tuple(range(VOCAB, VOCAB + 20))))) == set()
    assert figure(evidence, "target_perplexity").value == pytest.approx(VOCAB)
    assert model.scored == sum(len(TOKENIZER.encode(text, add_special_tokens=False).ids) for text in SAID[30:])
    tokens = model.scored + 10
    assert figure(evidence, "bits_per_byte").value == pytest.approx(tokens * math.log2(VOCAB) / sum(len(text.encode()) for text in SAID[30:]))


def test_figures_of_answers_tell_a_model_that_knows_from_one_that_does_not() -> None:
    good, poor = scored(Knows()), scored(Uniform())
    for name in ("bleu", "rouge_1", "rouge_2", "rouge_l", "exact_match"):
        assert figure(good, name).value == 1
        assert figure(good, name).spread == 0
        assert figure(poor, name).value < 0.6
    assert figure(poor, "rouge_1").floor_name == "the answer to a training source at random"
    assert figure(poor, "rouge_1").floor == pytest.approx(0.9, abs=0.02)  # all but the number
    assert "reference: Return the number" in good.texts["answers"]


def test_figures_carry_their_protocol_and_a_test_split_is_needed() -> None:
    for found in [*scored(Uniform()).figures, *spans_scored(Uniform(tuple(range(VOCAB, VOCAB + 16)))).figures]:
        assert (found.identity.metric, found.identity.split) == (found.name, "test")
        assert found.spread is not None
        assert found.floor is not None
    with pytest.raises(UserError, match="has no test pairs to score on: raise"):
        scored(Uniform(), num_test=0)


def test_evaluation_and_samples_go_by_what_the_model_has_learnt() -> None:
    class Network(torch.nn.Module):
        def __init__(self, sentinels: tuple[int, ...]) -> None:
            super().__init__()
            inner = Uniform(sentinels)
            self.sentinels, self.source_length, self.target_length = sentinels, inner.source_length, inner.target_length
            self.target_nll, self.map_text = inner.target_nll, inner.map_text

    mapped = ((), Pairs(), PAIRS, "bleu", "def area(width):\n→ ")
    filled = (tuple(range(VOCAB, VOCAB + 16)), Texts(TEST), TEXT, "exact_spans", "An iterator returns [MASK] next object: An iterator returns")
    for sentinels, dataset, spec, name, shown in (mapped, filled):
        model = Network(sentinels)
        evidence = evaluate(model, cast(Dataset, dataset), spec, config=EvaluationConfig(), cache=None, tell=SILENT)  # type: ignore[arg-type]
        assert name in {found.name for found in evidence.figures}
        assert draw_samples(model, spec, seed=0, num=4).texts["samples"].startswith(shown)
    assert answers(Uniform(), PAIRS, ["x"]) == ["Return the number."]


# -- spans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [16, 64])
def test_only_hidden_text_counts_and_the_gaps_are_those_of_the_seed(context: int) -> None:
    model = Uniform(tuple(range(VOCAB, VOCAB + 16)), context)
    evidence = spans_scored(model)
    for name in ("target_perplexity", "text_perplexity"):
        assert figure(evidence, name).value == pytest.approx(VOCAB)
    pieces = list(pieces_of_texts(TOKENIZER, TEST, model))
    assert pieces == list(pieces_of_texts(TOKENIZER, TEST, model))
    hidden = sum(len(span) for piece in pieces for span in spans_of(piece.target[1:-1], model.sentinels))
    assert model.scored == hidden
    whole = sum(len(piece.source) - 2 for piece in pieces) + hidden - sum(token >= VOCAB for piece in pieces for token in piece.source)
    assert hidden / whole == pytest.approx(RATE, abs=0.03)


def test_a_span_is_exact_where_all_of_its_tokens_are_right() -> None:
    sentinels = tuple(range(VOCAB, VOCAB + 16))
    assert figure(spans_scored(Remembers(sentinels)), "exact_spans").value == 1
    assert "|" not in spans_scored(Remembers(sentinels)).texts["samples"]
    assert figure(spans_scored(Uniform(sentinels)), "exact_spans").value == 0
    assert "|" in spans_scored(Uniform(sentinels)).texts["samples"]


def test_documents_too_short_to_hide_anything_in_are_a_mistake_with_a_sentence() -> None:
    dataset = cast(Dataset, Texts(["A fact.", "x"]))
    with pytest.raises(UserError, match="No test document of 'texts' has 8 tokens or more, to hide some of them in: add longer ones"):
        score_spans(Uniform((VOCAB,)), dataset, TEXT, tell=SILENT)  # type: ignore[arg-type]
    require_scorable(torch.nn.Linear(1, 1), dataset, TEXT, EvaluationConfig())


@pytest.mark.parametrize(("model", "least", "most"), [(Learnt(), 0.99, 1.0), (Uniform(), 0.0, 0.75)])
def test_answers_that_a_model_knows_by_heart_are_told_from_others(model: Uniform, least: float, most: float) -> None:
    found = figure(scored(model), "membership_auc_by_loss")
    assert least <= found.value <= most
    assert found.identity.num_samples == 10
    assert any("membership_auc_by_loss is left out: it needs 8 test pairs, and there are 6" in note for note in scored(model, 6).notes)
