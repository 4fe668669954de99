"""Text from bytes that a source gave."""

import hashlib
import re

from components.data.modalities import Rejection

_WORD = re.compile(r"\w+")


def decode_text(content: bytes | None, what: str = "text") -> str | Rejection:
    """The plain text in ``content``, or why it cannot be had; ``what`` names it in the reason."""
    if content is None:
        return Rejection("incomplete", f"no {what}")
    try:
        text = decoded(content)
    except UnicodeDecodeError as error:
        return Rejection("corrupt", f"the {what} is not UTF-8 at byte {error.start:,}")
    if "\0" in text:
        return Rejection("corrupt", f"the {what} holds NUL characters: not plain text")
    return text if text.strip() else Rejection("incomplete", f"the {what} is blank")


def decoded(content: bytes) -> str:
    """UTF-8 with or without a byte order mark, lines ended by a line feed, without blank lines at the ends."""
    text = content.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def length_problem(text: str, least: int, most: int, what: str = "text") -> Rejection | None:
    """Why ``text`` is too short or too long, if it is."""
    if least <= len(text) <= most:
        return None
    return Rejection("out-of-range", f"the {what} has {len(text):,} characters, allowed are {least:,} to {most:,}")


def word_key(text: str) -> str:
    """Equal for texts that differ in case, white space and punctuation alone."""
    words = " ".join(_WORD.findall(text.lower()))
    return digest(words or " ".join(text.split()))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
