"""The code that two packages carry is compared line by line, within reason."""

import shutil
from pathlib import Path

from components.registry.package import Package
from components.report.code_diff import MOST_LINES, code_diff, packaged_code
from components.tracking import Tracker
from tests.stores import register


def test_a_changed_line_of_the_packaged_code_is_shown(tracker: Tracker, package: Package, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(package.folder, folder)
    changed = folder / "code/components/errors.py"
    changed.write_text(changed.read_text() + "NEW_LINE = 1\n")
    first, second = register(tracker, package), register(tracker, package.model_copy(update={"folder": folder}))
    a, b = packaged_code(tracker, first), packaged_code(tracker, second)
    assert a is not None
    assert b is not None
    diff = code_diff(first.ref, a, second.ref, b)
    assert [(file.path, file.added, file.removed) for file in diff.files] == [("components/errors.py", 1, 0)]
    assert diff.files[0].lines[-1] == "+NEW_LINE = 1"
    assert diff.same == len(a) - 1 > 3


def test_files_that_only_one_has_are_named_and_not_shown() -> None:
    diff = code_diff("a", {"x.py": "1\n", "y.py": "2\n"}, "b", {"y.py": "2\n", "z.py": "3\n"})
    assert (diff.only_base, diff.only_other, diff.same, diff.files) == (("x.py",), ("z.py",), 1, ())
    assert diff.summary == "0 files differ, 1 are the same, 1 only in a, 1 only in b"


def test_a_long_difference_is_cut_and_the_rest_counted() -> None:
    new = "\n".join(map(str, range(1000)))
    diff = code_diff("a", {"x.py": "", "y.py": ""}, "b", {"x.py": new, "y.py": new})
    assert len(diff.files[0].lines) == MOST_LINES
    assert (diff.files[0].left_out, diff.files[1].lines, diff.files[1].left_out) == (1001 - MOST_LINES, (), 1001)
