"""Functions of the standard library and what their docstrings say: real text, the same every time, with nothing to download."""

from pathlib import Path

import pytest

from components.data.sources import docstrings
from components.data.sources.docstrings import Config, all_documented, documented_in
from components.data.standard_library import library_files
from tests.data.workbench import one_dataset, rows, run

CODE = b'''
class Box:
    def open(self, key):
        """Open the box.

        More of it.
        """
        # why
        return key

    async def wait(self):
        "Wait for\\n        the lid."
        return 1

    def stub(self):
        """Says something and does nothing."""

    def example(self):
        """>>> Box().example()"""
        return 2

    def packed(self): "Shares its line."; return 3

    def silent(self):
        return 4


def twice():
    """First."""
    def inner():
        """Inside."""
        return "\x0c"
    return inner


def twice():
    """Second."""
    return 2
'''


def test_signature_and_body_are_the_source_and_the_first_paragraph_is_the_target() -> None:
    found = {function.id: function for function in documented_in("box.py", CODE)}
    assert {name: function.says for name, function in found.items()} == {
        "docstrings-box.py:Box.open": "Open the box.",
        "docstrings-box.py:Box.wait": "Wait for the lid.",
        "docstrings-box.py:twice": "First.",
        "docstrings-box.py:twice.inner": "Inside.",
        "docstrings-box.py:twice~2": "Second.",
    }
    opened = found["docstrings-box.py:Box.open"]
    assert opened.code == "def open(self, key):\n    # why\n    return key"
    assert opened.place == "lib/python/box.py line 3"
    assert found["docstrings-box.py:twice.inner"].code == 'def inner():\n    return "\x0c"'
    assert found["docstrings-box.py:twice~2"].code == "def twice():\n    return 2"


def test_a_file_that_is_no_python_gives_nothing() -> None:
    assert documented_in("broken.py", b"def (:") == []
    assert documented_in("binary.py", b"\0\xff") == []


@pytest.mark.slow
def test_the_standard_library_gives_thousands_of_pairs_without_its_tests() -> None:
    found = all_documented()
    assert 5_000 < len(found) < 15_000
    assert len({function.id for function in found}) == len(found)
    assert not any("test" in name.split("/")[:-1] for name in library_files())
    assert not any('"""' in function.code.split("\n", 1)[0] for function in found)


@pytest.mark.slow
def test_more_rows_begin_with_the_same_ones() -> None:
    few, more = (list(docstrings.read(Config(kind="docstrings", rows=num), "text-pairs", Path())) for num in (40, 60))
    assert more[:40] == few


def test_the_fingerprint_names_the_version_and_the_files_and_hangs_on_the_settings() -> None:
    known, other = (docstrings.fingerprint(Config(kind="docstrings", rows=num), "text-pairs", Path()) for num in (10, 20))
    assert len(known["files_sha256"]) == 64
    assert known["python"].startswith("3.")
    assert {**known, "rows": 20} == other


@pytest.mark.slow
def test_it_is_collected_and_cleaned(tmp_path: Path) -> None:
    project = one_dataset(tmp_path, {"modality": "text-pairs", "source": {"kind": "docstrings", "rows": 400}})
    manifest = run(project)
    assert manifest.rows() + sum(manifest.dropped.values()) == 400
    assert manifest.licence.startswith("PSF")
    assert all(row["source_text"].lstrip().startswith(("def ", "async def ")) for row in rows(project))
