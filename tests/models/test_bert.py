"""The masked language model keeps what it promises, whichever network of the library stands behind it."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_model, save_model
from torch import Tensor

from components.models.bert.config import BertConfig
from components.models.bert.model import Bert
from components.models.capabilities import DataSpec, EmbedsText, FillsMasks, HasTokenVectors
from components.models.layers.masking import END, MASK, ORDINARY, PAD, START, best_fills, choose_masked, hide
from components.training.datamodules.text import marks_of, train_tokenizer

VOCAB = 300
BACKBONES = ["modernbert", "bert"]


def make(**settings: object) -> Bert:
    torch.manual_seed(0)
    small = {"width": 32, "mlp_width": 48, "num_heads": 2, "num_layers": 2, "context_length": 16, "max_steps": 200, "warmup_steps": 5, "dropout": 0.0}
    model = Bert(BertConfig(**{**small, **settings}), DataSpec("text", vocab_size=VOCAB))
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def some_tokens(rows: int = 4, length: int = 17) -> Tensor:
    return torch.randint(ORDINARY, VOCAB, (rows, length), generator=torch.Generator().manual_seed(1))


def train(model: Bert, tokens: Tensor, steps: int) -> float:
    """The loss on the very same masks at the end, as at every step."""
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for _ in range(steps):
        torch.manual_seed(3)
        loss = model.training_step({"tokens": tokens}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.manual_seed(3)
    return model.training_step({"tokens": tokens}, 0).item()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_has_the_capabilities_of_a_masked_language_model(backbone: str) -> None:
    model = make(backbone=backbone)
    assert isinstance(model, FillsMasks)
    assert isinstance(model, EmbedsText)
    assert isinstance(model, HasTokenVectors)
    assert model.token_vectors().shape == (VOCAB, 32)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_first_loss_is_that_of_a_uniform_guess(backbone: str) -> None:
    loss = make(backbone=backbone).training_step({"tokens": some_tokens(32)}, 0).item()
    assert loss == pytest.approx(math.log(VOCAB), rel=0.05)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_overfits_one_batch_to_nearly_zero(backbone: str) -> None:
    assert train(make(backbone=backbone), some_tokens(), 200) < 0.02


@pytest.mark.parametrize("backbone", BACKBONES)
def test_weights_come_back_bit_for_bit(backbone: str, tmp_path: Path) -> None:
    model = make(backbone=backbone)
    train(model, some_tokens(), 3)
    save_model(model, str(tmp_path / "weights.safetensors"))
    again = make(backbone=backbone)
    load_model(again, tmp_path / "weights.safetensors")
    tokens = some_tokens(2, 16)
    assert torch.equal(again.eval()(tokens), model.eval()(tokens))
    assert again.network.get_output_embeddings().weight is again.network.get_input_embeddings().weight


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_gap_sees_both_sides_and_padding_changes_nothing(backbone: str) -> None:
    model = make(backbone=backbone)
    train(model, some_tokens(), 20)
    model.eval()
    tokens = some_tokens(1, 12)
    tokens[0, 6] = MASK
    found = model.fill_masks(tokens)
    assert found.shape == (1, VOCAB)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert found[0, :ORDINARY].exp().sum() == 0
    for place in (5, 7):
        changed = tokens.clone()
        changed[0, place] = (tokens[0, place] + 1 - ORDINARY) % (VOCAB - ORDINARY) + ORDINARY
        assert not torch.allclose(model.fill_masks(changed), found)
    padded = torch.cat([tokens, torch.full((1, 4), PAD)], dim=1)
    assert torch.allclose(model.fill_masks(padded), found, atol=1e-5)
    assert torch.allclose(model.embed_text(padded), model.embed_text(tokens), atol=1e-5)


def test_a_text_is_the_mean_of_its_tokens_without_the_marks() -> None:
    model = make().eval()
    tokens = torch.tensor([[START, 9, 8, 7, END]])
    assert torch.allclose(model.embed_text(tokens), model(tokens)[:, 1:4].mean(1), atol=1e-6)
    assert torch.isfinite(model.embed_text(torch.tensor([[START, END]]))).all()


def test_refuses_more_than_its_context() -> None:
    with pytest.raises(AssertionError, match="longer than the context"):
        make().fill_masks(some_tokens(1, 17))


def test_validation_masks_are_those_of_the_seed() -> None:
    def validated() -> float:
        torch.manual_seed(5)
        return model._loss(some_tokens()).item()

    model = make().eval()
    assert validated() == validated()


def test_only_ordinary_tokens_are_chosen_and_one_of_each_row_at_least() -> None:
    tokens = some_tokens(400, 10)
    tokens[:, 0], tokens[:, 9], tokens[3] = START, END, PAD
    chosen = choose_masked(tokens, 0.3)
    assert not chosen[tokens < ORDINARY].any()
    assert chosen.any(dim=1).sum() == 399  # the row of padding has none
    assert chosen[tokens >= ORDINARY].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert choose_masked(tokens, 1e-9).sum() == 399


def test_mixed_masking_keeps_a_tenth_and_draws_a_tenth() -> None:
    tokens = some_tokens(400, 100)
    chosen = torch.ones_like(tokens, dtype=torch.bool)
    hidden = hide(tokens, chosen, VOCAB, "mixed")
    assert (hidden == MASK).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (hidden == tokens).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert hidden[hidden != MASK].min() >= ORDINARY
    assert torch.equal(hide(tokens, chosen, VOCAB), torch.full_like(tokens, MASK))
    assert torch.equal(hide(tokens, ~chosen, VOCAB, "mixed"), tokens)


def test_the_tokenizer_knows_a_gap_and_takes_the_blank_before_it_along() -> None:
    tokenizer = train_tokenizer(["a new object returns an object"] * 5, VOCAB, marks_of(BertConfig.special_tokens))
    assert [tokenizer.token_to_id(name) for name in BertConfig.special_tokens] == [PAD, START, END, MASK]
    assert tokenizer.encode("").ids == [START, END]
    tokens = tokenizer.encode("a [MASK] object").ids
    assert (tokens[0], tokens[2], tokens[-1], len(tokens)) == (START, MASK, END, 5)
    assert tokenizer.decode(tokenizer.encode("naïve Ωmega — 你好 \x00").ids) == "naïve Ωmega — 你好 \x00"


def test_a_gap_behind_a_blank_takes_words_and_one_in_a_word_takes_what_fits() -> None:
    tokenizer = train_tokenizer(["a new object returns an object"] * 5, VOCAB, marks_of(BertConfig.special_tokens))
    torch.manual_seed(0)
    model = Bert(BertConfig(width=32, num_layers=1, context_length=16), DataSpec("text", vocab_size=tokenizer.get_vocab_size()))
    words = {tokenizer.decode([token]).strip() for name, token in tokenizer.get_vocab().items() if name.startswith("Ġ")}
    first, second, third = best_fills(model.eval(), tokenizer, "[MASK] new [MASK] ob[MASK]", 400)
    assert {word for word, _ in first} == {word for word, _ in second} == words - {""}
    assert len(third) == tokenizer.get_vocab_size() - ORDINARY
    assert sum(share for _, share in third) == pytest.approx(1, abs=1e-4)
    shares = [share for _, share in first]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) < 1  # what cannot stand there has the rest


def test_gaps_of_a_language_without_blanks_take_whatever_token_fits() -> None:
    tokenizer = train_tokenizer(["一个新的对象返回一个对象。如果列表为空，则引发错误。", "用 Python 写的方法"] * 5, 340, marks_of(BertConfig.special_tokens))
    torch.manual_seed(0)
    model = Bert(BertConfig(width=32, num_layers=1, context_length=32), DataSpec("text", vocab_size=tokenizer.get_vocab_size()))
    for found in best_fills(model.eval(), tokenizer, "[MASK]个 [MASK]", 400):
        assert len(found) == tokenizer.get_vocab_size() - ORDINARY


def test_heads_that_do_not_fit_the_width_are_a_mistake_with_a_sentence() -> None:
    with pytest.raises(ValidationError, match="no multiple of twice num_heads"):
        BertConfig(width=192, num_heads=5)
