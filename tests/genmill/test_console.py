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
