"""The datasets block: every mistake is named with its line and the nearest right word."""

from pathlib import Path

import pytest

from components.data.config import load_datasets, with_read
from components.errors import UserError
from components.params import Block, load

GOOD = """\
datasets:
  pets:
    modality: image
    source: {kind: folder, path: pets}
    split: {method: hash, train: 0.8, validation: 0.1, test: 0.1}
    clean: {min_size: 8}
    expect:
      - rule: expect_column_values_to_not_be_null
        column: caption
        severity: warning
"""


def params(tmp_path: Path, text: str) -> Block:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load(path)


def test_a_good_block_is_resolved_with_every_default(tmp_path: Path) -> None:
    config = load_datasets(params(tmp_path, GOOD))["pets"]
    assert config.stage_params("clean")["clean"]["max_pixels"] == 50_000_000
    assert config.stage_params("validate")["expect"] == [{"rule": "expect_column_values_to_not_be_null", "column": "caption", "severity": "warning"}]
    assert config.augment.copies == 0


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("modality: image", "modality: imgae", r"line 3: datasets.pets: there is no modality 'imgae'; did you mean 'image'\?"),
        ("kind: folder", "kind: foldr", r"line 4: datasets.pets: there is no kind of source 'foldr'; did you mean 'folder'\?"),
        ("kind: folder, path: pets", "kind: pydocs", r"line 4: datasets.pets: a pydocs source gives text, not image: change modality or source.kind"),
        (", path: pets", ", pth: pets", r"line 4: (unknown key 'pth' in datasets.pets.source; did you mean 'path'\?|datasets.pets.source.path is missing)"),
        ("min_size: 8", "min_sise: 8", r"line 6: unknown key 'min_sise' in datasets.pets.clean; did you mean 'min_size'\?"),
        ("min_size: 8", "min_size: -1", r"line 6: datasets.pets.clean.min_size: input should be greater than or equal to 1 \(it is -1\)"),
        ("    clean:", "    claen:", r"line 6: unknown key 'claen' in datasets.pets; did you mean 'clean'\?"),
        ("test: 0.1", "test: 0.3", r"line 5: datasets.pets.split: train, validation and test must add up to 1, not 1.2"),
        ("method: hash", "method: hsh", r"line 5: datasets.pets.split.method: input should be 'hash', 'given' or 'blocks'"),
        ("to_not_be_null", "to_not_be_nul", r"line 8: datasets.pets.expect: there is no rule '.*_nul'; did you mean 'expect_column_values_to_not_be_null'\?"),
        ("severity: warning", "severity: fatal", r"line 10: datasets.pets.expect: severity must be critical or warning, not 'fatal'"),
        ("  pets:", "  My Pets:", r"line 2: dataset 'My Pets': a name is lower-case letters, digits, - and _, e.g. 'my-pets'"),
        ("    modality: image\n", "", r"line 2: datasets.pets.modality is missing: add it"),
        ("kind: folder, ", "", r"line 3|line 4: datasets.pets.source.kind is missing: add it"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_fix(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in GOOD
    with pytest.raises(UserError, match=message):
        load_datasets(params(tmp_path, GOOD.replace(right, wrong)))


def test_the_params_of_this_repository_are_good() -> None:
    datasets = load_datasets(load(Path(__file__).parents[2] / "params.yaml"))
    assert {"digits", "pydocs"} <= set(datasets)
    assert datasets["digits"].split.fractions == {"train": 0.5, "validation": 0.1, "test": 0.4}


DRAWN = """\
datasets:
  more:
    modality: image
    source: {kind: synthetic, path: drawn, real: most}
  most:
    modality: image
    source: {kind: synthetic, path: drawn, real: pets}
  pets:
    modality: image
    source: {kind: folder, path: pets}
"""


def test_what_a_source_reads_is_prepared_before_it_and_once(tmp_path: Path) -> None:
    datasets = load_datasets(params(tmp_path, DRAWN))
    assert with_read(datasets, ["more"]) == ["pets", "most", "more"]
    assert with_read(datasets, ["most", "pets", "more"]) == ["pets", "most", "more"]


def test_a_source_reads_a_dataset_that_is_there_and_not_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 7: datasets.most.source: there is no dataset 'pet'; did you mean 'pets'\?"):
        load_datasets(params(tmp_path, DRAWN.replace("real: pets", "real: pet")))
    with pytest.raises(UserError, match=r"line (4|7): datasets.(more|most).source: its rows come from itself, by (more, most|most, more): let one"):
        load_datasets(params(tmp_path, DRAWN.replace("real: pets", "real: more")))
