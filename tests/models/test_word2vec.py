"""Vectors of words: the loss, the pairs, and what is read out of them."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from components.models.capabilities import DataSpec, HasTokenVectors, PredictsContext, RelatesWords
from components.models.layers.vectors import combine, nearest
from components.models.word2vec.config import Word2VecConfig
from components.models.word2vec.model import Word2Vec

WORDS = 12
COUNTS = (50, 7, *range(40, 40 - WORDS, -1))
"""Of the mark, the unknown word, and the words."""


def make(**settings: object) -> Word2Vec:
    torch.manual_seed(0)
    small = {"width": 16, "max_steps": 200, "warmup_steps": 2, "weight_decay": 0.0, "subsample": 1.0, "shared_noise": 64, "negatives": 4}
    model = Word2Vec(Word2VecConfig(**{**small, **settings}), DataSpec("text", vocab_size=len(COUNTS), token_counts=COUNTS))
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def pairs_of_words(rows: int = 8, length: int = 20) -> Tensor:
    """Text in which word 2 always stands beside 3, 4 beside 5 and so on, unknown words between."""
    first = torch.randint(0, WORDS // 2, (rows, length), generator=torch.Generator().manual_seed(1)) * 2 + 2
    return torch.stack([first, first + 1, torch.ones_like(first)], dim=2).flatten(1)


def train(model: Word2Vec, tokens: Tensor, steps: int) -> float:
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for step in range(steps):
        torch.manual_seed(step)
        loss = model.training_step({"tokens": tokens}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def test_has_the_capabilities_of_word_vectors() -> None:
    assert isinstance(make(), HasTokenVectors)
    assert isinstance(make(), RelatesWords)
    assert isinstance(make(), PredictsContext)


def test_first_loss_is_that_of_guessing() -> None:
    loss = make().training_step({"tokens": pairs_of_words()}, 0).item()
    assert loss == pytest.approx((1 + 4) * math.log(2), rel=0.01)


def test_learns_which_words_stand_together() -> None:
    """In windows of one known word its partner is nearly certain to stand beside it."""
    model = make(window=1, learning_rate=0.03)
    first = pairs_of_words(rows=24)[:, 0::3]
    alone = torch.stack([first, first + 1], dim=2).flatten(0, 1)  # each pair is a row of its own
    assert train(model, alone, 200) < 0.5 * 5 * math.log(2)
    likeliest = model.context_log_probabilities(torch.arange(2, 2 + WORDS)).argmax(dim=1)
    assert likeliest.tolist() == [word + 1 if word % 2 == 0 else word - 1 for word in range(2, 2 + WORDS)]


def test_pairs_are_known_words_within_the_window() -> None:
    model = make(window=2)
    tokens = torch.tensor([[0, 2, 1, 3, 4, 5]])
    found = {pair for _ in range(30) for pair in zip(*(side.tolist() for side in model._pairs(tokens)), strict=True)}
    near = {(2, 3), (3, 4), (4, 5), (2, 4), (3, 5)}  # the unknown word between 2 and 3 is taken out first
    assert found == near | {(right, left) for left, right in near}


def test_frequent_words_are_left_out_more_often_and_marks_always() -> None:
    model = make(subsample=1e-2)
    assert model.keep[:2].tolist() == [0, 0]
    assert (model.keep[2:].diff() > 0).all()
    assert model.keep[2] == pytest.approx(math.sqrt(1e-2 / (40 / sum(COUNTS[2:]))))


def test_noise_is_drawn_by_frequency_to_the_power() -> None:
    model = make(noise_power=0.5)
    assert model.noise[:2].sum() == 0
    assert model.noise[2] / model.noise[-1] == pytest.approx(math.sqrt(COUNTS[2] / COUNTS[-1]))
    assert model.noise.sum() == pytest.approx(1)


def test_probabilities_of_the_context_are_those_of_words_alone() -> None:
    found = make().context_log_probabilities(torch.tensor([2, 7])).exp()
    assert torch.allclose(found.sum(dim=1), torch.ones(2))
    assert found[:, :2].sum() == 0


def test_a_batch_without_any_pair_has_a_loss_of_nothing() -> None:
    loss = make().training_step({"tokens": torch.ones(2, 5, dtype=torch.int64)}, 0)
    assert loss.item() == 0
    loss.backward()


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = make()
    train(model, pairs_of_words(), 3)
    save_model(model, str(tmp_path / "weights.safetensors"))
    again = make()
    load_model(again, tmp_path / "weights.safetensors")
    assert torch.equal(again.token_vectors(), model.token_vectors())
    assert torch.equal(again.context_log_probabilities(torch.arange(5)), model.context_log_probabilities(torch.arange(5)))


def test_related_words_leave_out_those_of_the_question_and_the_marks() -> None:
    model = make()
    found = model.related_words([2, 3], [4], 100)
    assert {word for word, _ in found} == set(range(5, 2 + WORDS))
    cosines = [cosine for _, cosine in found]
    assert cosines == sorted(cosines, reverse=True)


def test_sums_are_of_unit_vectors_and_lengths_do_not_count() -> None:
    vectors = torch.tensor([[1.0, 0], [0, 5], [3, 3], [-1, 0]])
    assert torch.allclose(combine(vectors, [0, 1], []), torch.tensor([1.0, 1]))
    assert torch.allclose(combine(vectors, [1], [0]), torch.tensor([-1.0, 1]))
    assert nearest(vectors, torch.tensor([10.0, 10]), 1) == [(2, pytest.approx(1))]
    assert [index for index, _ in nearest(vectors, torch.tensor([1.0, 0]), 9, [0])] == [2, 1, 3]
