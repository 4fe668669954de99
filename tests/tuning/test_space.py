"""What a search may choose from: of every family, of a model's block, and the mistakes in it."""

from pathlib import Path

import pytest

from components import params
from components.errors import UserError
from components.models.family import family_names, find_family
from components.params import Block
from components.tuning.space import Choices, Range, changed, load_space, refusal

NOTHING = Block({}, (), {}, Path("params.yaml"))


def tune_block(folder: Path, text: str) -> Block:
    path = folder / "params.yaml"
    path.write_text(f"models:\n  vae-digits:\n    tune:\n{text}", encoding="utf-8")
    return params.load(path).child("models").child("vae-digits").child("tune")


def space_of(folder: Path, text: str, family: str = "vae") -> dict[str, Range | Choices]:
    found = find_family(family)
    return load_space(found, found.config(), tune_block(folder, text))


@pytest.mark.parametrize("name", family_names())
def test_every_family_declares_a_space_of_its_own_fields_that_its_config_takes(name: str) -> None:
    family = find_family(name)
    for size in ("tiny", "small", "base"):
        config = family.resolve(size, NOTHING)
        space = load_space(family, config, NOTHING)
        assert {"learning_rate", "batch_size"} <= space.keys()
        for field, part in space.items():
            assert part.holding(getattr(config, field)) == part, "the present value belongs to it"
            assert all(refusal(config, {field: end}) == "" for end in part.ends)
    assert set(family.search_space) <= space.keys() | set(family.config.model_fields)
    assert set(family.search_space) <= load_space(family, family.config(), NOTHING).keys(), "the defaults take all that the family declares"
    assert set(family.loss_settings) <= set(family.config.model_fields)


def test_the_block_of_a_model_stands_over_its_family(tmp_path: Path) -> None:
    space = space_of(tmp_path, "      width: false\n      latent_dim: {choices: [4, 8]}\n      dropout: {low: 0, high: 0.3}\n")
    assert "width" not in space
    assert space["latent_dim"] == Choices(choices=(4, 8, 16))  # 16 is its value now
    assert space["dropout"] == Range(low=0, high=0.3)
    assert "kl_weight" in space


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("      learning_rate: {low: 0.1, high: 0.01}\n", r"line 4: .*the range from 0\.1 to 0\.01 is empty: give a `low` below its `high`"),
        ("      dropout: {low: 0.2, high: 0.2}\n", "line 4: .*is empty"),
        ("      width: {choices: []}\n", r"there is nothing to choose from: list the values"),
        ("      learning_rate: {low: 0, high: 1, log: true}\n", "line 4: .*cannot begin at 0"),
        ("      lerning_rate: {low: 1, high: 2}\n", "line 4: 'lerning_rate' is no setting of this family; did you mean 'learning_rate'"),
        ("      width: false\n      dropout: {low: 0.0, high: 1.5}\n", r"line 5: .*holds 1\.5, which the config refuses .*less than 1"),
        ("      width: {low: 24.5, high: 40}\n", r"line 4: .*holds 24\.5, which the config refuses"),
        ("      batch_size: false\n", "line 4: batch_size is always sought"),
        ("      width: 32\n", "line 4: .*must be a mapping"),
        ("      width: {low: 8}\n", "high is missing"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_fix(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        space_of(tmp_path, text)


def test_what_the_models_own_settings_rule_out_of_the_familys_space_is_left_out(tmp_path: Path) -> None:
    family = find_family("gpt")
    space = load_space(family, family.config(), NOTHING)
    assert "dropout" in space
    family = find_family("vae")
    config = changed(family.config(), {"backbone": "autoencoder-kl"})
    with pytest.raises(UserError, match="dropout is a setting of backbone own"):
        load_space(family, config, tune_block(tmp_path, "      dropout: {low: 0, high: 0.3}\n"))
