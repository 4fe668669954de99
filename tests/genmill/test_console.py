"""What a person's words look like on the terminal."""

import pytest

from genmill.console import out, print_table


@pytest.mark.parametrize("words", ["see [/tmp/x.png]", "letter ([a-z])", "a[/]b", r"C:\[x]", "[link=x]y[/link]", ":key:", "[red"])
def test_brackets_in_a_persons_words_stay_what_they_are(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    out.print(words, soft_wrap=True)
    print_table("Ledger", ("why",), [(words,)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == words
    assert printed[-1].strip() == words


def test_our_own_styles_are_no_part_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    out.print("[green]✓[/] done [bold]well[/]")
    assert capsys.readouterr().out == "✓ done well\n"


def test_a_name_and_a_figure_stay_whole_in_a_narrow_terminal_and_a_long_message_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 80)
    others = ("why", "when", "who", "where", "how")
    rows = [("text-to-image-glyphs/12", "bits_per_byte 1.644 (2.634)", *(f"{name} " * 9 for name in others)), ("vae/1", "it failed " * 12, *others)]
    print_table("Models", ("model", "figure", *others), rows, whole=["figure"])
    printed = capsys.readouterr().out
    assert "text-to-image-glyphs/12" in printed
    assert "bits_per_byte 1.644 (2.634)" in printed
    assert printed.count("failed") == 12
    assert max(map(len, printed.splitlines())) <= 80
