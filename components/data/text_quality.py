"""Rules that tell text from what only looks like it: lists of links, logs, boilerplate, another language.

After Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021), appendix A, with their bounds where no other is said.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from components.data.modalities import Rejection
from components.params import Strict

_JUDGED_CHARS = 4000
"""The beginning of a text says its language as well as the whole."""
_REPEATED_WORDS = 5


class Quality(Strict):
    """Bounds of a text's figures; each can be set by itself."""

    min_words: int = Field(10, ge=1)
    min_mean_word: float = Field(3.0, ge=0)
    """Mean length of a word, in characters."""
    max_mean_word: float = Field(10.0, gt=0)
    max_symbols: float = Field(0.25, ge=0, le=1)
    """Share of characters that are neither letters, digits nor white space. English prose has 0.05, Python source 0.2."""
    max_repeated_lines: float = Field(0.3, ge=0, le=1)
    """Share of characters in lines that stood before."""
    max_repeated_words: float = Field(0.3, ge=0, le=1)
    """Share of words that begin a sequence of five which stood before."""


def quality_problem(text: str, rules: Quality) -> Rejection | None:
    """Why ``text`` is not worth learning from, if so."""
    words = text.split()
    if len(words) < rules.min_words:
        return Rejection("low-quality", f"{len(words)} words, wanted are at least {rules.min_words} (min_words)")
    mean = sum(map(len, words)) / len(words)
    if not rules.min_mean_word <= mean <= rules.max_mean_word:
        name = "min_mean_word" if mean < rules.min_mean_word else "max_mean_word"
        return Rejection(
            "low-quality", f"its words have {mean:.1f} characters on average, wanted are {rules.min_mean_word:g} to {rules.max_mean_word:g} ({name})"
        )
    for name, share in (("symbols", symbols), ("repeated_lines", _repeated_lines), ("repeated_words", _repeated_words)):
        found, most = share(text), getattr(rules, f"max_{name}")
        if found > most:
            return Rejection("low-quality", f"{found:.0%} {name.replace('_', ' ')}, allowed are {most:.0%} (max_{name})")
    return None


def language_problem(text: str, languages: Sequence[str]) -> Rejection | None:
    """Why ``text`` is in none of ``languages`` (ISO 639-1 codes), if so."""
    code, confidence = _identifier().classify(text[:_JUDGED_CHARS])
    if code in languages:
        return None
    return Rejection("language", f"it is {code} (confidence {confidence:.2f}), wanted is {', '.join(languages)}")


def language_of(text: str) -> str:
    """The code of the language that ``text`` seems to be in."""
    return str(_identifier().classify(text[:_JUDGED_CHARS])[0])


@functools.cache
def known_languages() -> frozenset[str]:
    return frozenset(map(str, _identifier().labels))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def symbols(text: str) -> float:
    """Share of the characters besides white space that are neither letters nor digits."""
    solid = "".join(text.split())
    return sum(not sign.isalnum() for sign in solid) / max(len(solid), 1)


def _repeated_lines(text: str) -> float:
    lines = [line.strip() for line in text.split("\n")]
    repeated = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
    return repeated / max(sum(map(len, lines)), 1)


def _repeated_words(text: str) -> float:
    words = text.split()
    sequences = list(zip(*(words[start:] for start in range(_REPEATED_WORDS)), strict=False))
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0
