"""The encoder and decoder of text keeps what it promises, on pairs and on texts with hidden spans."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from components.models.capabilities import DataSpec, HasTokenVectors, IsPretrained, MapsText
from components.models.layers.span_counts import num_hidden
from components.models.layers.spans import corrupt, filled, gap_row, pieces_of, spans_of
from components.models.t5.config import T5Config
from components.models.t5.model import T5
from components.models.token_rows import BEGIN, END, PADDING, ROW
from components.training.datamodules.text import marks_of, train_tokenizer

VOCAB, SENTINELS = 300, 8
ORDINARY = END + 1
SMALL = {"width": 32, "mlp_width": 48, "num_heads": 2, "num_layers": 1, "sentinels": SENTINELS, "dropout": 0.0, "max_steps": 150, "warmup_steps": 5}
FIRST = VOCAB


def make(modality: str = "text-pairs", **settings: object) -> T5:
    torch.manual_seed(0)
    lengths = {"context_length": 32, "source_length": 12, "target_length": 10}
    model = T5(T5Config(**{**SMALL, **lengths, **settings}), DataSpec(modality, vocab_size=VOCAB))  # type: ignore[arg-type]
    model.log = lambda *arguments, **named: None  # type: ignore[method-assign]
    return model


def rows(num: int, length: int, seed: int = 1) -> Tensor:
    """Rows of several lengths, the longest of all ``length`` tokens."""
    tokens = torch.randint(ORDINARY, VOCAB, (num, length), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = BEGIN
    for row in range(num):
        end = length - 1 - row % 4
        tokens[row, end], tokens[row, end + 1 :] = END, PADDING
    return tokens


def batch_of(modality: str, num: int = 6) -> dict[str, Tensor]:
    if modality == "text":
        return {"tokens": torch.randint(ORDINARY, VOCAB, (num, 33), generator=torch.Generator().manual_seed(1))}
    return {"source": rows(num, 12), "target": rows(num, 10, seed=2)}


def train(model: T5, batch: dict[str, Tensor], steps: int) -> float:
    """The loss at the end, on the very same spans as at every step."""
    settings = model.configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]  # type: ignore[index]
    for _ in range(steps):
        torch.manual_seed(3)
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.manual_seed(3)
    return model.training_step(batch, 0).item()


# -- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["own", "shared"])
@pytest.mark.parametrize("modality", ["text-pairs", "text"])
def test_first_loss_is_that_of_a_uniform_guess(modality: str, head: str) -> None:
    loss = make(modality, head=head, width=64).training_step(batch_of(modality, 32), 0).item()
    assert loss == pytest.approx(math.log(VOCAB + SENTINELS), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "head"), [("text-pairs", "own"), ("text-pairs", "shared"), ("text", "own")])
def test_overfits_one_batch_and_then_says_it_word_for_word(modality: str, head: str) -> None:
    model, batch = make(modality, head=head, embedding_learning_rate=0.02), batch_of(modality)
    assert train(model, batch, 150) < 0.05
    torch.manual_seed(3)
    source, target = model.eval()._sides(batch, 0.15, 3.0)
    expected = [[token for token in row if token > END] for row in target.tolist()]
    assert model.map_text(source, max_new_tokens=20) == expected
    assert model.map_text(source[2:3], max_new_tokens=20) == expected[2:3]
    assert model.map_text(source, max_new_tokens=2) == [row[:2] for row in expected]
    if modality == "text-pairs":
        model.config = model.config.model_copy(update={"beams": 3})
        assert model.map_text(source, max_new_tokens=20) == expected


def test_has_the_capabilities_of_a_model_that_maps_text() -> None:
    for modality, sentinels in (("text-pairs", ()), ("text", tuple(range(FIRST, FIRST + SENTINELS)))):
        model = make(modality)
        assert isinstance(model, MapsText)
        assert isinstance(model, IsPretrained)
        assert isinstance(model, HasTokenVectors)
        assert model.sentinels == sentinels
        assert model.token_vectors().shape == (VOCAB, 32)


@pytest.mark.parametrize("head", ["own", "shared"])
def test_weights_come_back_bit_for_bit_and_padding_changes_nothing(head: str, tmp_path: Path) -> None:
    model = make(head=head)
    train(model, batch_of("text-pairs"), 3)
    save_model(model, str(tmp_path / "weights.safetensors"))
    again = make(head=head, max_steps=7)
    load_model(again, tmp_path / "weights.safetensors")
    source, target = rows(5, 12), rows(5, 10, seed=2)
    nll = model.eval().target_nll(source, target)
    assert torch.equal(again.eval().target_nll(source, target), nll)
    assert (nll[:, -1][target[:, -1] == PADDING] == 0).all()
    wider = torch.cat([source, torch.full((5, 7), PADDING)], dim=1)
    assert torch.allclose(model.target_nll(wider, target), nll, atol=1e-5)


def test_draws_repeat_and_hang_on_their_seed_alone() -> None:
    model, source = make().eval(), rows(3, 12)

    def drawn(seed: int, source: Tensor = source, **options: object) -> list[list[int]]:
        return model.map_text(source, max_new_tokens=12, seed=seed, temperature=1.0, **options)  # type: ignore[arg-type]

    assert drawn(4) == drawn(4) != drawn(5)
    assert drawn(4)[0] == drawn(4, source[:1])[0]
    assert drawn(4, top_k=1) == model.map_text(source, max_new_tokens=12)
    assert [len(answer) for answer in drawn(4, ends=lambda row, tokens: len(tokens) > row)] == [1, 2, 3]
    assert all(END < token < VOCAB for answer in drawn(6) for token in answer)


def test_every_gap_is_named_in_turn_whatever_the_weights() -> None:
    model = make("text").eval()
    source = torch.tensor([[BEGIN, 9, FIRST, 8, FIRST + 1, 7, END], [BEGIN, 9, FIRST, 8, 7, END, PADDING]])
    for answer, gaps in zip(model.map_text(source, max_new_tokens=200, temperature=1.0), (2, 1), strict=True):
        assert answer[0] == FIRST
        assert [token for token in answer if token >= FIRST] == list(range(FIRST, FIRST + gaps))


def test_ends_between_documents_are_neither_read_nor_said() -> None:
    tokens = batch_of("text")["tokens"]
    tokens[:, 15], tokens[:, 16] = END, BEGIN
    torch.manual_seed(0)
    source, target = make("text")._sides({"tokens": tokens}, 0.3, 3.0)
    for side in (source, target):
        assert ((side == END).sum(dim=1) == 1).all()
        assert ((side == BEGIN).sum(dim=1) == 1).all()


def test_validation_hides_the_same_spans_each_time() -> None:
    model, batch = make("text").eval(), batch_of("text")
    first, second = (model._sides(batch, 0.15, 3.0, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first.source, second.source)
    assert not torch.equal(first.source, model._sides(batch, 0.15, 3.0, torch.Generator().manual_seed(3)).source)


@pytest.mark.parametrize("head", ["own", "shared"])
def test_the_export_gives_equal_logits_and_the_same_tokens(head: str, tmp_path: Path) -> None:
    text = "def area(width): return Ünï 🎈"
    tokenizer = train_tokenizer([text], VOCAB, ROW)
    data = DataSpec("text-pairs", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
    config = T5Config(**SMALL, head=head)  # type: ignore[arg-type]
    model = T5(config, data).eval()
    model.export_pretrained(tmp_path)
    loaded, theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode(text).ids
    assert theirs(text)["input_ids"] == ids
    source, before = torch.tensor([ids]), torch.tensor([ids[:5]])
    with torch.no_grad():
        assert torch.allclose(model(source, before), loaded(input_ids=source, decoder_input_ids=before).logits, atol=1e-5)
    described = loaded.config.to_dict()
    wanted = {**config.model_dump(), "vocab_size": data.vocab_size}
    assert T5Config.architecture_of(described) == {name: wanted[name] for name in T5Config.ARCHITECTURE}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"width": 30, "num_heads": 4}, "no multiple of num_heads"),
        ({"context_length": 512, "sentinels": 8}, "25 hidden spans and there are 8 sentinels"),
        ({"corruption_rate": 0.05, "sentinels": 2}, "validation hides 15% of the tokens in spans of 3, 6 spans in a window, and there are 2 sentinels"),
        ({"span_length": 20.0, "sentinels": 5}, "6 spans in a window, and there are 5 sentinels: raise sentinels"),
    ],
)
def test_settings_that_do_not_fit_are_a_mistake_with_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        T5Config(**settings)  # type: ignore[arg-type]


# -- the spans -------------------------------------------------------------------------------------------------------


def joined(source: list[int], target: list[int]) -> list[int]:
    """The text of which both sides were made."""
    spans = spans_of(target[1:-1], range(FIRST, FIRST + 100))
    return [token for read in source[1:-1] for token in (spans[read - FIRST] if read >= FIRST else [read])]


@pytest.mark.parametrize(("length", "rate", "mean"), [(128, 0.15, 3.0), (20, 0.5, 1.0), (16, 0.15, 3.0), (3, 0.15, 3.0), (64, 0.3, 9.0)])
def test_spans_hide_what_is_promised_and_nothing_is_lost(length: int, rate: float, mean: float) -> None:
    tokens = torch.randint(ORDINARY, VOCAB, (50, length), generator=torch.Generator().manual_seed(0))
    source, target = corrupt(tokens, rate, mean, FIRST, torch.Generator().manual_seed(1))
    hidden, spans = num_hidden(length, rate, mean)
    assert source.shape == (50, length - hidden + spans + 2)
    assert target.shape == (50, hidden + spans + 2)
    for row in range(50):
        assert joined(source[row].tolist(), target[row].tolist()) == tokens[row].tolist()
        assert [token for token in target[row].tolist() if token >= FIRST] == list(range(FIRST, FIRST + spans))
        assert all(spans_of(target[row, 1:-1].tolist(), range(FIRST, FIRST + 100)))


def test_a_rate_of_15_percent_in_spans_of_3_is_that_of_the_paper() -> None:
    assert num_hidden(512, 0.15, 3.0) == (77, 26)


def test_gaps_stand_behind_words_and_are_filled_in_their_places() -> None:
    tokenizer = train_tokenizer(["a new object returns an object"] * 5, VOCAB, marks_of(T5Config.special_tokens))
    assert marks_of(T5Config.special_tokens) == ROW
    sentinels, text = range(FIRST, FIRST + SENTINELS), "a [MASK] object\n[MASK]s, [MASK]"
    row = gap_row(tokenizer, text, sentinels)
    assert (row[0], row[-1]) == (BEGIN, END)
    assert [token for token in row if token >= FIRST] == [FIRST, FIRST + 1, FIRST + 2]
    assert pieces_of(text) == [" a", " object\n", "s,", ""]
    spans = [tokenizer.encode(part, add_special_tokens=False).ids for part in (" new", "thing", " or two")]
    assert filled(tokenizer, text, spans) == "a new object\nthings, or two"
    assert filled(tokenizer, text, spans[:1]) == "a new object\n [MASK]s, [MASK]"
