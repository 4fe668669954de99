"""The report on a vocabulary: whole words, true neighbours, analogies that come out where they must, and a map."""

import io
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from components.data.dataset import Dataset
from components.evaluation.embeddings import common_words, show_embeddings
from components.evaluation.telling import SILENT
from components.models.capabilities import DataSpec
from components.training.datamodules.text import train_tokenizer, train_words
from tests.evaluation.test_text import TRAIN, Texts

NAMES = ["object", "class", "method", "value", "string", "number"]
WORDS = train_words([" ".join(f"{name} {name}s" for name in NAMES)], 100, ("<|endoftext|>", "[UNK]"), 1)


class Vectors:
    """A plural is its singular and one direction more."""

    def token_vectors(self) -> Tensor:
        found = torch.zeros(WORDS.get_vocab_size(), 8)
        for index, name in enumerate(NAMES):
            for plural in (0, 1):
                found[WORDS.token_to_id(name + "s" * plural), [index, 7]] = torch.tensor([1.0, float(plural)])
        return found


def shown(model: Any, tokenizer: Tokenizer, train: list[str]) -> Any:
    texts = Texts([])
    texts.texts["train"] = train
    spec = DataSpec("text", vocab_size=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), example_texts=("object class",))
    return show_embeddings(model, cast(Dataset, texts), spec, seed=0, tell=SILENT)


def test_shows_tokens_neighbours_analogies_and_a_map() -> None:
    evidence = shown(Vectors(), WORDS, [" ".join(f"{name} {name}s" for name in NAMES)])
    assert evidence.texts.keys() == {"tokens", "neighbours", "analogies"}
    assert evidence.texts["tokens"].startswith("object class\n\n3 tokens: <|endoftext|> (0)")
    lines = {line.split()[0]: line.split()[1] for line in evidence.texts["neighbours"].splitlines()}
    assert lines["object"] == "objects"
    assert "The plural comes first in 5 of 5 such rows." in evidence.texts["analogies"]
    assert evidence.texts["analogies"].startswith("+ ")
    with Image.open(io.BytesIO(evidence.pictures["token_map"])) as picture:
        assert picture.size == (1000, 750)


def test_a_vocabulary_without_words_or_without_plurals_says_so() -> None:
    few = shown(Vectors(), WORDS, ["object class"])
    assert few.texts.keys() == {"tokens"}
    assert few.notes == ("The vocabulary has 2 whole words, too few to show their neighbours.",)
    singular = shown(Vectors(), WORDS, [" ".join([*NAMES, "objects"])])
    assert singular.texts.keys() == {"tokens", "neighbours"}
    assert "no table of analogies" in singular.notes[0]


def test_words_of_a_byte_pair_vocabulary_begin_with_a_blank() -> None:
    tokenizer = train_tokenizer(TRAIN, 400)
    counts = np.ones(tokenizer.get_vocab_size(), dtype=np.int64)
    counts[tokenizer.token_to_id("Ġobject")] = 9
    words = common_words(tokenizer, counts)
    assert words[0].text == "object"
    assert all(str(tokenizer.id_to_token(word.token)) == f"Ġ{word.text}" for word in words)
    assert all(len(word.text) >= 4 and word.text.isalpha() for word in words)


def test_words_of_any_script_are_words() -> None:
    cyrillic, devanagari = "объект метод значение", "वस्तु नमस्ते संख्या"
    whole = train_words([f"{cyrillic} {devanagari} x2345"], 100, ("<|endoftext|>", "[UNK]"), 1)
    assert {word.text for word in common_words(whole, np.ones(whole.get_vocab_size(), dtype=np.int64))} == {*cyrillic.split(), *devanagari.split()}
    pairs = train_tokenizer([f" {cyrillic}"] * 9, 1000)
    found = {word.text for word in common_words(pairs, np.ones(pairs.get_vocab_size(), dtype=np.int64))}
    assert set(cyrillic.split()) <= found
    assert not any("\ufffd" in text for text in found)


def test_what_never_stands_in_the_text_is_not_shown() -> None:
    assert common_words(WORDS, np.zeros(WORDS.get_vocab_size(), dtype=np.int64)) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_map_repeats(seed: int) -> None:
    from components.evaluation.embeddings import _projected

    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(_projected(vectors, seed), _projected(vectors, seed))


def test_words_that_the_font_of_the_map_does_not_have_are_in_the_lists_alone() -> None:
    names = ["コンピュータ", "プログラム", "データベース", "ネットワーク", "アルゴリズム", "ソフトウェア", "ハードウェア", "キーボード"]
    tokenizer = train_words([" ".join(names)], 100, ("<|endoftext|>", "[UNK]"), 1)

    class Some:
        def token_vectors(self) -> Tensor:
            return torch.randn(tokenizer.get_vocab_size(), 8, generator=torch.Generator().manual_seed(0))

    evidence = shown(Some(), tokenizer, [" ".join(names)])
    assert "コンピュータ" in evidence.texts["neighbours"]
    assert not evidence.pictures
    assert "there is no map" in evidence.notes[-1]
