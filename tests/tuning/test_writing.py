"""Settings that are put into params.yaml: they stand there, and nothing else moved."""

import difflib
from pathlib import Path

import pytest
import yaml

from components.errors import UserError
from components.tuning.writing import settings_line, write_settings

HEAD = "# What is made\nmodels:\n  other:\n    family: gan # first\n    config: {batch_size: 8}\n"
BLOCKS = {
    "in braces": "  vae:\n    family: vae\n    config: {levels: 17}   # 17 grey levels\n    gates:\n      fid_own: {max: 10}\n",
    "in lines": "  vae:\n    config:\n      # how many\n      levels: 17 # grey\n\n      width: 32\n    family: vae\n",
    "in empty braces": "  vae:\n    family: vae\n    config: {} # nothing yet\n",
    "with nothing behind it": "  vae:\n    family: vae\n    config: # nothing yet\n    size: tiny\n",
    "missing": "  vae:\n    # a VAE\n    family: vae\n    size: tiny # small\n",
    "missing in braces": "  vae: {family: vae, size: tiny} # small\n",
    "over several lines": "  vae:\n    family: vae\n    config: {levels: 17,\n      width: 32, # wide\n    }\n    size: tiny\n",
}


def write(folder: Path, text: str, **settings: object) -> tuple[str, dict[str, object]]:
    path = folder / "params.yaml"
    path.write_bytes(text.encode())
    write_settings(path, "vae", settings)
    after = path.read_bytes().decode()
    return after, yaml.safe_load(after)["models"]["vae"]


@pytest.mark.parametrize("where", BLOCKS)
def test_new_settings_stand_in_the_block_and_comments_and_the_other_lines_stay(tmp_path: Path, where: str) -> None:
    before = HEAD + BLOCKS[where]
    after, block = write(tmp_path, before, learning_rate=0.0031, widths=[64, 96])
    known = yaml.safe_load(before)["models"]["vae"]
    assert block == {**known, "config": {**(known.get("config") or {}), "learning_rate": 0.0031, "widths": [64, 96]}}
    assert yaml.safe_load(after)["models"]["other"] == {"family": "gan", "config": {"batch_size": 8}}
    lost = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]
    assert len(lost) <= 1
    assert [line.partition("#")[2] for line in before.splitlines() if "#" in line] == [line.partition("#")[2] for line in after.splitlines() if "#" in line]


def test_a_setting_that_stands_there_is_replaced_where_it_stands(tmp_path: Path) -> None:
    after, _ = write(tmp_path, HEAD + BLOCKS["in braces"], levels=256)
    assert "    config: {levels: 256}   # 17 grey levels\n" in after
    after, _ = write(tmp_path, HEAD + BLOCKS["in lines"], levels=256)
    assert "      levels: 256 # grey\n\n      width: 32\n" in after


def test_line_ends_of_windows_stay(tmp_path: Path) -> None:
    after, _ = write(tmp_path, (HEAD + BLOCKS["in braces"]).replace("\n", "\r\n"), levels=256)
    assert after == (HEAD + BLOCKS["in braces"].replace("17}", "256}")).replace("\n", "\r\n")


def test_a_model_without_a_block_and_an_alias_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vae has no block of its own"):
        write(tmp_path, HEAD, levels=17)
    shared = "  first:\n    config: &all {width: 8}\n  vae:\n    config: *all\n"
    with pytest.raises(UserError, match="are an alias"):
        write(tmp_path, HEAD + shared, levels=17)


def test_the_line_says_all_settings_of_the_block() -> None:
    assert settings_line({"levels": 17, "width": 8}, {"width": 16, "learning_rate": 0.002}) == "config: {levels: 17, width: 16, learning_rate: 0.002}"
