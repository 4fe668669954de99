"""params.yaml: blocks know their lines, and nothing in it is silently ignored."""

from pathlib import Path

import pytest

from components.errors import UserError
from components.params import Strict, load

TEXT = """\
# a comment
models:
  one: {size: tiny}
  two:
    size: small
    layers:
      - width: 3
      - width: 4
"""


class Layer(Strict):
    width: int


class Model(Strict):
    size: str
    layers: tuple[Layer, ...] = ()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    models = load(write(tmp_path, TEXT)).child("models")
    assert models.line("one") == 3
    assert models.child("two").line("size") == 5
    assert models.child("two").line("layers", 1, "width") == 8
    assert models.child("two").line("absent") == 4


def test_a_mistake_deep_inside_is_named_with_its_own_line(tmp_path: Path) -> None:
    block = load(write(tmp_path, TEXT.replace("- width: 4", "- width: wide"))).child("models").child("two")
    with pytest.raises(UserError, match=r"^params.yaml line 8: models.two.layers.1.width: .*valid integer.*\(it is 'wide'\)"):
        block.validate(Model)


def test_an_unknown_key_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    block = load(write(tmp_path, TEXT.replace("size: small", "sice: small"))).child("models").child("two")
    with pytest.raises(UserError, match=r"line 5: unknown key 'sice' in models.two; did you mean 'size'\?|line 4: models.two.size is missing"):
        block.validate(Model)


def test_a_missing_key_is_named_at_its_parent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 4: models.two.size is missing: add it"):
        load(write(tmp_path, TEXT.replace("    size: small\n", ""))).child("models").child("two").validate(Model)


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 9: the key 'two' stands twice"):
        load(write(tmp_path, TEXT + "  two: {}\n"))


def test_a_scalar_where_a_mapping_belongs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3: models.one must be a mapping, not 'tiny'"):
        load(write(tmp_path, TEXT.replace("{size: tiny}", "tiny"))).child("models").child("one")


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params.yaml line \d+ is not valid YAML .*: mend that line"):
        load(write(tmp_path, "models:\n  one: {size: tiny\n  two: 3\n"))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params.yaml is missing: run `genmill init"):
        load(tmp_path / "params.yaml")


def test_an_empty_file_has_no_keys(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")).child("models").value == {}
