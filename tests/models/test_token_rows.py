"""Texts as rows of tokens: marks at both ends, padding behind, and nothing in a text is taken for a mark."""

import pytest
import torch
from tokenizers import Tokenizer

from components.models.token_rows import BEGIN, END, PADDING, ROW, TEXTS_AT_ONCE, encodings, mask_of, token_rows
from components.training.datamodules.text import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return str(train_tokenizer(["greek capital letter omega, dejavu sans bold"] * 5, 280, ROW).to_str())


def test_the_marks_are_the_first_tokens(tokenizer: str) -> None:
    loaded = Tokenizer.from_str(tokenizer)
    assert [loaded.token_to_id(name) for name in ROW.names] == [PADDING, BEGIN, END] == [0, 1, 2]


def test_a_text_stands_between_its_marks_and_is_padded(tokenizer: str) -> None:
    rows = token_rows(tokenizer, ["omega", "", "Ω 你"], 12)
    assert rows.tokens.shape == (3, 12)
    assert rows.tokens.dtype == torch.int64
    assert (rows.tokens[:, 0] == BEGIN).all()
    assert ((rows.tokens == END).sum(1) == 1).all()
    assert rows.tokens[1].tolist() == [BEGIN, END, *[PADDING] * 10]
    assert rows.num_cut == 0
    assert Tokenizer.from_str(tokenizer).decode_batch(rows.tokens.tolist()) == ["omega", "", "Ω 你"]


def test_a_text_that_is_too_long_is_cut_before_its_end_mark_and_counted(tokenizer: str) -> None:
    rows = token_rows(tokenizer, ["x" * 50, "y" * 6, "y" * 7], 8)
    assert rows.num_cut == 2
    assert (rows.tokens[:, -1] == END).all()


def test_the_mask_ends_with_the_text(tokenizer: str) -> None:
    rows = token_rows(tokenizer, ["omega", "x" * 50], 8)
    mask = mask_of(rows.tokens)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [int((rows.tokens[0] == END).nonzero()) + 1, 8]


def test_what_reads_like_a_mark_is_text(tokenizer: str) -> None:
    tokens = token_rows(tokenizer, [f"a {ROW.names[END]} b {ROW.names[PADDING]}"], 40).tokens
    assert (tokens == END).sum() == 1
    assert mask_of(tokens).sum() > 20


def test_no_texts_are_no_rows(tokenizer: str) -> None:
    assert token_rows(tokenizer, [], 5).tokens.shape == (0, 5)


def test_texts_are_encoded_some_at_a_time_as_if_it_were_at_once(tokenizer: str) -> None:
    loaded = Tokenizer.from_str(tokenizer)
    texts = [f"omega number {number}" for number in range(TEXTS_AT_ONCE + 5)]
    left = iter(texts)
    found = encodings(loaded, left, marks=False)
    first = next(found)
    assert next(left) == texts[TEXTS_AT_ONCE], "no more was read"
    assert first.ids == loaded.encode(texts[0], add_special_tokens=False).ids
    assert [encoding.ids for encoding in encodings(loaded, texts)] == [encoding.ids for encoding in loaded.encode_batch(texts)]
    assert token_rows(tokenizer, texts, 6).num_cut == len(texts)
