"""What a model writes: figures that move the right way, alarms for what copies or gets stuck, and real text beside it."""

import math
import random
from typing import Any

import pytest

from components.evaluation.continuations import DRAWS, NUM_PROMPTS, WORDS, passages
from components.evaluation.evidence import Evidence
from components.evaluation.ngrams import first_words, words_of
from tests.evaluation.test_text import TOKENIZER, TRAIN, Uniform, figure, scored

KNOWN = sorted(set(words_of(" ".join(TRAIN))))


def sentences(num: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(" ".join(draw.choices(KNOWN, k=7)).capitalize() + "." for _ in range(num))


TEST = [sentences(60, seed) for seed in range(8)]


class Writes(Uniform):
    """Says for prompt k what ``text`` is told for it."""

    def __init__(self, text: Any) -> None:
        super().__init__(16)
        self.text = text

    def continue_tokens(self, prompts: list[list[int]], **options: Any) -> list[list[int]]:
        return [TOKENIZER.encode(self.text(row), add_special_tokens=False).ids[: options["max_new_tokens"]] for row in range(len(prompts))]


FRESH, ALIKE = Writes(lambda row: sentences(20, 100 + row)), Writes(lambda row: sentences(20, 100 + row % 2))
COPIES, STUCK, SILENT_ONE = Writes(lambda row: TRAIN[row % 60]), Writes(lambda row: "the" * 500), Writes(lambda row: "")


def alarms_of(evidence: Evidence) -> list[str]:
    return [note for note in evidence.notes if note.startswith("ALARM")]


def test_figures_get_worse_where_texts_are_alike() -> None:
    fresh, alike = (scored(model, TEST) for model in (FRESH, ALIKE))
    for size in (1, 2, 3):
        assert figure(alike, f"distinct_{size}").value < figure(fresh, f"distinct_{size}").value
    assert figure(fresh, "self_bleu").value < 0.1
    assert figure(alike, "self_bleu").value == pytest.approx(1)
    assert figure(fresh, "distinct_1").value < figure(fresh, "distinct_2").value < figure(fresh, "distinct_3").value


def test_real_text_stands_beside_each_and_text_of_its_kind_comes_near_it() -> None:
    evidence = scored(FRESH, TEST)
    for name in ("distinct_1", "distinct_2", "distinct_3", "self_bleu", "repetition"):
        found = figure(evidence, name)
        assert found.floor is not None
        assert found.value == pytest.approx(found.floor, abs=0.12), name
        assert found.floor_name == "what stands there in the test text"


def test_a_fresh_model_raises_no_alarm_a_copying_one_and_a_stuck_one_do() -> None:
    assert not alarms_of(scored(FRESH, TEST))
    copied, stuck = scored(COPIES, TEST), scored(STUCK, TEST)
    assert figure(copied, "copy_rate").value == 1
    assert any("copy_rate 1.00, real text 0.00" in alarm for alarm in alarms_of(copied))
    assert figure(stuck, "repetition").value > 0.9
    assert any("repeats itself (repetition 0.9" in alarm for alarm in alarms_of(stuck))


def test_a_model_that_says_nothing_has_figures_all_the_same() -> None:
    evidence = scored(SILENT_ONE, TEST)
    assert figure(evidence, "distinct_2").value == figure(evidence, "self_bleu").value == 0
    assert all(math.isfinite(found.value) for found in evidence.figures)


def test_of_a_text_as_much_is_counted_whatever_the_tokenizer_and_tokens_name_theirs() -> None:
    evidence = scored(FRESH, TEST)
    for name in ("copy_rate", "distinct_2", "self_bleu"):
        found = figure(evidence, name)
        assert not found.identity.extractor_sha256
        assert f"the first {WORDS} words, at most 128 tokens, behind fixed prompts" in found.identity.preprocessing
        assert "temperature" not in found.identity.preprocessing, "how it was drawn may differ"
        assert found.recorded.sampler == "temperature 0.8, top_p 0.95"
        assert (found.identity.num_samples, found.spread_over) == (NUM_PROMPTS, f"{DRAWS} draws of each prompt")
    assert figure(evidence, "repetition").identity.extractor_sha256


def test_behind_a_prompt_stands_what_follows_it_and_behind_the_last_document_the_first() -> None:
    texts = ["one two three", "four five six"]
    found = {prompt.text: prompt.behind for prompt in passages(texts)}
    assert found == {"one two": " three\n\nfour five six\n\none two three\n\nfour five six", "four five": " six\n\none two three\n\nfour five six"}
    joined = "\n\n".join(TEST)
    prompts = passages(TEST)
    assert len(prompts) == NUM_PROMPTS == len({prompt.behind for prompt in prompts})
    assert all(prompt.text + prompt.behind[:100] in joined + joined for prompt in prompts)


def test_where_there_is_too_little_real_text_none_stands_beside() -> None:
    assert figure(scored(FRESH, TEST), "distinct_2").floor is not None
    long_words = " ".join(["indistinguishability"] * 100)
    assert figure(scored(FRESH, [long_words]), "distinct_2").floor is None, "100 words for 10 prompts, behind each of which 40 are read"


def test_first_words_end_behind_a_word() -> None:
    assert first_words("One, two. Three!", 2) == "One, two"
    assert first_words("One, two.", 5) == "One, two."
