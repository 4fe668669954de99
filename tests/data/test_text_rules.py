"""What cleaning alters in texts and which it leaves out: each rule by itself, off unless params turn it on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.data.boilerplate import says_nothing
from components.data.modalities import Rejection
from components.data.personal import without
from components.data.text_quality import Quality, language_problem, quality_problem
from components.data.text_rules import NORMALISED, REPAIRED, TextRules, Wording, worded
from components.errors import UserError
from tests.data.workbench import files, folder_project, png, quarantine, rows, run, set_params

PROSE = (
    "The library lends books to everyone who lives in the town and brings them back within a month. Whoever is late pays a small sum for each week, and the "
    "money buys new books. In winter the reading room stays open until nine, for many people have no warm place of their own to read in."
)


def text_of(content: bytes, **rules: Any) -> Wording | Rejection:
    return worded(content, TextRules.model_validate(rules))


def test_nothing_is_altered_by_default() -> None:
    text = "schÃ¶n, ﬁne, mail me@example.org or +49 30 1234567"
    assert text_of(text.encode()) == Wording(text)
    assert isinstance(text_of(PROSE.encode("utf-16")), Rejection)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("schÃ¶n und grÃ¼n".encode(), "schön und grün"),
        ("donâ€™t".encode(), "don’t"),
        (
            "Die Straße führt über die Brücke, und dahinter liegen Gärten voller Äpfel.".encode("latin-1"),
            "Die Straße führt über die Brücke, und dahinter liegen Gärten voller Äpfel.",
        ),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю.".encode("cp1251"), "Съешь же ещё этих мягких французских булок, да выпей чаю."),
        (f"{PROSE}".encode("utf-16"), PROSE),
    ],
)
def test_repair_reads_what_is_not_utf_8_and_undoes_wrong_decoding(content: bytes, text: str) -> None:
    assert text_of(content, repair=True) == Wording(text, {REPAIRED: 1})


def test_repair_leaves_good_text_alone() -> None:
    for text in (PROSE, "x = 'a&amp;b' if y < 3 else “quoted”  # ﬁ ½", "# Ã is a letter\n\tindented\n"):
        assert text_of(text.encode(), repair=True) == Wording(text.strip("\n"))


def test_bytes_that_are_no_text_stay_corrupt_with_repair() -> None:
    assert isinstance(text_of(png(1), repair=True), Rejection)


def test_unicode_is_brought_to_the_normal_form_that_params_name() -> None:
    assert text_of("cafe\u0301 ﬁne".encode(), normalise="NFC") == Wording("café ﬁne", {NORMALISED: 1})
    assert text_of("cafe\u0301 ﬁne".encode(), normalise="NFKC") == Wording("café fine", {NORMALISED: 1})


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("write to ann.lee+news@mail.example.co.uk, please", "write to <EMAIL>, please"),
        ("<bob@example.org>", "<<EMAIL>>"),
        ("@dataclass\nclass A: pass", None),
        ("a@b is matrix multiplication", None),
        ("user@localhost", None),
    ],
)
def test_e_mail_addresses_are_replaced(text: str, cleaned: str | None) -> None:
    assert without(text, ["emails"])[0] == (cleaned or text)


@pytest.mark.parametrize(
    "number", ["+49 30 1234567", "+1 (415) 555-2671", "0044 20 7946 0958", "(030) 123 4567", "415-555-2671", "415.555.2671", "+33 1 42 68 53 00"]
)
def test_telephone_numbers_are_replaced(number: str) -> None:
    assert without(f"Ring {number} at noon.", ["phones"])[0] == "Ring <PHONE> at noon."


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-17",
        "17.05.2024",
        "192.168.10.254",
        "ISBN 978-3-16-148410-0",
        "3.14159265358979",
        "version 1.2.3.4",
        "1,234,567,890",
        "x = [1, 2, 3, 4, 5, 6, 7, 8]",
        "2019-2024",
        "12:34:56",
    ],
)
def test_dates_versions_and_plain_numbers_are_no_telephone_numbers(text: str) -> None:
    assert without(text, ["phones"]) == (text, {})


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "xoxb-" + "123456789012-abcdefABCDEF",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
        "hf_" + "abcdefGHIJKLmnopQRSTuvwxYZ0123456789",
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
def test_keys_and_tokens_are_replaced(secret: str) -> None:
    assert without(f"use {secret} here", ["keys"]) == ("use <KEY> here", {"keys, tokens and passwords were replaced by <KEY>": 1})


def test_private_keys_assigned_secrets_and_passwords_in_urls_are_replaced() -> None:
    armour = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"
    assert without(f"a\n{armour}\nb", ["keys"])[0] == "a\n<KEY>\nb"
    assert without('password = "t7Zq9!kLm2#xW"', ["keys"])[0].startswith('password = "<KEY>')
    assert without("postgres://ann:t0ps3cret@db/main", ["keys"])[0] == "postgres://ann:<KEY>@db/main"
    assert without("postgres://ann:t0ps3cret@db/main", ["emails", "keys"])[0] == "postgres://ann:<KEY>@db/main"


@pytest.mark.parametrize(
    "code", ["token = tokenizer.decode(first)", "secret = get_secret_from_vault", "password: str = Field(min_length=8)", "the token passed_to_function ends"]
)
def test_code_that_speaks_of_tokens_stays(code: str) -> None:
    assert without(code, ["keys"]) == (code, {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("too short", "2 words"),
        ("a b c d e f g h i j k l m", "characters on average"),
        ("donaudampfschifffahrtsgesellschaft " * 12, "characters on average"),
        ("|1.20| ---- |3.40| **** #### ++++ {}{} [][] |9.99| :::: ;;;; !!!! " * 3, "symbols"),
        ("Read more about this in our shop today.\n" * 20, "repeated lines"),
        ("one two three four five six seven eight nine ten " * 20, "repeated words"),
    ],
)
def test_texts_of_low_quality_are_left_out_with_the_figure(text: str, why: str) -> None:
    problem = quality_problem(text, Quality())
    assert problem is not None
    assert problem.reason == "low-quality"
    assert why in problem.detail


def test_prose_has_quality() -> None:
    assert quality_problem(PROSE, Quality()) is None


def test_texts_in_other_languages_are_left_out() -> None:
    german = "Die Bücherei verleiht Bücher an alle, die in der Stadt wohnen, und wer zu spät kommt, zahlt einen kleinen Betrag für jede Woche."
    assert language_problem(PROSE, ["en"]) is None
    problem = language_problem(german, ["en", "fr"])
    assert problem is not None
    assert problem.reason == "language"
    assert problem.detail.startswith("it is de")
    assert language_problem(german, ["en", "de"]) is None


def test_a_misspelt_language_is_named_with_its_line(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", clean={"languages": ["english"]})
    with pytest.raises(UserError, match=r"params.yaml line \d+: .*'english' is none of the .* give ISO 639-1 codes"):
        run(project)


def test_rules_of_wording_work_in_the_stage_and_are_told_in_the_manifest(tmp_path: Path) -> None:
    rules = {"repair": True, "normalise": "NFC", "remove": ["emails"], "languages": ["en"], "quality": {"min_words": 5}}
    project = folder_project(tmp_path, "text", clean={"max_quarantine": 1, **rules})
    for index in range(60):
        (files(project) / f"{index:02d}.txt").write_text(f"Story {index}. {PROSE} Write to me{index}@example.org.")
    (files(project) / "old.txt").write_bytes("Caf\xe9 M\xfcller ist eine Stra\xdfe weiter, sagte er und ging langsam nach Hause.".encode("latin-1"))
    (files(project) / "short.txt").write_text("nothing much")
    manifest = run(project)
    assert {name: reason for name, (reason, _) in quarantine(project).items()} == {"old.txt": "language", "short.txt": "low-quality"}
    assert manifest.dropped == {"language": 1, "low-quality": 1}
    assert manifest.notes == ("60 e-mail addresses were replaced by <EMAIL>.",)
    assert all(row["text"].endswith("Write to <EMAIL>.") for row in rows(project))
    assert all("@" not in row["text"] for row in rows(project))


def test_a_text_that_repeats_an_earlier_one_but_for_an_address_is_its_duplicate(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "text", clean={"remove": ["emails"]})
    for index in range(60):
        (files(project) / f"{index:02d}.txt").write_text(f"Story {index}. {PROSE}")
    (files(project) / "a.txt").write_text(f"{PROSE} Write to ann@example.org.")
    (files(project) / "b.txt").write_text(f"{PROSE} Write to bob@example.org.")
    run(project)
    assert {name: reason for name, (reason, _) in quarantine(project).items()} == {"b.txt": "duplicate"}


@pytest.mark.parametrize(
    "caption", ["IMG_2041.jpg", "image", "Untitled", "DSC 0001", "https://example.org/x.png", "Click to enlarge!", "photo 3", "- -", "12345"]
)
def test_captions_that_say_nothing_are_known(caption: str) -> None:
    assert says_nothing(caption)


@contextmanager
def not_for_minutes() -> Iterator[None]:
    """Fail what takes time with the square of its length, of which here it would take minutes; anything else is done at once."""

    def late(*arguments: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "text",
    [
        "eyJ-" * 250_000,
        "eyJaaaaaaaa.eyJ" + "-eyJaaaaaaaa" * 90_000,
        "a" * 10**6,
        "a@" * 500_000,
        "1 " * 500_000,
        "-----BEGIN " * 90_000,
        "token " * 90_000,
        "://a:" * 200_000,
    ],
)
def test_texts_made_to_take_for_ever_are_read_at_once(text: str) -> None:
    with not_for_minutes():
        assert isinstance(text_of(text.encode(), remove=["emails", "phones", "keys"], repair=True), Wording)


@pytest.mark.parametrize("filling", ["1", "1 ", "-", " \n", "1-", "a."])
def test_captions_made_to_take_for_ever_are_read_at_once(filling: str) -> None:
    with not_for_minutes():
        assert not says_nothing(f"img{filling * 100_000}!x")


def test_more_accents_on_a_letter_than_any_language_has_are_refused_before_they_are_put_in_order() -> None:
    with not_for_minutes():
        found = text_of(("a" + "\u0301\u0316" * 500_000).encode(), normalise="NFC")
    assert found == Rejection("corrupt", "the text has 1,000,000 accents on one letter")
    for mark in ("\u0f73", "\u0301\uff9e"):
        with not_for_minutes():
            assert isinstance(text_of(("a" + mark * 200_000).encode(), normalise="NFKC"), Rejection)
    assert isinstance(text_of(("a" + "\u0301\u0316" * 100).encode(), normalise="NFC"), Wording)
    assert isinstance(text_of(("!?" * 500).encode(), normalise="NFC"), Wording)


@pytest.mark.parametrize("caption", ["a red bicycle", "photo of a dog", "image of the moon over 3 hills", "latin capital letter A, DejaVu Sans bold"])
def test_captions_that_describe_stay(caption: str) -> None:
    assert not says_nothing(caption)


def test_boilerplate_and_repeated_captions_are_left_out_and_the_first_ones_stay(tmp_path: Path) -> None:
    project = folder_project(tmp_path, "image-text", clean={"boilerplate": True, "max_same_caption": 2})
    for index in range(60):
        (files(project) / f"{index:02d}.png").write_bytes(png(index))
        (files(project) / f"{index:02d}.txt").write_text(f"picture number {index} of a series" if index > 5 else "IMG_1.jpg" if index == 0 else "Buy now")
    run(project)
    found = quarantine(project)
    assert {name: reason for name, (reason, _) in found.items()} == dict.fromkeys(("00.png", "03.png", "04.png", "05.png"), "boilerplate")
    assert found["05.png"][1] == "its caption stands with 2 earlier rows already"
    set_params(project, clean={"boilerplate": False, "max_same_caption": None})
    run(project)
    assert quarantine(project) == {}
