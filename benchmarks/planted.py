"""Documents and images with planted duplicates, near-duplicates and faults: what cleaning should find in them is known.

All of it follows from a seed and the row's number, so a million documents need no memory.
"""

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

KINDS = ("original", "duplicate", "near-duplicate", "faulty")
"""Of every twenty documents: two near-duplicates, one exact duplicate, one with a fault, sixteen originals."""
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_VOCABULARY = tuple("".join(random.Random(f"word {number}").choices(_LETTERS, weights=range(26, 0, -1), k=2 + number % 9)) for number in range(30_000))
_FAULTS = (b"", b"\xff\xfe\x00\x01broken", b"   \n  ", b"binary\x00bytes")


@dataclass(frozen=True)
class Planted:
    number: int
    kind: str
    of: int | None
    """The earlier row that it repeats."""
    content: bytes


def documents(num: int) -> Iterator[Planted]:
    for number in range(num):
        place = number % 20
        if place in (9, 19):
            of = _original_before(number)
            yield Planted(number, "near-duplicate", of, _altered(of, number))
        elif place == 14:
            of = _original_before(number)
            yield Planted(number, "duplicate", of, document(of))
        elif place == 17:
            yield Planted(number, "faulty", None, _FAULTS[number // 20 % len(_FAULTS)])
        else:
            yield Planted(number, "original", None, document(number))


def write_documents(path: Path, num: int) -> None:
    """One JSON line per document; bytes that are no UTF-8 are written as they are."""
    with path.open("wb") as file:
        for planted in documents(num):
            text = json.dumps(planted.content.decode("latin-1")).encode() if planted.kind != "faulty" else b'"' + planted.content.replace(b"\n", b"\\n") + b'"'
            file.write(b'{"text": ' + text + b', "title": "' + f"{planted.number}".encode() + b'"}\n')


def _original_before(number: int) -> int:
    of = random.Random(f"of {number}").randrange(number)
    return of - of % 20 + min(of % 20, 8)


def _words(number: int) -> list[str]:
    rng = random.Random(f"document {number}")
    return rng.choices(_VOCABULARY, k=rng.randrange(80, 240))


def document(number: int) -> bytes:
    """The original with this number."""
    return _text(_words(number)).encode()


def _altered(of: int, number: int) -> bytes:
    """With one word in sixty replaced, which leaves some 0.85 of the word sequences alike."""
    words, rng = _words(of), random.Random(f"altered {number}")
    for place in range(rng.randrange(60), len(words), 60):
        words[place] = rng.choice(_VOCABULARY)
    return _text(words).encode()


def _text(words: list[str]) -> str:
    return "\n".join(" ".join(words[start : start + 14]).capitalize() + "." for start in range(0, len(words), 14))


def picture(number: int, side: int = 256) -> Image.Image:
    """Smooth shapes over a gradient."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, width, height = (int(value) for value in rng.integers(0, side, 4))
        draw.ellipse((x, y, x + width, y + height), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return image


def images(num: int) -> Iterator[Planted]:
    """JPEGs; near-duplicates are another size, quality and brightness of an earlier one."""
    for number in range(num):
        place = number % 20
        of = _original_before(number) if place in (9, 14, 19) else None
        if place == 17:
            yield Planted(number, "faulty", None, _broken(number))
        elif of is None:
            yield Planted(number, "original", None, _jpeg(picture(number), 90))
        elif place == 14:
            yield Planted(number, "duplicate", of, _jpeg(picture(of), 90))
        else:
            smaller = ImageEnhance.Brightness(picture(of).resize((200, 200), Image.Resampling.LANCZOS)).enhance(1.05)
            yield Planted(number, "near-duplicate", of, _jpeg(smaller, 60))


def _broken(number: int) -> bytes:
    whole = _jpeg(picture(number), 90)
    return (whole[: len(whole) // 2], b"", b"<!doctype html><title>404</title>", whole[:20] + b"\0" * 200)[number // 20 % 4]


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
