"""What cleaning makes of a text before it is compared with others: repaired, normalised, without what is private, in a wanted language, of some quality."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from components.data.modalities import Limits, Rejection
from components.data.near.jaccard import TextLikeness
from components.data.personal import PLACEHOLDERS, Kind, without
from components.data.text_quality import Quality, known_languages, language_of, language_problem, quality_problem
from components.data.texts import plain_text

_NEARLY_ALL = 0.95
_MOST_MARKS = 256
"""Languages have up to four on a letter, Unicode's stream-safe format 30 (UAX #15)."""
_SIGNS = re.compile(rf"(?:[^\w\s]|[\uff9e\uff9f]){{{_MOST_MARKS // 2},}}")
"""Runs of what may be marks: no letters, but for two that become marks, and some become two."""
REPAIRED, NORMALISED = "texts had their encoding repaired", "texts were brought to Unicode normal form"


class WordingRules(Limits):
    """Of every text, however short; all off by default."""

    repair: bool = False
    """Read bytes that are not UTF-8 in the encoding that they seem to have, and mend text that was decoded wrongly (`schÃ¶n`)."""
    normalise: Literal["NFC", "NFKC"] | None = None
    """Unicode normal form: NFC joins letters and accents, NFKC also folds ligatures, full-width signs and the like."""
    remove: tuple[Kind, ...] = ()
    """What is replaced by a word in angle brackets: `emails`, `phones`, `keys` (tokens, passwords and private keys)."""


class TextRules(WordingRules):
    """Of documents and of pairs of texts."""

    languages: tuple[str, ...] = ()
    """Codes like `en` of the languages that stay; empty keeps all. Unfit for source code and for texts of a few words."""
    quality: Quality | None = None
    """`{}` for the usual bounds; null for none."""
    near_duplicates: TextLikeness | None = Field(None)
    """`{jaccard: 0.8}` drops texts that are nearly the same as an earlier one; null keeps them."""

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for language in languages:
            if language not in known_languages():
                raise ValueError(f"{language!r} is none of the {len(known_languages())} languages that are told apart: give ISO 639-1 codes, e.g. [en, de]")
        return languages


@dataclass(frozen=True)
class Wording:
    """A text after the rules, and what they altered in it."""

    text: str
    changes: Mapping[str, int] = field(default_factory=dict)


def worded(content: bytes | None, rules: WordingRules, what: str = "text") -> Wording | Rejection:
    """The text in ``content`` by ``rules``, or why it cannot be had; ``what`` names it in the reason."""
    read = plain_text(content, what, guess=rules.repair)
    if isinstance(read, Rejection):
        return read
    text, was_guessed = read
    changes: dict[str, int] = {}
    mended = _mended(text) if rules.repair else text
    if was_guessed or mended != text:
        changes[REPAIRED] = 1
    if rules.normalise and (marks := _longest_marks(mended)) > _MOST_MARKS:
        return Rejection("corrupt", f"the {what} has {marks:,} accents on one letter")
    normal = unicodedata.normalize(rules.normalise, mended) if rules.normalise else mended
    if normal != mended:
        changes[NORMALISED] = 1
    text, removed = without(normal, rules.remove)
    return Wording(text, {**changes, **removed})


def unwanted(text: str, rules: TextRules) -> Rejection | None:
    """Why ``text`` is left out by the rules of language and quality, if so."""
    problem = quality_problem(text, rules.quality) if rules.quality else None
    return problem or (language_problem(text, rules.languages) if rules.languages else None)


def _longest_marks(text: str) -> int:
    """Of the accents and other marks on one letter, where there are many: normalising them takes time with the square of their number."""
    longest = 0
    for run in () if text.isascii() else _SIGNS.finditer(text):  # ASCII has no marks, and most texts are that
        number = 0
        for sign in run[0]:
            parts = unicodedata.normalize("NFKD", sign)  # some signs are none, but become some
            number = number + len(parts) if all(map(unicodedata.combining, parts)) else 0
            longest = max(longest, number)
    return longest


def _mended(text: str) -> str:
    """Encoding mistakes alone are undone; quotation marks and entities stay as they were written."""
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, fix_line_breaks=False, normalization=None, explain=False
    )
    return ftfy.fix_text(text, config)


def suggested_wording(texts: Sequence[str]) -> dict[str, Any]:
    """Rules that harm no text: private matter is replaced where the sample has some, near-duplicates are left out unless much of the sample would be."""
    kinds = [kind for kind in PLACEHOLDERS if any(without(text, [kind])[1] for text in texts)]
    likeness = TextLikeness()
    features = likeness.features(texts)
    repeats = len(features) - len(set(features) - {b""}) - sum(not feature for feature in features)
    return {
        "repair": True,
        "normalise": "NFC",
        **({"remove": kinds} if kinds else {}),
        **({"near_duplicates": {"jaccard": likeness.jaccard}} if repeats <= len(texts) // 20 else {}),
    }


def suggested_rules(texts: Sequence[str]) -> dict[str, Any]:
    """Those and the rules of quality and language that nearly all of the texts stand."""
    rules = suggested_wording(texts)
    if texts and sum(quality_problem(text, Quality()) is None for text in texts) >= _NEARLY_ALL * len(texts):
        rules["quality"] = {}
    languages = Counter(map(language_of, texts)).most_common(1)
    if languages and languages[0][1] >= _NEARLY_ALL * len(texts):
        rules["languages"] = [languages[0][0]]
    return rules
