"""One link of the chain as it was recorded and as it was found."""

from collections.abc import Sequence

from components.params import Strict

NOT_REHASHED = "not re-hashed"
NOT_RECORDED = "not recorded"


class AuditRow(Strict):
    """One link of the chain."""

    link: str
    expected: str
    found: str
    ok: bool | None
    """None: nothing was looked at, so that nothing is said."""
    note: str = ""
    """What is worth knowing although nothing is broken."""


def same(link: str, expected: str, found: str, note: str = "") -> AuditRow:
    """A row that holds where ``found`` is what was recorded; nothing recorded is a broken link."""
    return AuditRow(link=link, expected=short(expected), found=short(found) or "nothing", ok=bool(expected) and expected == found, note=note)


def same_where_recorded(link: str, expected: str, found: str) -> AuditRow:
    """The same for what older runs did not record, which is no fault of theirs."""
    if expected:
        return same(link, expected, found)
    return AuditRow(link=link, expected=NOT_RECORDED, found=NOT_RECORDED, ok=None, note="the run is older than this record")


def unbroken(link: str, expected: str, problems: Sequence[str], found: str = "") -> AuditRow:
    """A row that holds where there are no ``problems``; ``found`` says what was seen then, ``expected`` unless given."""
    return AuditRow(link=link, expected=expected, found="; ".join(problems[:5]) or found or expected, ok=not problems)


def not_rehashed(link: str, expected: str) -> AuditRow:
    return AuditRow(link=link, expected=short(expected), found=NOT_REHASHED, ok=None)


def short(text: str) -> str:
    """A digest's first characters; any other text as it is."""
    return text[:16] if len(text) in (32, 40, 64) and all(sign in "0123456789abcdef" for sign in text) else text
