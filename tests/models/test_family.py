"""Families are found by their folder, and a mistake in their config is named with its line."""

import inspect
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl

from components.errors import UserError
from components.models.family import TrainingConfig, WatchedTrainingConfig, family_names, find_family
from components.params import Block, load


def overrides(tmp_path: Path, text: str) -> Block:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path).child("models").child("mine").child("config")


def test_every_folder_with_a_config_is_a_family() -> None:
    folder = Path(__file__).parents[2] / "components" / "models"
    here = {path.parent.name.replace("_", "-") for path in folder.glob("*/config.py")}
    assert set(family_names()) == here
    assert "vae" in here


@pytest.mark.parametrize("name", family_names())
def test_each_size_resolves_and_the_class_is_a_lightning_module(name: str, tmp_path: Path) -> None:
    family = find_family(name)
    nothing = overrides(tmp_path, "models: {mine: {config: {}}}")
    assert issubclass(family.load_class(), pl.LightningModule)
    assert family.resolve("tiny", nothing) == family.config()
    for size in family.sizes:
        assert isinstance(family.resolve(size, nothing), TrainingConfig)
    assert family.modality


@pytest.mark.parametrize("name", family_names())
def test_every_setting_is_documented(name: str) -> None:
    """By a docstring below it, or below the run of settings it stands in, in the class that first has it."""
    bases = [base for base in find_family(name).config.__mro__ if issubclass(base, TrainingConfig) and base is not TrainingConfig]
    for base in bases:
        lines = inspect.getsource(base).splitlines()
        inherited = {field for parent in base.__mro__[1:] for field in inspect.get_annotations(parent)}
        for setting in set(inspect.get_annotations(base)) - inherited:
            at = next(number for number, line in enumerate(lines) if line.startswith(f"    {setting}:"))
            below = next(line for line in lines[at:] if not re.match(r"    \w+: ", line))
            assert below.startswith('    """'), f"{name}: nothing says what {setting} is"


@pytest.mark.parametrize("name", family_names())
def test_only_a_family_whose_variety_is_watched_has_settings_of_the_watch(name: str, tmp_path: Path) -> None:
    family = find_family(name)
    for setting in ("watch_every: 5", "least_coverage: 0.5"):
        block = overrides(tmp_path, f"models: {{mine: {{config: {{{setting}}}}}}}")
        if hasattr(family.load_class(), "sample_images"):
            assert isinstance(family.resolve("tiny", block), WatchedTrainingConfig)
            continue
        with pytest.raises(UserError, match=f"unknown key '{setting.split(':')[0]}' in models.mine.config"):
            family.resolve("tiny", block)


def test_a_misspelt_family_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="There is no family 'vea'; did you mean 'vae'\\?"):
        find_family("vea")


def test_a_misspelt_setting_is_named_with_its_line(tmp_path: Path) -> None:
    block = overrides(tmp_path, "models:\n  mine:\n    config:\n      width: 16\n      latent_dims: 8\n")
    with pytest.raises(UserError, match=r"params.yaml line 5: unknown key 'latent_dims' in models.mine.config; did you mean 'latent_dim'\?"):
        find_family("vae").resolve("tiny", block)


def test_a_setting_out_of_range_is_named_with_its_line(tmp_path: Path) -> None:
    block = overrides(tmp_path, "models:\n  mine:\n    config:\n      levels: 1000\n")
    with pytest.raises(UserError, match=r"line 4: models.mine.config.levels: .*less than or equal to 256 \(it is 1000\)"):
        find_family("vae").resolve("tiny", block)


def test_overrides_win_over_the_size(tmp_path: Path) -> None:
    block = overrides(tmp_path, "models: {mine: {config: {max_steps: 7}}}")
    resolved = find_family("vae").resolve("small", block)
    assert resolved.max_steps == 7
    assert resolved.batch_size == find_family("vae").sizes["small"]["batch_size"]
