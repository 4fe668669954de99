"""BLEU and CIDEr against values worked out by hand."""

import math

import numpy as np
import pytest

from components.evaluation.ngrams import bleu, cider, distinct, repeated_share, self_bleu, words_of

REFERENCES = [["a red bird sits on a branch"], ["a dog runs"], ["two dogs run in the park", "dogs in a park"]]


def test_words_are_runs_of_letters_whatever_their_case() -> None:
    assert words_of("A double-struck O, DejaVu Sans.") == ("a", "double-struck", "o", "dejavu", "sans")


def test_captions_like_the_references_have_the_highest_scores() -> None:
    said = ["A red bird sits on a branch.", "a dog runs", "two dogs run in the park"]
    assert bleu(said, REFERENCES)[0] == pytest.approx(1.0)
    # Of three words there is no run of four, and of two references only one is said.
    assert cider(said, REFERENCES)[0] == pytest.approx(10.0)
    assert cider(said, REFERENCES)[1] == pytest.approx(7.5)
    assert 5.0 <= cider(said, REFERENCES)[2] < 10.0


def test_captions_that_share_no_word_score_zero() -> None:
    assert bleu(["x y z w"] * 3, REFERENCES)[0] == 0
    assert cider(["x y z w"] * 3, REFERENCES).tolist() == [0, 0, 0]
    assert cider([""] * 3, REFERENCES).tolist() == [0, 0, 0]
    assert bleu([""] * 3, REFERENCES)[0] == 0


def test_bleu_is_the_geometric_mean_of_clipped_precisions_with_a_penalty_for_brevity() -> None:
    # Of "a red bird sits" all 4, 3, 2, 1 runs are right; the reference has 7 words.
    assert bleu(["a red bird sits"], REFERENCES[:1])[0] == pytest.approx(math.exp(1 - 7 / 4))
    # Words 5 of 6 ("the" is wrong), pairs 3 of 5, triples 2 of 4, fours 1 of 3; 6 words beside 7.
    said = "a red bird sits the branch"
    assert bleu([said], REFERENCES[:1])[0] == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25 * math.exp(1 - 7 / 6))
    # A word counts as often as it stands in a reference, no more.
    assert bleu(["a a a a a a a"], REFERENCES[:1])[0] == 0


def test_bleu_of_a_corpus_counts_each_image_by_its_weight() -> None:
    said = ["a red bird sits on a branch", "x y z", "no such words here"]
    assert bleu(said, REFERENCES, np.array([[1, 0, 0], [2, 0, 0], [0, 1, 1]])).tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_cider_is_the_mean_cosine_of_runs_weighed_by_rarity() -> None:
    """Two images, "a b" and "a c": "a" stands under both and weighs nothing, what stands under one weighs ln 2. Only sizes 1 and 2 have runs."""
    references = [["a b"], ["a c"]]
    # "a b" of "a b": cosines 1 and 1. "b c d" of "a c": words (b, c, d) weigh (ln 2, ln 2, ln 2) beside c alone: 1 / sqrt 3; no pair in common.
    found = cider(["a b", "b c d"], references)
    assert found.tolist() == pytest.approx([10 * (1 + 1) / 4, 10 * (1 / math.sqrt(3)) / 4])


def test_a_run_counts_as_often_as_it_is_said() -> None:
    # "b b" beside "a b": words cosine 1 (a weighs nothing), the pair "b b" is not written.
    assert cider(["b b", "a c"], [["a b"], ["a c"]])[0] == pytest.approx(10 * 1 / 4)


def test_distinct_is_the_share_of_runs_that_are_different() -> None:
    assert distinct([("a", "b"), ("a", "c")], 1) == 3 / 4
    assert distinct([("a", "b", "a", "b")], 2) == 2 / 3
    assert distinct([("a",)], 2) == 0


def test_self_bleu_is_the_mean_of_each_text_held_against_all_others() -> None:
    texts = ["a red bird sits on a branch", "a red bird sits on a tree", "a red bird sits on a red bird sits", "two dogs run in the park"]
    each = [bleu([text], [[other for other in texts if other != text]])[0] for text in texts]
    assert self_bleu([words_of(text) for text in texts]) == pytest.approx(np.mean(each))
    assert self_bleu([words_of(texts[0])] * 3) == pytest.approx(1)
    assert self_bleu([words_of(texts[0]), words_of("x y z w v")]) == self_bleu([words_of(texts[0])]) == 0


def test_repetition_is_the_share_of_runs_that_have_stood_before() -> None:
    assert repeated_share([5] * 128) == pytest.approx(1 - 1 / 125)
    assert repeated_share(list(range(128))) == repeated_share([1, 2, 3]) == 0
    assert repeated_share([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
