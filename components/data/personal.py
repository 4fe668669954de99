"""What a text should not teach a model: e-mail addresses, telephone numbers, and keys that open something.

Each is replaced by a word in angle brackets, so that the sentence round it stays one. Patterns find what has a telling form; a name or a street has none.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Kind = Literal["emails", "phones", "keys"]
PLACEHOLDERS: Mapping[Kind, str] = {"emails": "<EMAIL>", "phones": "<PHONE>", "keys": "<KEY>"}
CHANGES: Mapping[Kind, str] = {
    "emails": "e-mail addresses were replaced by <EMAIL>",
    "phones": "telephone numbers were replaced by <PHONE>",
    "keys": "keys, tokens and passwords were replaced by <KEY>",
}

_EMAIL = re.compile(r"(?<![\w.+-])[\w][\w.+%-]{0,63}@(?:[\w](?:[\w-]{0,61}[\w])?\.)+[A-Za-z]{2,24}(?![\w@])")
_PHONE = re.compile(
    r"""(?<![\w.,:/+-])(?:
        (?:\+|00)[1-9]\d{0,2}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}       # international
      | \(\d{2,5}\)[ .\-/]?\d{3,4}[ .\-]?\d{3,6}                  # area code in brackets
      | \d{3}[-.]\d{3}[-.]\d{4}                                   # North America
      | (?:(?<=tel[:.] )|(?<=phone: )|(?<=fax[:.] )|(?<=mobile: )|(?<=call ))\d[\d .\-/()]{5,18}\d
    )(?![\w-]|[.,:/]\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
"""Of a telephone number: at most 15 by ITU-T E.164."""
_KEYS = (
    re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL),
    re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b"),  # Amazon
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{22,255}\b|\bglpat-[\w-]{20,}"),  # GitHub, GitLab
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"\bAIza[\w-]{35}(?![\w-])"),  # Google
    re.compile(r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)[-_][\w-]{16,}|\bsk-[A-Za-z0-9]{32,}\b"),  # Stripe, OpenAI, Anthropic
    re.compile(r"\b(?:hf|npm|pypi|dop_v1|shpat)[_-][A-Za-z0-9_-]{30,}"),  # Hugging Face, package indexes, DigitalOcean, Shopify
    # JSON web token; no part of one is another behind a hyphen, or each of many would be followed to the end of the text.
    re.compile(r"\beyJ(?:(?!-eyJ)[\w-]){8,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
)
_URL_SECRET = re.compile(r"(?<=://)([^\s/:@<>]{1,64}):([^\s/@<>]{3,256})@")
_ASSIGNED = re.compile(
    r"""(?P<name>(?:api|access|secret|private|auth|client)[_-]?(?:key|token|secret)|token|secret|passw(?:or)?d|passphrase)["']?\s*(?::|=>?|:=)\s*
    (?:(?P<quote>["'])(?P<quoted>[^\s"']{12,256})(?P=quote)|(?P<plain>[A-Za-z0-9+/_.~!$%^&*-]{12,256}={0,2}))""",
    re.VERBOSE | re.IGNORECASE,
)
_RANDOM_BITS = 3.0
"""Entropy per character from which an assigned value is taken for a key; words and dotted names of a program have less, or no digit."""


def without(text: str, kinds: Iterable[Kind]) -> tuple[str, dict[str, int]]:
    """``text`` with what is of ``kinds`` replaced, and how often, by the sentences of `CHANGES`."""
    changes: dict[str, int] = {}
    for kind in kinds:
        text, count = _REMOVERS[kind](text)
        if count:
            changes[CHANGES[kind]] = count
    return text, changes


def _emails(text: str) -> tuple[str, int]:
    return _EMAIL.subn(PLACEHOLDERS["emails"], text) if "@" in text else (text, 0)


def _phones(text: str) -> tuple[str, int]:
    count = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal count
        if not _FEWEST_DIGITS <= sum(sign.isdigit() for sign in match[0]) <= _MOST_DIGITS:
            return match[0]
        count += 1
        return PLACEHOLDERS["phones"]

    return _PHONE.sub(replaced, text), count


def _secrets(text: str) -> tuple[str, int]:
    count = 0
    for pattern in _KEYS:
        text, found = pattern.subn(PLACEHOLDERS["keys"], text)
        count += found

    def assigned(match: re.Match[str]) -> str:
        nonlocal count
        value = match["quoted"] or match["plain"]
        if not _looks_random(value):
            return match[0]
        count += 1
        return match[0].replace(value, PLACEHOLDERS["keys"])

    def in_url(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"{match[1]}:{PLACEHOLDERS['keys']}@"

    return _ASSIGNED.sub(assigned, _URL_SECRET.sub(in_url, text)), count


def _looks_random(value: str) -> bool:
    """Letters and digits mixed, few of them repeated."""
    counts = Counter(value)
    entropy = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return entropy >= _RANDOM_BITS and any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)


_REMOVERS: Mapping[Kind, Callable[[str], tuple[str, int]]] = {"emails": _emails, "phones": _phones, "keys": _secrets}
