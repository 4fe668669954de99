"""What a model of text writes: how much of it stands in the training text, how varied it is, and how much of it repeats itself.

Words are counted within the first `WORDS` of each text alone, so that these figures do not hang on the tokenizer; repetition is one of tokens, for
a model that gets stuck may write no words at all. Beside each stands what real text comes to that is as long.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from components.data.dataset import Dataset
from components.evaluation.alarms import alarms
from components.evaluation.documents import text_identity
from components.evaluation.evidence import Evidence
from components.evaluation.ngrams import LONGEST, distinct, first_words, repeated_share, self_bleu, words_of
from components.evaluation.overlap import ngrams_shared, share_of
from components.evaluation.protocol import Figure, Recorded
from components.models.capabilities import DataSpec

NUM_PROMPTS = 32
PROMPT_CHARS = 200
DRAWS = 3
"""Of each prompt, between which the figures spread."""
WORDS = 40
NGRAM = 8
TEMPERATURE = 0.8
TOP_P = 0.95
_BEHIND_CHARS = 4_000
_BETWEEN = "\n\n"


class Prompt(NamedTuple):
    text: str
    behind: str
    """What stands behind it in the test documents, one after the other."""


class Written(NamedTuple):
    """What was written for some prompts."""

    texts: list[str]
    tokens: list[list[int]]


def passages(texts: Sequence[str], num: int = NUM_PROMPTS) -> list[Prompt]:
    """Passages of up to 200 characters that begin at a line or a word, spread evenly over ``texts`` as one and then mixed, for the first ones are shown."""
    places = [(index, offset) for index, text in enumerate(texts) for offset in range(0, max(1, len(text) - PROMPT_CHARS), PROMPT_CHARS)]
    count = min(num, len(places))
    chosen = [places[number * len(places) // count] for number in range(count)]
    begins = np.cumsum([0, *(len(text) + len(_BETWEEN) for text in texts)])
    joined = _BETWEEN.join([*texts, *texts])  # behind the last document stands the first
    found = []
    for index, offset in (chosen[place] for place in np.random.default_rng(0).permutation(count)):
        start = _begin(texts[index], offset)
        prompt = texts[index][start : start + PROMPT_CHARS].rsplit(" ", 1)[0]
        end = int(begins[index]) + start + len(prompt)
        found.append(Prompt(prompt, joined[end : end + _BEHIND_CHARS]))
    return found


def _begin(text: str, offset: int) -> int:
    """Where the next line begins or, where that is further off than a passage is long, the next word."""
    line = text.find("\n", offset, offset + PROMPT_CHARS)
    return 0 if offset == 0 else line + 1 if line >= 0 else text.find(" ", offset) + 1


def drawn(model: Any, tokenizer: Tokenizer, prompts: Sequence[list[int]], num_tokens: int, seed: int) -> list[Written]:
    """`DRAWS` times what ``model`` writes behind each of ``prompts``, rows of tokens."""
    told = model.continue_tokens([*prompts] * DRAWS, max_new_tokens=num_tokens, seed=seed, temperature=TEMPERATURE, top_p=TOP_P)
    some = [told[start : start + len(prompts)] for start in range(0, len(told), len(prompts))]
    return [Written([tokenizer.decode(tokens) for tokens in one], one) for one in some]


def as_written(tokenizer: Tokenizer, texts: Sequence[str], num_tokens: int) -> Written:
    """Real ``texts`` as if a model had written them."""
    return Written(list(texts), [tokenizer.encode(text, add_special_tokens=False).ids[:num_tokens] for text in texts])


class Reference(NamedTuple):
    """What is held against what a model writes."""

    train: Sequence[str]
    test: Sequence[str]
    real: Written | None
    """Real texts as many and as long as a draw; None where there is too little text."""
    real_name: str
    num_tokens: int
    """That a model may write, at most."""


def writing_figures(draws: Sequence[Written], reference: Reference, dataset: Dataset, data_spec: DataSpec, seed: int) -> Evidence:
    """Figures `copy_rate`, `distinct_1` to `distinct_3`, `self_bleu` and `repetition`, each the mean of ``draws``; a note where one of them is alarming."""
    copied = _copy_rates([*([first_words(text, WORDS) for text in draw.texts] for draw in draws), reference.test], reference.train)
    found = [{"copy_rate": rate, **_variety(draw)} for rate, draw in zip(copied, draws, strict=False)]
    floors = {"copy_rate": copied[-1], **(_variety(reference.real) if reference.real else {})}
    recorded = Recorded(seed=seed, sampler=f"temperature {TEMPERATURE}, top_p {TOP_P}")
    how = f"the first {WORDS} words, at most {reference.num_tokens} tokens, behind fixed prompts, mean of {len(draws)} draws"
    told = {
        "copy_rate": (f"{NGRAM}-grams of words, {how}", f"{NGRAM}-grams of the generated text that stand in the training text"),
        **{f"distinct_{size}": (how, f"different runs of {size} words over all runs in what is written for all prompts") for size in (1, 2, 3)},
        "self_bleu": (f"BLEU-{LONGEST}, unsmoothed, {how}", "each continuation held against all others"),
        "repetition": (f"tokens, {how.replace(f'the first {WORDS} words, ', '')}", f"runs of {LONGEST} tokens that stood in the same continuation before"),
    }

    def figure(name: str) -> Figure:
        values = [values[name] for values in found]
        preprocessing, note = told[name]
        spec = data_spec if name == "repetition" else None
        return Figure(
            name=name, value=float(np.mean(values)), goal="max" if name.startswith("distinct") else "min", unit="" if name == "self_bleu" else "share",
            identity=text_identity(dataset, name, len(draws[0].texts), preprocessing, spec), recorded=recorded,
            floor=floors.get(name), floor_name="" if name not in floors else "the test text itself" if name == "copy_rate" else reference.real_name,
            spread=float(np.std(values, ddof=1)), spread_over=f"{len(draws)} draws of each prompt", note=note,
        )  # fmt: skip

    figures = tuple(figure(name) for name in told)
    return Evidence(figures, notes=tuple(alarms(figures)))


def _variety(written: Written) -> dict[str, float]:
    words = [words_of(first_words(text, WORDS)) for text in written.texts]
    return {
        **{f"distinct_{size}": distinct(words, size) for size in (1, 2, 3)},
        "self_bleu": self_bleu(words),
        "repetition": float(np.mean([repeated_share(tokens) for tokens in written.tokens])),
    }


def _copy_rates(groups: Sequence[Sequence[str]], train: Sequence[str]) -> list[float]:
    """Of each group of texts, while the training text is read once."""
    counts = iter(ngrams_shared([text for group in groups for text in group], train, NGRAM))
    return [share_of([next(counts) for _ in group]) for group in groups]
