"""Text from bytes that a source gave."""

import hashlib
import re

from components.data.modalities import Rejection

_WORD = re.compile(r"\w+")


def decode_text(content: bytes | None, what: str = "text") -> str | Rejection:
    """The plain text in ``content``, or why it cannot be had; ``what`` names it in the reason."""
    found = plain_text(content, what)
    return found if isinstance(found, Rejection) else found[0]


def plain_text(content: bytes | None, what: str = "text", *, guess: bool = False) -> tuple[str, bool] | Rejection:
    """The plain text in ``content`` and whether its encoding was guessed, which is done where it is not UTF-8 and ``guess`` allows it."""
    if content is None:
        return Rejection("incomplete", f"no {what}")
    was_guessed = False
    try:
        text = decoded(content)
    except UnicodeDecodeError as error:
        guessed = _guessed(content) if guess else None
        if guessed is None:
            return Rejection("corrupt", f"the {what} is not UTF-8 at byte {error.start:,}")
        text, was_guessed = guessed, True
    if "\0" in text:
        return Rejection("corrupt", f"the {what} holds NUL characters: not plain text")
    return (text, was_guessed) if text.strip() else Rejection("incomplete", f"the {what} is blank")


def _guessed(content: bytes) -> str | None:
    """The text in the encoding that fits it best; None where none does."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(content).best()
    return None if best is None else _with_line_feeds(str(best))


def decoded(content: bytes) -> str:
    """UTF-8 with or without a byte order mark, lines ended by a line feed, without blank lines at the ends."""
    return _with_line_feeds(content.decode("utf-8-sig"))


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def length_problem(text: str, least: int, most: int, what: str = "text") -> Rejection | None:
    """Why ``text`` is too short or too long, if it is."""
    if least <= len(text) <= most:
        return None
    return Rejection("out-of-range", f"the {what} has {len(text):,} characters, allowed are {least:,} to {most:,}")


def plain_excerpt(content: bytes | None, chars: int = 300) -> str | None:
    """The beginning of ``content`` for people; what is no text shows as such."""
    if not content:
        return None
    text = content[: 4 * chars].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text[:chars] + (" …" if len(text) > chars else "")


def word_key(text: str) -> str:
    """Equal for texts that differ in case, white space and punctuation alone."""
    words = " ".join(_WORD.findall(text.lower()))
    return digest(words or " ".join(text.split()))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
